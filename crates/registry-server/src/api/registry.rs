//! The registry: its parts, and the way of a request through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::problem::Problem;
use super::route::Route;
use super::turn::Turns;
use super::{blob, catalog, manifest, operation, referrer, tag, upload};
use crate::access::{Access, Action, Need, Principal};
use crate::cache::Cache;
use crate::connection::{Body, Lane};
use crate::metadata::{Metadata, Millis, Quota};
use crate::name::Repository;
use crate::replication::Replication;
use crate::report::Report;
use crate::rules::Rules;
use crate::storage::Storage;

/// Sizes and times that bound what a request may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Blobs up to this size are kept in the metadata.
    pub inline: usize,
    /// The longest manifest.
    pub manifest: usize,
    /// The most entries of a list in one answer.
    pub page: usize,
    /// How long a blob that nothing needs is kept after somebody has relied on it.
    pub grace: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self { inline: 16 * 1024, manifest: 8 * 1024 * 1024, page: 10_000, grace: 24 * 60 * 60 * 1000 }
    }
}

/// What a registry is made of.
pub struct RegistryParts {
    /// Where bytes lie.
    pub storage: Arc<dyn Storage>,
    /// What is known of them.
    pub metadata: Arc<dyn Metadata>,
    /// Who may do what.
    pub access: Access,
    /// What is kept, and how much.
    pub rules: Rules,
    /// Who is told of it.
    pub report: Report,
    /// What is copied from other registries.
    pub(crate) cache: Cache,
    /// What is copied to other registries.
    pub(crate) replication: Replication,
    /// Bounds.
    pub limits: Limits,
}

/// A registry that answers requests.
pub struct Registry {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) access: Access,
    pub(crate) rules: Rules,
    pub(crate) report: Report,
    pub(crate) cache: Cache,
    pub(crate) replication: Replication,
    pub(crate) limits: Limits,
    pub(super) turns: Turns,
}

/// The connection that a request came over.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Who is at its other end.
    pub(crate) peer: SocketAddr,
    /// Whether it is TLS.
    pub(crate) tls: bool,
    /// The way for parts of files, where there is one.
    pub(crate) lane: Option<Arc<Lane>>,
}

/// A request without its body, and who sent it.
pub(crate) struct Call {
    pub(crate) head: Parts,
    pub(crate) link: Link,
    pub(crate) who: Principal,
}

impl Call {
    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The first value of a name in the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        super::route::query(self.head.uri.query()).find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All values of a name in the query.
    pub(crate) fn queries(&self, name: &str) -> Vec<String> {
        super::route::query(self.head.uri.query())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value)
            .collect()
    }
}

impl Registry {
    /// Puts a registry together.
    #[must_use]
    pub fn new(parts: RegistryParts) -> Self {
        let RegistryParts { storage, metadata, access, rules, report, cache, replication, limits } = parts;
        let turns = Turns::default();
        Self { storage, metadata, access, rules, report, cache, replication, limits, turns }
    }

    /// Answers a request; whatever happens, there is an answer.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, link: Link) -> Response<Body> {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let method = head.method.clone();
        let path = head.uri.path().to_owned();
        let parsed = Route::parse(&path);
        let label = parsed.as_ref().map_or("none", Route::label);
        let peer = link.peer;
        let (who, done) = match parsed {
            // What has begun to change something comes to its end, and into the audit log, though the client goes away.
            Ok(route) if !matches!(method, Method::GET | Method::HEAD) => {
                let served = tokio::spawn(self.clone().served(route, head, body, link)).await;
                served.unwrap_or((Principal::Anonymous, Err(Problem::Abandoned)))
            }
            Ok(route) => self.clone().served(route, head, body, link).await,
            Err(problem) => (Principal::Anonymous, Err(problem)),
        };
        let answered = |problem: Problem| {
            log_failure(&method, &path, &problem);
            problem.response()
        };
        let mut response = done.unwrap_or_else(answered);
        if let Err(problem) = self.report.refused(&path, response.status(), &who, peer).await {
            response = answered(problem);
        }
        let version = HeaderName::from_static("docker-distribution-api-version");
        response.headers_mut().insert(version, HeaderValue::from_static("registry/2.0"));
        self.report.request(&method, label, &path, response.status(), began.elapsed(), &who, peer);
        let report = self.report.clone();
        response.map(|body| body.counted(move |sent| report.sent(sent)))
    }

    /// Serves a request; says who sent it too.
    async fn served(
        self: Arc<Self>,
        route: Route,
        head: Parts,
        body: Incoming,
        link: Link,
    ) -> (Principal, Result<Response<Body>, Problem>) {
        let mut who = Principal::Anonymous;
        let done = self.serve(route, head, body, link, &mut who).await;
        (who, done)
    }

    async fn serve(
        self: Arc<Self>,
        route: Route,
        head: Parts,
        body: Incoming,
        link: Link,
        who: &mut Principal,
    ) -> Result<Response<Body>, Problem> {
        if let Some(answer) = operation::answer(&self, &route, &head, &link).await? {
            return Ok(answer);
        }
        if route == Route::Token {
            return crate::access::issue(&self.access, head, body).await;
        }
        let need = need(&route, &head);
        *who = self.access.authorize(&head, &link, need.as_ref()).await?;
        let warnings = self.rules.warnings(route.repository(), who);
        let call = Call { head, link, who: who.clone() };
        let mut response = self.dispatch(route, call, body).await?;
        for warning in warnings {
            if let Ok(value) = HeaderValue::try_from(warning) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        Ok(response)
    }

    async fn dispatch(
        self: Arc<Self>,
        route: Route,
        call: Call,
        body: Incoming,
    ) -> Result<Response<Body>, Problem> {
        let method = call.head.method.clone();
        if matches!(method, Method::POST | Method::PUT | Method::PATCH)
            && let Some(repository) = route.repository()
        {
            self.cache.may_push(repository)?;
        }
        match (route, method) {
            (Route::Root, Method::GET | Method::HEAD) => Ok(json("{}")),
            (Route::Catalog, Method::GET) => catalog::list(&self, &call).await,
            (Route::Tags(name), Method::GET) => tag::list(&self, &call, &name).await,
            (Route::Manifest(name, target), Method::GET | Method::HEAD) => {
                manifest::get(&self, &call, &name, &target).await
            }
            (Route::Manifest(name, target), Method::PUT) => {
                manifest::put(&self, &call, &name, target, body).await
            }
            (Route::Manifest(name, target), Method::DELETE) => {
                manifest::delete(&self, &call, &name, &target).await
            }
            (Route::Blob(name, digest), Method::GET | Method::HEAD) => {
                blob::get(&self, &call, &name, &digest).await
            }
            (Route::Blob(name, digest), Method::DELETE) => blob::delete(&self, &call, &name, &digest).await,
            (Route::Uploads(name), Method::POST) => upload::begin(self, call, name, body).await,
            (Route::Upload(name, id), Method::GET | Method::HEAD) => upload::status(&self, &name, &id).await,
            (Route::Upload(name, id), Method::PATCH) => upload::append(self, call, name, id, body).await,
            (Route::Upload(name, id), Method::PUT) => upload::close(self, call, name, id, body).await,
            (Route::Upload(name, id), Method::DELETE) => upload::cancel(&self, &name, &id).await,
            (Route::Referrers(name, digest), Method::GET) => {
                referrer::list(&self, &call, &name, &digest).await
            }
            (_, method) => Err(Problem::Method(method.to_string())),
        }
    }

    /// Ends the bodies of uploads that are coming in; what came is recorded.
    pub(crate) async fn stop_uploads(&self) {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
        // A disk that hangs must not keep the process.
        let _ = tokio::time::timeout(PATIENCE, self.turns.stop_all()).await;
    }

    /// The quotas that a repository is under.
    pub(crate) fn quotas(&self, repository: &Repository) -> Vec<Quota> {
        self.rules.quotas(repository)
    }
}

/// What a request must be allowed to.
fn need(route: &Route, head: &Parts) -> Option<Need> {
    let action = match head.method {
        Method::GET | Method::HEAD => Action::Pull,
        Method::DELETE => Action::Delete,
        _ => Action::Push,
    };
    match route {
        Route::Root => Some(Need::Root),
        Route::Catalog => Some(Need::Catalog),
        Route::Uploads(to) => {
            let from = super::route::query(head.uri.query()).find(|(name, _)| name == "from");
            Some(match from.and_then(|(_, text)| Repository::parse(&text)) {
                Some(from) => Need::Mount(to.clone(), from),
                None => Need::Repository(to.clone(), Action::Push),
            })
        }
        // Whoever may begin an upload may look at it and give it up.
        Route::Upload(name, _) => Some(Need::Repository(name.clone(), Action::Push)),
        _ => route.repository().map(|name| Need::Repository(name.clone(), action)),
    }
}

fn log_failure(method: &Method, path: &str, problem: &Problem) {
    if problem.status().is_server_error() {
        let source = std::error::Error::source(problem).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%method, path, error = %problem, source, "request failed");
    }
}

/// A quota that is used up.
pub(super) fn over(quota: &Quota) -> Problem {
    let of = if quota.prefix.is_empty() { "the registry" } else { &quota.prefix };
    Problem::Denied(format!("the quota of {of}, {} bytes, is used up", quota.bytes))
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// An answer in JSON.
pub(super) fn json(text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Sets a header whose value is known to be one.
pub(super) fn set(response: &mut Response<Body>, name: &'static str, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
