//! Credentials, and the tokens a registry's issuer gives for them (the distribution token specification).
//!
//! Tokens are cached by issuer, service, scope and credentials until shortly before they expire.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::answer::refusal;
use crate::challenge::BearerChallenge;
use crate::error::{Error, Verb};
use crate::hosts::HostSettings;
use crate::payload::Payload;
use crate::transport::{Repeat, Request, Transport};

/// Who we are to issuers.
const CLIENT_ID: &str = "dray";
/// Lifetime of a token whose issuer names none.
const DEFAULT_LIFETIME: u64 = 60;
const MAX_TOKEN_ANSWER: usize = 1024 * 1024;

/// How to prove who we are.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Not at all.
    #[default]
    Anonymous,
    /// User and password.
    Basic {
        /// User name.
        user: String,
        /// Password or access token.
        password: String,
    },
    /// A refresh token of the registry's issuer, from an earlier login.
    IdentityToken {
        /// User name, for the issuer's records.
        user: String,
        /// The refresh token.
        token: String,
    },
    /// A bearer token for the registry itself, sent as it is.
    RegistryToken(String),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Auth::Anonymous => f.write_str("Anonymous"),
            Auth::Basic { user, .. } => write!(f, "Basic({user})"),
            Auth::IdentityToken { user, .. } => write!(f, "IdentityToken({user})"),
            Auth::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

impl Auth {
    /// The value of an `Authorization: Basic` header.
    pub(crate) fn basic(&self) -> Option<HeaderValue> {
        let Auth::Basic { user, password } = self else { return None };
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        secret_header(&format!("Basic {pair}"))
    }
}

pub(crate) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    realm: String,
    service: Option<String>,
    scopes: Vec<String>,
    auth: Auth,
}

struct CachedToken {
    value: String,
    good_until: Instant,
}

/// Tokens by what they are for.
#[derive(Default)]
pub(crate) struct TokenCache(Mutex<HashMap<TokenKey, CachedToken>>);

/// What an issuer gave.
pub(crate) struct Issued {
    pub(crate) token: String,
    /// Given where a refresh token was asked for.
    pub(crate) refresh_token: Option<String>,
    lifetime: Duration,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

/// What a token is asked for.
pub(crate) struct TokenRequest<'a> {
    pub(crate) challenge: &'a BearerChallenge,
    pub(crate) scopes: &'a [String],
    pub(crate) auth: &'a Auth,
    /// Whether the registry itself is spoken to over plain HTTP, so that its issuer may be too.
    pub(crate) plain: bool,
    /// Whether a refresh token is wanted.
    pub(crate) offline: bool,
    /// The registry's root and how it is spoken to: its issuer is often the same host.
    pub(crate) speak: Option<(&'a Url, &'a Arc<HostSettings>)>,
}

impl TokenCache {
    /// A token for `wanted`, from the cache unless `fresh`.
    pub(crate) async fn token(
        &self,
        transport: &Transport,
        wanted: &TokenRequest<'_>,
        fresh: bool,
    ) -> Result<String, Error> {
        let key = TokenKey {
            realm: wanted.challenge.realm.clone(),
            service: wanted.challenge.service.clone(),
            scopes: wanted.scopes.to_vec(),
            auth: wanted.auth.clone(),
        };
        if !fresh && let Some(token) = self.lookup(&key) {
            return Ok(token);
        }
        let issued = issue(transport, wanted).await?;
        let margin = (issued.lifetime / 4).min(Duration::from_secs(30));
        let cached = CachedToken {
            value: issued.token.clone(),
            good_until: Instant::now() + issued.lifetime.saturating_sub(margin),
        };
        self.lock().insert(key, cached);
        Ok(issued.token)
    }

    fn lookup(&self, key: &TokenKey) -> Option<String> {
        let mut tokens = self.lock();
        let now = Instant::now();
        tokens.retain(|_, token| token.good_until > now);
        tokens.get(key).map(|token| token.value.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TokenKey, CachedToken>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Asks the issuer: `GET` with basic credentials or none, `POST` (OAuth 2) with a refresh token.
pub(crate) async fn issue(transport: &Transport, wanted: &TokenRequest<'_>) -> Result<Issued, Error> {
    let realm = realm_url(wanted)?;
    let mut request = match wanted.auth {
        Auth::IdentityToken { token, .. } => oauth_request(realm, wanted, token),
        _ => get_request(realm, wanted),
    };
    if let Some((root, settings)) = wanted.speak {
        request.speak_as(root, settings);
    }
    let (verb, url) = (request.verb(), request.url.clone());
    let mut answer = transport.send(&request, Repeat::Always).await?;
    if answer.status != StatusCode::OK {
        return Err(refusal(answer).await);
    }
    let body = answer.bytes(MAX_TOKEN_ANSWER).await?;
    let parsed: TokenAnswer = serde_json::from_slice(&body)
        .map_err(|e| Error::invalid(verb, &url, format!("token issuer's answer: {e}")))?;
    let token = [parsed.token, parsed.access_token].into_iter().flatten().find(|t| !t.is_empty());
    let Some(token) = token else {
        return Err(Error::invalid(
            verb,
            &url,
            "authorization server did not include a token in the response",
        ));
    };
    Ok(Issued {
        token,
        refresh_token: parsed.refresh_token.filter(|t| !t.is_empty()),
        lifetime: Duration::from_secs(parsed.expires_in.unwrap_or(DEFAULT_LIFETIME).clamp(1, 86_400)),
    })
}

/// The issuer's address. Credentials aren't sent over plain HTTP unless the registry itself is plain.
fn realm_url(wanted: &TokenRequest<'_>) -> Result<Url, Error> {
    let realm = &wanted.challenge.realm;
    let invalid = |problem: &str| Error::InvalidEndpoint {
        endpoint: crate::error::excerpt(realm.as_bytes()),
        problem: problem.to_owned(),
    };
    let url = Url::parse(realm).map_err(|e| invalid(&format!("token realm: {e}")))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if wanted.plain => Ok(url),
        "http" => Err(invalid("a registry behind TLS names a token realm without TLS")),
        _ => Err(invalid("token realm is neither http nor https")),
    }
}

fn get_request(mut url: Url, wanted: &TokenRequest<'_>) -> Request {
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &wanted.challenge.service {
            query.append_pair("service", service);
        }
        for scope in wanted.scopes {
            query.append_pair("scope", scope);
        }
        if let Auth::Basic { user, .. } = wanted.auth {
            query.append_pair("account", user);
        }
        if wanted.offline {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
    }
    let mut request = Request::new(Method::GET, url);
    if let Some(value) = wanted.auth.basic() {
        request.headers.insert(header::AUTHORIZATION, value);
    }
    request
}

fn oauth_request(url: Url, wanted: &TokenRequest<'_>, refresh: &str) -> Request {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT_ID);
    if let Some(service) = &wanted.challenge.service {
        form.append_pair("service", service);
    }
    if !wanted.scopes.is_empty() {
        form.append_pair("scope", &wanted.scopes.join(" "));
    }
    form.append_pair("refresh_token", refresh);
    let mut request = Request::new(Method::POST, url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
    request.payload = Payload::Bytes(form.finish().into());
    request.secret = true;
    request
}

/// `Authorization: Bearer …`.
pub(crate) fn bearer(token: &str, verb: Verb, url: &Url) -> Result<HeaderValue, Error> {
    secret_header(&format!("Bearer {token}"))
        .ok_or_else(|| Error::invalid(verb, url, "the token has characters that no header may have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted<'a>(challenge: &'a BearerChallenge, auth: &'a Auth, plain: bool) -> TokenRequest<'a> {
        TokenRequest { challenge, scopes: &[], auth, plain, offline: false, speak: None }
    }

    #[test]
    fn credentials_do_not_show() {
        let auth = Auth::Basic { user: "ann".into(), password: "hidden".into() };
        assert_eq!(format!("{auth:?}"), "Basic(ann)");
        assert_eq!(auth.basic().unwrap().to_str().unwrap(), "Basic YW5uOmhpZGRlbg==");
        assert!(auth.basic().unwrap().is_sensitive());
    }

    #[test]
    fn realm_without_tls_only_for_a_registry_without_tls() {
        let challenge = BearerChallenge { realm: "http://a.test/t".into(), ..Default::default() };
        assert!(realm_url(&wanted(&challenge, &Auth::Anonymous, true)).is_ok());
        assert!(realm_url(&wanted(&challenge, &Auth::Anonymous, false)).is_err());
        let file = BearerChallenge { realm: "file:///etc/passwd".into(), ..Default::default() };
        assert!(realm_url(&wanted(&file, &Auth::Anonymous, true)).is_err());
    }

    #[test]
    fn get_request_holds_service_scopes_and_account() {
        let challenge = BearerChallenge { service: Some("reg test".into()), ..Default::default() };
        let auth = Auth::Basic { user: "ann".into(), password: "x".into() };
        let scopes = ["repository:a/b:pull".to_owned(), "repository:c:pull".to_owned()];
        let wanted = TokenRequest {
            challenge: &challenge,
            scopes: &scopes,
            auth: &auth,
            plain: false,
            offline: true,
            speak: None,
        };
        let request = get_request("https://a.test/token?x=1".parse().unwrap(), &wanted);
        assert_eq!(
            request.url.as_str(),
            "https://a.test/token?x=1&service=reg+test&scope=repository%3Aa%2Fb%3Apull&\
             scope=repository%3Ac%3Apull&account=ann&offline_token=true&client_id=dray"
        );
        assert!(request.headers.contains_key(header::AUTHORIZATION));
    }
}
