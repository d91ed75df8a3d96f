//! The client: what is known of each registry (scheme, challenges) and how a request is authorised.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dray_spec::Reference;
use http::header;
use http::{Method, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use crate::answer::{challenges, refusal};
use crate::auth::{Auth, TokenCache, TokenRequest, bearer, secret_header};
use crate::challenge::Challenge;
use crate::config::ClientConfig;
use crate::error::{Error, Reason};
use crate::repository::Repository;
use crate::transport::{Answer, Repeat, Request, Transport};

/// The domain of references without one, and the host that serves it.
const HUB_DOMAIN: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// A distribution client. Clones share connections, tokens and what is known of registries.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Arc<ClientConfig>,
    transport: Transport,
    tokens: TokenCache,
    hosts: Mutex<HashMap<Host, Arc<OnceCell<Endpoint>>>>,
}

/// A registry by name, whose scheme is to be found out, or by URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Named(String),
    At(Url),
}

/// A registry which has answered.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Ends in a slash; `v2/` follows.
    pub(crate) base: Url,
    pub(crate) challenges: Vec<Challenge>,
}

/// What a request is allowed to do, for the token issuer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access<'a> {
    pub(crate) auth: Option<&'a Auth>,
    pub(crate) scopes: &'a [String],
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// If a certificate authority or a mirror of the configuration can't be read.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        for mirror in &config.mirrors {
            base_url(mirror)?;
        }
        let config = Arc::new(config);
        Ok(Client(Arc::new(Inner {
            transport: Transport::new(config.clone())?,
            config,
            tokens: TokenCache::default(),
            hosts: Mutex::default(),
        })))
    }

    /// What it was made with.
    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    /// The repository `reference` is in, at the registry itself: where to push.
    pub fn repository(&self, reference: &Reference, auth: &Auth) -> Repository {
        let host = Host::Named(host_for(reference.domain()));
        Repository::new(self.clone(), host, reference, auth.clone())
    }

    /// The places to pull `reference` from, in the order to try: mirrors, then the registry itself. Mirrors
    /// don't get the registry's credentials.
    pub fn sources(&self, reference: &Reference, auth: &Auth) -> Vec<Repository> {
        let mirrors = if reference.domain() == HUB_DOMAIN { self.0.config.mirrors.as_slice() } else { &[] };
        let at = |url: Url| Repository::new(self.clone(), Host::At(url), reference, Auth::Anonymous);
        let mut sources: Vec<_> = mirrors.iter().filter_map(|m| base_url(m).ok()).map(at).collect();
        sources.push(self.repository(reference, auth));
        sources
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// The registry's address and challenges, asked for once (`GET /v2/`).
    pub(crate) async fn endpoint(&self, host: &Host) -> Result<Endpoint, Error> {
        let cell = self.hosts().entry(host.clone()).or_default().clone();
        cell.get_or_try_init(|| self.discover(host)).await.cloned()
    }

    /// Forgets what is known of a registry, so that the next request looks again.
    fn forget(&self, host: &Host) {
        self.hosts().remove(host);
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, HashMap<Host, Arc<OnceCell<Endpoint>>>> {
        self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn discover(&self, host: &Host) -> Result<Endpoint, Error> {
        let mut failure = None;
        for base in self.candidates(host)? {
            match self.ping(base).await {
                Ok(endpoint) => return Ok(endpoint),
                Err(error) => {
                    let other_scheme =
                        matches!(&error, Error::Transport { reason, .. } if reason.is_connect_failure());
                    failure = Some(error);
                    if !other_scheme {
                        break;
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| Error::InvalidEndpoint {
            endpoint: format!("{host:?}"),
            problem: "it has no address".into(),
        }))
    }

    /// TLS first; plain HTTP after it only where that is allowed.
    fn candidates(&self, host: &Host) -> Result<Vec<Url>, Error> {
        let name = match host {
            Host::At(url) => return Ok(vec![url.clone()]),
            Host::Named(name) => name,
        };
        let mut bases = vec![base_url(&format!("https://{name}/"))?];
        if self.0.config.is_insecure(name) {
            bases.push(base_url(&format!("http://{name}/"))?);
        }
        Ok(bases)
    }

    async fn ping(&self, base: Url) -> Result<Endpoint, Error> {
        let url = join(&base, "v2/")?;
        let answer = self.0.transport.send(&Request::new(Method::GET, url), Repeat::OnceConnected).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => Ok(Endpoint { challenges: challenges(&answer.headers), base }),
            // Some mirrors serve repositories but not the root of the API.
            status if status.is_success() || status.is_client_error() && status != 429 => {
                Ok(Endpoint { challenges: Vec::new(), base })
            }
            _ => Err(refusal(answer).await),
        }
    }

    /// Sends an authorised request. On 401 the challenge of the answer is met once with a fresh token.
    pub(crate) async fn call(
        &self,
        host: &Host,
        access: &Access<'_>,
        mut request: Request,
        repeat: Repeat,
    ) -> Result<Answer, Error> {
        let endpoint = self.endpoint(host).await?;
        let same_origin = request.url.origin() == endpoint.base.origin();
        if same_origin {
            self.authorize(&mut request, &endpoint, &endpoint.challenges, access, false).await?;
        }
        let answer = match self.0.transport.send(&request, repeat).await {
            Err(error) => {
                if matches!(&error, Error::Transport { reason: Reason::PlainServer | Reason::Tls(_), .. }) {
                    self.forget(host);
                }
                return Err(error);
            }
            Ok(answer) => answer,
        };
        if answer.status != StatusCode::UNAUTHORIZED || answer.url.origin() != endpoint.base.origin() {
            return Ok(answer);
        }
        let offered = challenges(&answer.headers);
        let met = self.authorize(&mut request, &endpoint, &offered, access, true).await?;
        if met { self.0.transport.send(&request, repeat).await } else { Ok(answer) }
    }

    /// Adds what a registry wants to see. Says whether a second attempt with it makes sense.
    async fn authorize(
        &self,
        request: &mut Request,
        endpoint: &Endpoint,
        offered: &[Challenge],
        access: &Access<'_>,
        again: bool,
    ) -> Result<bool, Error> {
        let anonymous = Auth::Anonymous;
        let auth = access.auth.unwrap_or(&anonymous);
        let sent_before = request.headers.remove(header::AUTHORIZATION);
        if let Auth::RegistryToken(token) = auth {
            request.headers.insert(header::AUTHORIZATION, bearer(token, request.verb(), &request.url)?);
            return Ok(false);
        }
        let bearer_challenge = offered.iter().find_map(|c| match c {
            Challenge::Bearer(challenge) => Some(challenge),
            Challenge::Basic => None,
        });
        if let Some(challenge) = bearer_challenge {
            let scopes = merged_scopes(access.scopes, challenge.scope.as_deref());
            let wanted = TokenRequest {
                challenge,
                scopes: &scopes,
                auth,
                plain: endpoint.base.scheme() == "http",
                offline: false,
            };
            let token = self.0.tokens.token(&self.0.transport, &wanted, again).await?;
            request.headers.insert(header::AUTHORIZATION, bearer(&token, request.verb(), &request.url)?);
            return Ok(true);
        }
        let basic = offered.contains(&Challenge::Basic).then(|| auth.basic()).flatten();
        match basic {
            Some(value) => {
                let repeated = sent_before.as_ref() == Some(&value);
                request.headers.insert(header::AUTHORIZATION, value);
                Ok(!repeated)
            }
            None if again && offered.contains(&Challenge::Basic) && *auth == Auth::Anonymous => {
                Err(Error::NoCredentials { verb: request.verb(), url: crate::error::shown(&request.url) })
            }
            None => Ok(false),
        }
    }

    pub(crate) fn basic_or_none(request: &mut Request, auth: &Auth) {
        let value = match auth {
            Auth::RegistryToken(token) => secret_header(&format!("Bearer {token}")),
            other => other.basic(),
        };
        if let Some(value) = value {
            request.headers.insert(header::AUTHORIZATION, value);
        }
    }
}

/// What we ask for and what the registry says is needed, each once.
fn merged_scopes(ours: &[String], theirs: Option<&str>) -> Vec<String> {
    let mut scopes = ours.to_vec();
    for scope in theirs.unwrap_or_default().split(' ').filter(|s| !s.is_empty()) {
        let covered = scopes.iter().any(|ours| covers(ours, scope));
        if !covered {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

/// Whether `a` allows all that `b` does: same resource, and its actions among ours.
fn covers(a: &str, b: &str) -> bool {
    match (a.rsplit_once(':'), b.rsplit_once(':')) {
        (Some((a, ours)), Some((b, theirs))) => {
            a == b && theirs.split(',').all(|action| ours.split(',').any(|our| our == action))
        }
        _ => a == b,
    }
}

/// The host which serves a reference's domain.
pub(crate) fn host_for(domain: &str) -> String {
    if domain == HUB_DOMAIN || domain == "index.docker.io" { HUB_HOST } else { domain }.to_owned()
}

/// A URL to which API paths can be joined.
pub(crate) fn base_url(text: &str) -> Result<Url, Error> {
    let invalid = |problem: String| Error::InvalidEndpoint {
        endpoint: crate::error::excerpt(text.as_bytes()),
        problem,
    };
    let slashed = if text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let url = Url::parse(&slashed).map_err(|e| invalid(e.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some() => Ok(url),
        _ => Err(invalid("it is not an http or https URL".into())),
    }
}

/// Joins an API path to a base.
pub(crate) fn join(base: &Url, path: &str) -> Result<Url, Error> {
    base.join(path).map_err(|e| Error::InvalidEndpoint { endpoint: base.to_string(), problem: e.to_string() })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn scopes_are_asked_for_once() {
        let ours = ["repository:a/b:pull,push".to_owned()];
        assert_eq!(merged_scopes(&ours, Some("repository:a/b:pull")), ours);
        assert_eq!(
            merged_scopes(&ours, Some("repository:a/b:delete registry:catalog:*")),
            ["repository:a/b:pull,push", "repository:a/b:delete", "registry:catalog:*"]
        );
        assert_eq!(merged_scopes(&[], None), Vec::<String>::new());
    }

    #[test]
    fn plain_http_is_a_candidate_only_where_allowed() {
        let client =
            Client::new(ClientConfig { insecure: vec!["reg.test".parse().unwrap()], ..Default::default() })
                .unwrap();
        let schemes = |name: &str| -> Vec<String> {
            let bases = client.candidates(&Host::Named(name.into())).unwrap();
            bases.iter().map(|b| b.scheme().to_owned()).collect()
        };
        assert_eq!(schemes("other.test"), ["https"]);
        assert_eq!(schemes("reg.test:5000"), ["https", "http"]);
        assert_eq!(schemes("localhost:5000"), ["https", "http"]);
        assert_eq!(schemes("[::1]:5000"), ["https", "http"]);
    }

    #[test]
    fn mirrors_come_first_and_only_for_the_default_domain() {
        let config = ClientConfig { mirrors: vec!["https://mirror.test/hub".into()], ..Default::default() };
        let client = Client::new(config).unwrap();
        let auth = Auth::Basic { user: "u".into(), password: "p".into() };
        let names = |text: &str| -> Vec<String> {
            let reference = Reference::parse(text).unwrap();
            client.sources(&reference, &auth).iter().map(|r| format!("{:?} {:?}", r.host, r.auth)).collect()
        };
        assert_eq!(names("reg.test/x").len(), 1);
        let hub = names("busybox");
        assert_eq!(hub.len(), 2);
        assert!(hub[0].contains("mirror.test") && hub[0].ends_with("Anonymous"), "{hub:?}");
        assert!(hub[1].ends_with("Basic(u)"));
        assert!(Client::new(ClientConfig { mirrors: vec!["nope".into()], ..Default::default() }).is_err());
    }
}
