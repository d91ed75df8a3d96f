//! One HTTP exchange: connection reuse, time limits, redirects and repetition.
//!
//! Knows nothing of registries; what an answer means is decided above. Invariants: credentials never leave
//! the origin they were meant for, a redirect never leads from TLS to plain HTTP, and no body is read
//! further than its limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::{Origin, Url};

use crate::config::ClientConfig;
use crate::connect::{Dialer, reason_of};
use crate::error::{Error, Reason, Verb, is_transient_status};
use crate::hosts::{HostSettings, TlsSettings};
use crate::pace::{Meter, Slow};
use crate::payload::Payload;
use crate::tls::{check_authorities, tls};

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 10;

type Pool = HyperClient<HttpsConnector<Dialer>, UnsyncBoxBody<Bytes, std::io::Error>>;

/// Sends requests over pooled connections. The pools are made when first used: reading the host's
/// certificate authorities takes time and memory that a daemon which pulls nothing doesn't spend.
pub(crate) struct Transport {
    pools: Mutex<HashMap<PoolKey, Pool>>,
    config: Arc<ClientConfig>,
}

/// Connections are shared by hosts that are spoken to in the same way.
#[derive(Clone, PartialEq, Eq, Hash)]
struct PoolKey {
    tls: TlsSettings,
    connect_timeout: Duration,
    /// HTTP/1.1 only: one request at a time on a connection.
    apart: bool,
}

/// Pools kept; more than these are made anew each time.
const MAX_POOLS: usize = 64;

/// A request that can be sent again.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// How many idle times the answer may take: a registry reads a whole blob again before it commits it.
    pub(crate) patience: u32,
    /// Whether it wants a connection on which no other request is under way.
    pub(crate) apart: bool,
    /// Whether its payload is a secret, for the host it is sent to alone.
    pub(crate) secret: bool,
    /// The registry it is for and how that is spoken to.
    speak: Option<(Origin, Arc<HostSettings>)>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            patience: 1,
            apart: false,
            secret: false,
            speak: None,
        }
    }

    /// Says how the host of `root` is spoken to. Its headers and client certificates are for that host alone;
    /// its authorities are also trusted where it redirects to.
    pub(crate) fn speak_as(&mut self, root: &Url, settings: &Arc<HostSettings>) {
        self.speak = Some((root.origin(), settings.clone()));
    }

    fn settings(&self) -> Option<&HostSettings> {
        let (origin, settings) = self.speak.as_ref()?;
        (self.url.origin() == *origin).then_some(settings.as_ref())
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    pub(crate) fn verb(&self) -> Verb {
        Verb::of(&self.method)
    }
}

/// Which failures make a request be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// None: the caller knows better how to go on.
    Never,
    /// All that may pass, but not a connection that can't be made: nobody has answered there yet.
    OnceConnected,
    /// All that may pass.
    Always,
}

/// The head of an answer, its body not yet read.
pub(crate) struct Answer {
    pub(crate) verb: Verb,
    /// Where it came from after all redirects.
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    idle: Duration,
    meter: Meter,
}

impl Transport {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Result<Self, Error> {
        check_authorities(&config.ca_certs)?;
        Ok(Transport { pools: Mutex::default(), config })
    }

    fn pool(&self, request: &Request) -> Result<Pool, Error> {
        let key = self.pool_key(request);
        if let Some(pool) = self.pools().get(&key) {
            return Ok(pool.clone());
        }
        let tls = tls(&self.config.ca_certs, &key.tls)?;
        let proxy = Arc::new(self.config.proxy.clone());
        let dialer = Dialer { proxy, timeout: key.connect_timeout };
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match key.apart {
            true => builder.enable_http1().wrap_connector(dialer),
            false => builder.enable_all_versions().wrap_connector(dialer),
        };
        let pool = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .http2_adaptive_window(true)
            .build(connector);
        let mut pools = self.pools();
        if pools.len() >= MAX_POOLS {
            pools.clear();
        }
        Ok(pools.entry(key).or_insert(pool).clone())
    }

    fn pool_key(&self, request: &Request) -> PoolKey {
        let mut tls = match (request.settings(), &request.speak) {
            (Some(own), _) => own.tls.clone(),
            (None, Some((_, other))) => {
                TlsSettings { authorities: other.tls.authorities.clone(), ..TlsSettings::default() }
            }
            (None, None) => TlsSettings::default(),
        };
        tls.skip_verify |= self.config.is_insecure(&host_of(&request.url));
        let connect_timeout = request.settings().and_then(|own| own.connect_timeout);
        let connect_timeout = connect_timeout.unwrap_or(self.config.connect_timeout);
        PoolKey { tls, connect_timeout, apart: request.apart }
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, HashMap<PoolKey, Pool>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `request` until an answer that isn't transient comes or the attempts are used up; then the last
    /// answer or error is returned.
    pub(crate) async fn send(&self, request: &Request, repeat: Repeat) -> Result<Answer, Error> {
        let policy = self.config.retry;
        if repeat == Repeat::Never {
            return self.follow(request.clone()).await;
        }
        let mut attempt = 1;
        loop {
            let result = self.follow(request.clone()).await;
            let pause = match &result {
                _ if attempt >= policy.attempts.max(1) => return result,
                Ok(answer) if is_transient_status(answer.status) => {
                    match retry_after(&answer.headers, SystemTime::now()) {
                        Some(asked) if asked > policy.max => return result,
                        Some(asked) => asked.max(policy.pause(attempt)),
                        None => policy.pause(attempt),
                    }
                }
                Err(Error::Transport { reason, .. })
                    if repeat == Repeat::OnceConnected && reason.is_connect_failure() =>
                {
                    return result;
                }
                Err(error) if error.is_transient() => policy.pause(attempt),
                _ => return result,
            };
            tracing::debug!(url = %request.url, attempt, ?pause, "registry request is tried again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn follow(&self, mut request: Request) -> Result<Answer, Error> {
        let verb = request.verb();
        let first = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.exchange(&request).await?;
            let Some(target) = redirect_target(&request, &answer)? else {
                return Ok(answer);
            };
            if target.origin() != request.url.origin() {
                request.headers.remove(header::AUTHORIZATION);
                if request.secret {
                    let problem = "it leads to another host, which must not get the credentials";
                    let target = crate::error::shown(&target);
                    return Err(Error::transport(verb, &request.url, Reason::Redirect { target, problem }));
                }
            }
            request.url = target;
        }
        Err(Error::transport(verb, &first, Reason::TooManyRedirects(MAX_REDIRECTS)))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Error> {
        let verb = request.verb();
        let pool = self.pool(request)?;
        let activity = Activity::new();
        let outgoing = self.outgoing(request, &activity).await?;
        let (idle, patience) = (self.config.idle_timeout, self.config.idle_timeout * request.patience);
        let mut answer = std::pin::pin!(pool.request(outgoing));
        let response = loop {
            let left = patience.saturating_sub(activity.since());
            if left.is_zero() {
                return Err(Error::transport(verb, &request.url, Reason::AnswerTimeout(patience.as_secs())));
            }
            if let Ok(done) = tokio::time::timeout(left, &mut answer).await {
                break done.map_err(|e| Error::transport(verb, &request.url, reason_of(&e)))?;
            }
        };
        let (head, body) = response.into_parts();
        Ok(Answer {
            verb,
            url: request.url.clone(),
            status: head.status,
            headers: head.headers,
            body,
            idle,
            meter: Meter::new(self.config.pace),
        })
    }

    async fn outgoing(
        &self,
        request: &Request,
        activity: &Activity,
    ) -> Result<http::Request<UnsyncBoxBody<Bytes, std::io::Error>>, Error> {
        let verb = request.verb();
        let mut outgoing = http::Request::builder().method(request.method.clone()).uri(request.url.as_str());
        if let Some(headers) = outgoing.headers_mut() {
            for (name, value) in request.settings().map_or(&[][..], |own| own.headers.as_slice()) {
                if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse()) {
                    headers.append(name, value);
                }
            }
            if request.headers.contains_key(header::AUTHORIZATION) {
                headers.remove(header::AUTHORIZATION);
            }
            headers.extend(request.headers.clone());
            if let Ok(agent) = HeaderValue::from_str(&self.config.user_agent) {
                headers.insert(header::USER_AGENT, agent);
            }
            if let Some(length) = request.payload.length(&request.method) {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
            if let Some(value) = self.proxy_authorization(&request.url) {
                headers.insert(header::PROXY_AUTHORIZATION, value);
            }
        }
        let body = match &request.payload {
            Payload::Empty => full(Bytes::new()),
            Payload::Bytes(bytes) => full(bytes.clone()),
            Payload::File(part) => part.body(activity.clone()).await?,
        };
        outgoing.body(body).map_err(|e| Error::invalid(verb, &request.url, e.to_string()))
    }

    /// For plain HTTP the proxy reads our request's own headers; for TLS it saw them in `CONNECT`.
    fn proxy_authorization(&self, url: &Url) -> Option<HeaderValue> {
        if url.scheme() != "http" {
            return None;
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let proxy = self.config.proxy.for_host(false, url.host_str()?, port)?;
        HeaderValue::from_str(proxy.authorization.as_deref()?).ok()
    }
}

fn full(bytes: Bytes) -> UnsyncBoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// `host[:port]` of a URL.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Where the answer sends us, or `None` when it is an answer.
fn redirect_target(request: &Request, answer: &Answer) -> Result<Option<Url>, Error> {
    let safe = matches!(request.method, Method::GET | Method::HEAD);
    match answer.status.as_u16() {
        301..=303 if safe => {}
        307 | 308 => {}
        _ => return Ok(None),
    }
    let Some(location) = answer.headers.get(header::LOCATION).and_then(|v| v.to_str().ok()) else {
        return Err(Error::invalid(answer.verb, &request.url, "redirect without a Location"));
    };
    let refuse = |problem| {
        let target = request.url.join(location).map(|u| crate::error::shown(&u)).unwrap_or_default();
        Err(Error::transport(answer.verb, &request.url, Reason::Redirect { target, problem }))
    };
    match request.url.join(location) {
        Ok(target) if target.scheme() == "https" => Ok(Some(target)),
        Ok(target) if target.scheme() == "http" && request.url.scheme() == "http" => Ok(Some(target)),
        Ok(target) if target.scheme() == "http" => refuse("it leads from https to http"),
        Ok(_) => refuse("it leads to neither http nor https"),
        Err(_) => refuse("its Location is not a URL"),
    }
}

/// How long the registry asks us to wait: seconds or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(http_date(value)?.duration_since(now).unwrap_or_default())
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|m| *m == name)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|n| n.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let fits = (1970..=9999).contains(&year)
        && (1..=31).contains(&day)
        && (0..=23).contains(&hour)
        && (0..=59).contains(&minute)
        && (0..=60).contains(&second);
    if !fits {
        return None;
    }
    // Days since 1970-01-01 of a Gregorian date, counted in years which begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, Reason>> {
        let mut silent = Duration::ZERO;
        loop {
            let began = Instant::now();
            let patience = self.meter.left().min(self.idle.saturating_sub(silent));
            let frame = tokio::time::timeout(patience, self.body.frame()).await;
            let data = match frame {
                Err(_) => Bytes::new(),
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some(Err(reason_of(&error))),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            let waited = began.elapsed();
            silent += waited;
            if data.is_empty() && silent >= self.idle {
                return Some(Err(Reason::Stalled(self.idle.as_secs())));
            }
            if let Err(Slow { bytes, seconds }) = self.meter.add(waited, data.len()) {
                return Some(Err(Reason::Slow { bytes, seconds }));
            }
            if !data.is_empty() {
                return Some(Ok(data));
            }
        }
    }

    /// The whole body, refused when it is longer than `limit`.
    pub(crate) async fn bytes(&mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk.map_err(|reason| Error::transport(self.verb, &self.url, reason))?;
            if all.len() + chunk.len() > limit {
                let problem = format!("body is longer than {limit} bytes");
                return Err(Error::invalid(self.verb, &self.url, problem));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// The value of `Content-Length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }

    pub(crate) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// When bytes of a request last moved, so that a long upload isn't taken for a silent registry.
#[derive(Clone)]
pub(crate) struct Activity(Arc<(Instant, AtomicU64)>);

impl Activity {
    fn new() -> Self {
        Activity(Arc::new((Instant::now(), AtomicU64::new(0))))
    }

    pub(crate) fn mark(&self) {
        let now = u64::try_from(self.0.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.1.store(now, Ordering::Relaxed);
    }

    fn since(&self) -> Duration {
        self.0.0.elapsed().saturating_sub(Duration::from_millis(self.0.1.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_seconds_and_as_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let of = |v: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, v.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(of("Sun, 99 Nov 1994 08:49:37 GMT"), None);
        for clock in ["-1:00:00", "08:-9223372036854775808:00", "00:00:-5"] {
            assert_eq!(of(&format!("Sun, 06 Nov 1994 {clock} GMT")), None, "{clock}");
        }
    }
}
