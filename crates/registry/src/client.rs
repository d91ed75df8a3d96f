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
use crate::config::{ClientConfig, is_of_another};
use crate::error::{Error, Reason};
use crate::hosts::{self, Capabilities, Entry, HostSettings, Known};
use crate::repository::Repository;
use crate::transport::{Answer, Repeat, Request, Transport, host_of};

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

/// A registry's host and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    pub(crate) address: Address,
    pub(crate) settings: Arc<HostSettings>,
}

/// A registry by name, whose scheme is to be found out, or the root of its API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Named(String),
    At(Url),
}

/// A registry which has answered.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The root of the API, `…/v2/`.
    pub(crate) root: Url,
    pub(crate) challenges: Vec<Challenge>,
}

/// What a request is allowed to do, for the token issuer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access<'a> {
    pub(crate) auth: Option<&'a Auth>,
    pub(crate) scopes: &'a [String],
}

/// Somewhere to pull a reference from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The repository there.
    pub repository: Repository,
    /// Whether it may be asked what a tag stands for.
    pub resolves: bool,
}

impl Client {
    /// Makes a client.
    ///
    /// # Errors
    /// If a certificate authority or a mirror of the configuration can't be read.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        for mirror in &config.mirrors {
            mirror_of(mirror)?;
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

    /// The repository `reference` is in, at the registry itself.
    ///
    /// # Errors
    /// If the registry's folder of `certs.d` can't be read.
    pub fn repository(&self, reference: &Reference, auth: &Auth) -> Result<Repository, Error> {
        let host = self.registry_host(reference.domain(), self.known(reference.domain())?)?;
        Ok(Repository::new(self.clone(), host, reference, auth.clone()))
    }

    /// The repository to push `reference` to: the registry itself, or the first host of its `hosts.toml` that
    /// takes uploads.
    ///
    /// # Errors
    /// As [`Self::repository`], or if no host takes uploads.
    pub fn push_target(&self, reference: &Reference, auth: &Auth) -> Result<Repository, Error> {
        let known = self.known(reference.domain())?;
        if let Some(entry) = known.mirrors.iter().find(|entry| entry.capabilities.push) {
            return Ok(self.at_entry(entry.clone(), reference, auth));
        }
        if known.server.as_ref().is_some_and(|server| !server.capabilities.push) {
            return Err(Error::InvalidEndpoint {
                endpoint: reference.domain().to_owned(),
                problem: "no host of its hosts.toml takes uploads".into(),
            });
        }
        let host = self.registry_host(reference.domain(), known)?;
        Ok(Repository::new(self.clone(), host, reference, auth.clone()))
    }

    /// The places to pull `reference` from, in the order to try: the hosts of its `hosts.toml`, the daemon's
    /// mirrors, then the registry itself. Only the registry itself gets its credentials.
    ///
    /// # Errors
    /// As [`Self::repository`].
    pub fn sources(&self, reference: &Reference, auth: &Auth) -> Result<Vec<Source>, Error> {
        let known = self.known(reference.domain())?;
        let mut entries = known.mirrors.clone();
        for (domain, url) in self.0.config.mirrors.iter().filter_map(|m| mirror_of(m).ok()) {
            if domain == reference.domain() {
                let root = join(&url, "v2/")?;
                let settings = hosts::read(&self.0.config.certs_dirs, &host_of(&root))?.settings;
                entries.push(Entry { root, capabilities: Capabilities::MIRROR, settings });
            }
        }
        entries.retain(|entry| entry.capabilities.pull);
        let source = |entry: Entry| Source {
            resolves: entry.capabilities.resolve,
            repository: self.at_entry(entry, reference, auth),
        };
        let mut sources: Vec<Source> = entries.into_iter().map(source).collect();
        let own = known.server.as_ref().map_or(Capabilities::ALL, |server| server.capabilities);
        if own.pull {
            let host = self.registry_host(reference.domain(), known)?;
            let repository = Repository::new(self.clone(), host, reference, auth.clone());
            sources.push(Source { repository, resolves: own.resolve });
        }
        Ok(sources)
    }

    fn known(&self, domain: &str) -> Result<Known, Error> {
        hosts::read(&self.0.config.certs_dirs, domain)
    }

    /// The registry itself.
    pub(crate) fn registry_host(&self, domain: &str, known: Known) -> Result<Host, Error> {
        if let Some(server) = known.server {
            return Ok(Host { address: Address::At(server.root), settings: Arc::new(server.settings) });
        }
        let settings = Arc::new(known.settings);
        Ok(Host { address: Address::Named(host_for(domain)), settings })
    }

    fn at_entry(&self, entry: Entry, reference: &Reference, auth: &Auth) -> Repository {
        // Without a namespace it is the registry itself under another address.
        let own = entry.settings.namespace.is_none() && host_of(&entry.root) == host_for(reference.domain());
        let auth = if own { auth.clone() } else { Auth::Anonymous };
        let host = Host { address: Address::At(entry.root), settings: Arc::new(entry.settings) };
        Repository::new(self.clone(), host, reference, auth)
    }

    /// The registry that a login names.
    pub(crate) fn login_host(&self, name: &str) -> Result<Host, Error> {
        let domain = if name == HUB_HOST { HUB_DOMAIN } else { name };
        self.registry_host(domain, self.known(domain)?)
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
        for root in self.candidates(host)? {
            match self.ping(root, host).await {
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
        let name = match &host.address {
            Address::At(root) => return Ok(vec![root.clone()]),
            Address::Named(name) => name,
        };
        let mut roots = vec![base_url(&format!("https://{name}/v2/"))?];
        if self.0.config.is_insecure(name) {
            roots.push(base_url(&format!("http://{name}/v2/"))?);
        }
        Ok(roots)
    }

    async fn ping(&self, root: Url, host: &Host) -> Result<Endpoint, Error> {
        let mut request = Request::new(Method::GET, root.clone());
        request.speak_as(&root, &host.settings);
        let answer = self.0.transport.send(&request, Repeat::OnceConnected).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => Ok(Endpoint { challenges: challenges(&answer.headers), root }),
            // Some mirrors serve repositories but not the root of the API.
            status if status.is_success() || status.is_client_error() && status != 429 => {
                Ok(Endpoint { challenges: Vec::new(), root })
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
        request.speak_as(&endpoint.root, &host.settings);
        if request.url.origin() == endpoint.root.origin() {
            self.authorize(&mut request, &endpoint, &host.settings, &endpoint.challenges, access, false)
                .await?;
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
        if answer.status != StatusCode::UNAUTHORIZED || answer.url.origin() != endpoint.root.origin() {
            return Ok(answer);
        }
        let offered = challenges(&answer.headers);
        let met = self.authorize(&mut request, &endpoint, &host.settings, &offered, access, true).await?;
        if met { self.0.transport.send(&request, repeat).await } else { Ok(answer) }
    }

    /// Adds what a registry wants to see. Says whether a second attempt with it makes sense.
    async fn authorize(
        &self,
        request: &mut Request,
        endpoint: &Endpoint,
        settings: &Arc<HostSettings>,
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
                plain: endpoint.root.scheme() == "http",
                offline: false,
                speak: Some((&endpoint.root, settings)),
            };
            let token = self.0.tokens.token(&self.0.transport, &wanted, again).await;
            let token = token.map_err(|source| Error::authorization(request.verb(), &request.url, source))?;
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

/// A mirror of the configuration: `https://mirror.test` is one of Docker Hub, `ghcr.io=https://mirror.test`
/// one of another registry.
pub(crate) fn mirror_of(text: &str) -> Result<(String, Url), Error> {
    match text.split_once('=').filter(|_| is_of_another(text)) {
        Some((domain, url)) => Ok((domain.to_owned(), base_url(url)?)),
        None => Ok((HUB_DOMAIN.to_owned(), base_url(text)?)),
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
            let host = Host { address: Address::Named(name.into()), settings: Arc::default() };
            client.candidates(&host).unwrap().iter().map(|b| b.scheme().to_owned()).collect()
        };
        assert_eq!(schemes("other.test"), ["https"]);
        assert_eq!(schemes("reg.test:5000"), ["https", "http"]);
        assert_eq!(schemes("localhost:5000"), ["https", "http"]);
        assert_eq!(schemes("[::1]:5000"), ["https", "http"]);
    }

    fn auth() -> Auth {
        Auth::Basic { user: "u".into(), password: "p".into() }
    }

    /// Address and credentials of each source.
    fn names(client: &Client, text: &str) -> Vec<String> {
        let sources = client.sources(&Reference::parse(text).unwrap(), &auth()).unwrap();
        let shown = |host: &Host| match &host.address {
            Address::Named(name) => name.clone(),
            Address::At(url) => url.to_string(),
        };
        let line = |s: &Source| format!("{} {:?}", shown(&s.repository.host), s.repository.auth);
        sources.iter().map(line).collect()
    }

    #[test]
    fn mirrors_come_first_and_without_credentials() {
        let mirrors = vec!["https://mirror.test/hub".into(), "ghcr.io=https://cache.test".into()];
        let client = Client::new(ClientConfig { mirrors, ..Default::default() }).unwrap();
        assert_eq!(names(&client, "reg.test/x"), ["reg.test Basic(u)"]);
        let hub = ["https://mirror.test/hub/v2/ Anonymous", "registry-1.docker.io Basic(u)"];
        assert_eq!(names(&client, "busybox"), hub);
        assert_eq!(names(&client, "ghcr.io/a/b"), ["https://cache.test/v2/ Anonymous", "ghcr.io Basic(u)"]);
        for bad in ["nope", "ghcr.io=nope", "ghcr.io=ftp://x"] {
            assert!(Client::new(ClientConfig { mirrors: vec![bad.into()], ..Default::default() }).is_err());
        }
    }

    #[test]
    fn hosts_of_the_file_by_what_they_can() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("reg.test");
        std::fs::create_dir(&folder).unwrap();
        let write = |text: &str| std::fs::write(folder.join("hosts.toml"), text).unwrap();
        let certs_dirs = vec![dir.path().to_owned()];
        let client = Client::new(ClientConfig { certs_dirs, ..Default::default() }).unwrap();
        let reference = Reference::parse("reg.test/x").unwrap();
        let target = || client.push_target(&reference, &auth()).unwrap().host;
        write(
            "server='https://up.test'\n[host.'https://a.test']\ncapabilities=['pull']\n\
             [host.'https://b.test']\ncapabilities=['push']\n[host.'https://reg.test']",
        );
        let expected =
            ["https://a.test/v2/ Anonymous", "https://reg.test/v2/ Basic(u)", "https://up.test/v2/ Basic(u)"];
        assert_eq!(names(&client, "reg.test/x"), expected);
        let sources = client.sources(&reference, &auth()).unwrap();
        assert_eq!(sources.iter().map(|s| s.resolves).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(target().address, Address::At("https://b.test/v2/".parse().unwrap()));
        write("[host.'https://a.test']\ncapabilities=['pull','resolve']");
        assert_eq!(target().address, Address::Named("reg.test".into()));
        write("server='https://up.test'\ncapabilities=['pull']");
        assert!(client.push_target(&reference, &auth()).is_err());
    }
}
