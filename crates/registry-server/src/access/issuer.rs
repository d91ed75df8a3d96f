//! The token issuer: `GET /token` and `POST /token` (the distribution project's token and OAuth 2 specifications).
//!
//! A client gets what it asks for as far as it is allowed, not an error for the rest: the registry refuses later what
//! the token does not hold.

use http::request::Parts;
use http::{HeaderValue, Method, Response, header};
use hyper::body::Incoming;
use serde_json::json;

use super::grant::Grant;
use super::token::{Claims, Purpose};
use super::{Access, Principal};
use crate::api::{Problem, now, whole};
use crate::connection::Body;

/// Lifetime of a token for requests. Long enough for a pull of many layers, since it is checked at each request only.
const ACCESS_SECONDS: i64 = 15 * 60;
/// Lifetime of a token that stands for the password.
const REFRESH_SECONDS: i64 = 90 * 24 * 60 * 60;
/// The longest form.
const FORM: usize = 64 * 1024;
/// How long it may take to come in: anybody can send one.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
/// The most scopes.
const SCOPES: usize = 64;

/// What a client asks for.
#[derive(Debug, Default)]
struct Asked {
    scopes: Vec<Grant>,
    offline: bool,
    /// A user and password, or a refresh token, of a form.
    password: Option<(String, String)>,
    refresh: Option<String>,
}

/// Answers a request for a token.
pub(crate) async fn issue(access: &Access, head: Parts, body: Incoming) -> Result<Response<Body>, Problem> {
    let asked = match head.method {
        Method::GET => asked(head.uri.query().unwrap_or_default()),
        Method::POST => {
            let too_long = || Problem::Unsupported(format!("the form is longer than {FORM} bytes"));
            let form = whole(body, FORM, PATIENCE).await?.ok_or_else(too_long)?;
            asked(&String::from_utf8_lossy(&form))
        }
        ref other => return Err(Problem::Method(other.to_string())),
    };
    let refused = || Problem::Unauthorized {
        challenge: format!("Basic realm=\"{}\"", access.service(&head)),
        wanted: "a token".into(),
    };
    let who = match (&asked.password, &asked.refresh) {
        (Some((user, password)), _) => access.log_in(user, password).await?.ok_or_else(refused)?,
        (None, Some(token)) => access.refreshed(token).await?.ok_or_else(refused)?,
        (None, None) => access.identify(&head).await?.ok_or_else(refused)?,
    };
    // A token gives no new one.
    if matches!(who, Principal::Token { .. }) {
        return Err(refused());
    }

    Ok(answer(access, &who, &asked))
}

fn asked(form: &str) -> Asked {
    let mut asked = Asked::default();
    let (mut user, mut password) = (String::new(), None);
    for (name, value) in url::form_urlencoded::parse(form.as_bytes()) {
        match &*name {
            "scope" => asked.scopes.extend(Grant::list(&value)),
            "offline_token" => asked.offline |= value == "true",
            "access_type" => asked.offline |= value == "offline",
            "username" => user = value.into_owned(),
            "password" => password = Some(value.into_owned()),
            "refresh_token" => asked.refresh = Some(value.into_owned()),
            _ => {}
        }
    }
    asked.password = password.map(|password| (user, password));
    asked.scopes.truncate(SCOPES);
    asked
}

fn answer(access: &Access, who: &Principal, asked: &Asked) -> Response<Body> {
    let now = now();
    let grants = access.grants_for(who, &asked.scopes);
    // A token does not outlive the account.
    let left = who.ends().map_or(ACCESS_SECONDS, |ends| ends.saturating_sub(now) / 1000);
    let seconds = left.clamp(0, ACCESS_SECONDS);
    let robot = matches!(who, Principal::Robot { .. });
    let claims = Claims { robot, ..Claims::new(who.name(), Purpose::Access, grants, now, seconds) };
    let token = access.sign(&claims);
    let mut answer = json!({
        "token": token,
        "access_token": token,
        "expires_in": seconds,
        "issued_at": jiff::Timestamp::from_millisecond(now).unwrap_or_default().to_string(),
    });
    let user = matches!(who, Principal::User(_));
    if user && asked.offline {
        let claims = Claims::new(who.name(), Purpose::Refresh, Vec::new(), now, REFRESH_SECONDS);
        let refresh = Claims { password: access.password_mark(who.name()), ..claims };
        answer["refresh_token"] = json!(access.sign(&refresh));
    } else if let Some(refresh) = &asked.refresh {
        answer["refresh_token"] = json!(refresh);
    }
    let mut response = Response::new(Body::from(answer.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Access {
    /// Who a refresh token stands for, if they still have the password that it was given for.
    async fn refreshed(&self, token: &str) -> Result<Option<Principal>, Problem> {
        let Some(claims) = self.signer.verify(token, Purpose::Refresh, now()) else { return Ok(None) };
        let same = claims.password.is_some() && claims.password == self.password_mark(&claims.sub);
        Ok(same.then_some(Principal::User(claims.sub)))
    }

    /// What tells a user's password from the next one, and nothing else of it.
    fn password_mark(&self, user: &str) -> Option<String> {
        let hash = self.htpasswd.as_ref()?.hash(user)?;
        Some(self.signer.mark(&hash))
    }
}
