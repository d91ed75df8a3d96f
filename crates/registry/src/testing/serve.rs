//! The distribution API over the state, with faults applied.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use dray_spec::{Descriptor, Digest};
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::rt::{Read, Write};
use hyper::service::service_fn;

use super::fault::What;
use super::state::{Guard, Seen, State};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Reply = Result<Response<Body>, io::Error>;

pub(crate) async fn connection<I: Read + Write + Send + Unpin + 'static>(state: Arc<State>, io: I) {
    let service = service_fn(move |request| handle(state.clone(), request));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn plain(status: u16) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn failure(status: u16, code: &str, message: &str) -> Response<Body> {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let mut response = plain(status);
    *response.body_mut() = full(body.into());
    response
}

fn with(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    if let Ok(value) = value.parse() {
        response.headers_mut().append(name, value);
    }
    response
}

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let method = head.method.clone();
    let text = |name: header::HeaderName| {
        head.headers.get(name).and_then(|v| v.to_str().ok()).map(ToOwned::to_owned)
    };
    let fault = state.lock().fault_for(method.as_str(), &path);
    let cut_upload = match &fault {
        Some(What::CutAfter(n)) if method == Method::PATCH || method == Method::PUT => Some(*n),
        _ => None,
    };
    let body = read(body, cut_upload).await;
    state.lock().seen.push(Seen {
        method: method.to_string(),
        path: path.clone(),
        authorization: text(header::AUTHORIZATION),
        range: text(header::RANGE),
        body: body.len() as u64,
    });
    if let Some(refused) = guard(&state, &method, &path, &head.headers, &body) {
        return Ok(refused);
    }
    match &fault {
        Some(What::Answer { status, headers, body }) => return Ok(canned(*status, headers, body)),
        Some(What::Close) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(What::Delay(time)) => tokio::time::sleep(*time).await,
        Some(What::Await(requests)) => {
            let bare = path.split('?').next().unwrap_or_default().to_owned();
            let come = || state.lock().seen.iter().filter(|seen| seen.path.starts_with(&bare)).count();
            while come() < *requests {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
        _ => {}
    }
    let range = match fault {
        Some(What::IgnoreRange) => None,
        _ => text(header::RANGE),
    };
    let response = route(&state, &method, &path, &head.headers, range.as_deref(), body);
    if cut_upload.is_some() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    match fault {
        Some(fault) if method != Method::HEAD => Ok(spoil(response, fault).await),
        _ => Ok(response),
    }
}

/// Reads a request's body, or only its first bytes where the connection is going to be cut.
async fn read(mut body: Incoming, limit: Option<u64>) -> Bytes {
    let limit = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut all = BytesMut::new();
    while all.len() < limit {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
    }
    all.truncate(limit);
    all.freeze()
}

fn canned(status: u16, headers: &[(String, String)], body: &str) -> Response<Body> {
    let mut response = plain(status);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse()) {
            response.headers_mut().append(name, value);
        }
    }
    *response.body_mut() = full(body.to_owned().into());
    response
}

/// Refuses a request without the credentials wanted, and plays the token issuer.
fn guard(
    state: &State,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Response<Body>> {
    let guard = state.lock().guard.clone();
    let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let basic = |user: &str, password: &str| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    };
    match guard {
        Guard::Open => None,
        Guard::Basic { user, password } => (sent != basic(&user, &password)).then(|| {
            let refused = failure(401, "UNAUTHORIZED", "authentication required");
            with(refused, "www-authenticate", "Basic realm=\"fixture\"")
        }),
        Guard::Bearer { user, password, expires_in } => {
            let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
            if path.starts_with("/token") {
                let good = user.is_empty()
                    || sent == basic(&user, &password)
                    || String::from_utf8_lossy(body).contains("refresh_token=refresh-1");
                return Some(issue(state, path, body, good, expires_in));
            }
            let (repository, action) = needs(method, path);
            let token = sent.strip_prefix("Bearer ").unwrap_or_default();
            if state.lock().allows(token, &repository, action) {
                return None;
            }
            let scope = match repository.as_str() {
                "" => String::new(),
                name => format!(",scope=\"repository:{name}:{action}\""),
            };
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"fixture\"{scope}");
            let refused = failure(401, "UNAUTHORIZED", "authentication required");
            Some(with(refused, "www-authenticate", &challenge))
        }
    }
}

fn issue(state: &State, path: &str, body: &[u8], good: bool, expires_in: u64) -> Response<Body> {
    if !good {
        let mut refused = plain(401);
        *refused.body_mut() = full(r#"{"details":"incorrect username or password"}"#.into());
        return refused;
    }
    let query = path.split_once('?').map(|(_, q)| q.as_bytes()).unwrap_or_default();
    let pairs = || url::form_urlencoded::parse(query).chain(url::form_urlencoded::parse(body));
    let scopes = pairs()
        .filter(|(name, _)| name == "scope")
        .flat_map(|(_, value)| value.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect();
    let refresh = match pairs().any(|(name, _)| name == "offline_token") {
        true => r#","refresh_token":"refresh-1""#,
        false => "",
    };
    let token = state.lock().issue(scopes);
    let mut response = plain(200);
    *response.body_mut() =
        full(format!(r#"{{"token":"{token}","expires_in":{expires_in}{refresh}}}"#).into());
    response
}

/// The repository a request is about and what it does there.
fn needs(method: &Method, path: &str) -> (String, &'static str) {
    let action = match *method {
        Method::GET | Method::HEAD => "pull",
        Method::DELETE => "delete",
        _ => "push",
    };
    let repository = split(path).map(|(name, ..)| name.to_owned()).unwrap_or_default();
    (repository, action)
}

/// `/v2/<name>/<kind>/<rest>`.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    let path = path.strip_prefix("/v2/")?;
    ["/manifests/", "/blobs/", "/tags/", "/referrers/"].iter().find_map(|kind| {
        let (name, rest) = path.split_once(kind)?;
        Some((name, kind.trim_matches('/'), rest))
    })
}

fn route(
    state: &State,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    range: Option<&str>,
    body: Bytes,
) -> Response<Body> {
    let bare = path.split('?').next().unwrap_or_default();
    if bare == "/v2/" {
        return plain(200);
    }
    let Some((name, kind, rest)) = split(bare) else {
        return failure(404, "NOT_FOUND", "no such page");
    };
    match (kind, method.as_str()) {
        ("manifests", "GET" | "HEAD") => get_manifest(state, name, rest),
        ("manifests", "PUT") => put_manifest(state, name, rest, headers, body),
        ("manifests", "DELETE") => {
            let gone = state.lock().manifests.remove(&(name.into(), rest.into()));
            plain(if gone.is_some() { 202 } else { 404 })
        }
        ("blobs", "GET" | "HEAD") if !rest.starts_with("uploads/") => get_blob(state, name, rest, range),
        ("blobs", _) => upload(state, method, name, rest, path, body),
        ("tags", _) => tags(state, name),
        ("referrers", _) if state.lock().referrers => referrers(state, name, rest),
        ("referrers", _) => failure(404, "NOT_FOUND", "no such page"),
        _ => plain(405),
    }
}

fn get_manifest(state: &State, name: &str, reference: &str) -> Response<Body> {
    let state = state.lock();
    match state.manifests.get(&(name.into(), reference.into())) {
        None => failure(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        Some((media_type, bytes)) => {
            let mut response = plain(200);
            *response.body_mut() = full(bytes.clone());
            let response = with(response, "docker-content-digest", Digest::sha256_of(bytes).as_str());
            with(response, "content-type", media_type)
        }
    }
}

fn put_manifest(
    state: &State,
    name: &str,
    reference: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let digest = Digest::sha256_of(&body);
    if let Ok(named) = reference.parse::<Digest>()
        && named != digest
    {
        return failure(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    let mut state = state.lock();
    if let Some(missing) = missing_blob(&state, name, &body) {
        return failure(400, "MANIFEST_BLOB_UNKNOWN", &format!("blob unknown to registry: {missing}"));
    }
    let subject = state.referrers.then(|| subject_of(&body)).flatten();
    state.put_manifest(name, digest.as_str(), media_type, body.clone());
    state.put_manifest(name, reference, media_type, body);
    match subject {
        Some(subject) => with(plain(201), "oci-subject", subject.digest.as_str()),
        None => plain(201),
    }
}

fn subject_of(manifest: &[u8]) -> Option<Descriptor> {
    serde_json::from_slice::<dray_spec::Manifest>(manifest).ok()?.subject
}

fn referrers(state: &State, name: &str, subject: &str) -> Response<Body> {
    let state = state.lock();
    let about = |((repository, reference), (kind, bytes)): (&(String, String), &(String, Bytes))| {
        let manifest: dray_spec::Manifest = serde_json::from_slice(bytes).ok()?;
        let fits = repository == name
            && reference.contains(':')
            && manifest.subject.as_ref().is_some_and(|s| s.digest.as_str() == subject);
        let mut entry = Descriptor::of(kind, bytes);
        entry.artifact_type = manifest.artifact_type.or(Some(manifest.config.media_type));
        fits.then_some(entry)
    };
    let index = dray_spec::Index::oci(state.manifests.iter().filter_map(about).collect());
    let mut response = plain(200);
    *response.body_mut() = full(serde_json::to_vec(&index).unwrap_or_default().into());
    with(response, "content-type", dray_spec::media_type::OCI_INDEX)
}

/// As real registries do: a manifest is refused while one of its blobs isn't there.
fn missing_blob(state: &super::state::Inner, name: &str, manifest: &[u8]) -> Option<Digest> {
    let manifest: dray_spec::Manifest = serde_json::from_slice(manifest).ok()?;
    let wanted = std::iter::once(&manifest.config).chain(&manifest.layers);
    wanted
        .map(|d: &Descriptor| d.digest.clone())
        .find(|digest| !state.blobs.contains_key(&(name.into(), digest.to_string())))
}

fn get_blob(state: &State, name: &str, digest: &str, range: Option<&str>) -> Response<Body> {
    let mut state = state.lock();
    let Some(bytes) = state.blobs.get(&(name.into(), digest.into())).cloned() else {
        return failure(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let asked = range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-'));
    let ends = asked.and_then(|(start, last)| {
        let last = if last.is_empty() { bytes.len() - 1 } else { last.parse::<usize>().ok()? };
        Some((start.parse::<usize>().ok()?, last.min(bytes.len().saturating_sub(1))))
    });
    let ends = ends.filter(|(start, last)| start <= last);
    let part = ends.map_or(bytes.clone(), |(start, last)| bytes.slice(start..=last));
    state.blob_bytes_sent += part.len() as u64;
    let mut response = plain(if ends.is_some() { 206 } else { 200 });
    if let Some((start, last)) = ends {
        let value = format!("bytes {start}-{last}/{}", bytes.len());
        response = with(response, "content-range", &value);
    }
    *response.body_mut() = full(part);
    response
}

fn upload(state: &State, method: &Method, name: &str, rest: &str, path: &str, body: Bytes) -> Response<Body> {
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(path.split_once('?').map_or("", |(_, q)| q).as_bytes())
            .into_owned()
            .collect();
    let get = |wanted: &str| query.iter().find(|(n, _)| n == wanted).map(|(_, v)| v.clone());
    let mut state = state.lock();
    if *method == Method::POST {
        if let (Some(digest), Some(from), false) = (get("mount"), get("from"), state.no_mounts)
            && let Some(bytes) = state.blobs.get(&(from, digest.clone())).cloned()
        {
            state.blobs.insert((name.into(), digest), bytes);
            return plain(201);
        }
        state.next_upload += 1;
        let id = state.next_upload;
        state.uploads.insert(id, Vec::new());
        return with(plain(202), "location", &format!("/v2/{name}/blobs/uploads/{id}?_state=s"));
    }
    let id = rest.strip_prefix("uploads/").and_then(|id| id.parse::<u64>().ok()).unwrap_or_default();
    let Some(content) = state.uploads.get_mut(&id) else {
        return failure(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    content.extend_from_slice(&body);
    let range = format!("0-{}", content.len().saturating_sub(1));
    let location = format!("/v2/{name}/blobs/uploads/{id}?_state=s");
    if *method != Method::PUT {
        let status = if *method == Method::GET { 204 } else { 202 };
        return with(with(plain(status), "location", &location), "range", &range);
    }
    let content: Bytes = content.clone().into();
    let digest = Digest::sha256_of(&content);
    if get("digest").as_deref() != Some(digest.as_str()) {
        return failure(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    state.uploads.remove(&id);
    state.put_blob(name, &digest, content);
    plain(201)
}

fn tags(state: &State, name: &str) -> Response<Body> {
    let state = state.lock();
    let mut tags: Vec<&str> = state
        .manifests
        .keys()
        .filter(|(repository, reference)| repository == name && !reference.contains(':'))
        .map(|(_, tag)| tag.as_str())
        .collect();
    tags.sort_unstable();
    let mut response = plain(200);
    let body = serde_json::json!({ "name": name, "tags": tags }).to_string();
    *response.body_mut() = full(body.into());
    response
}

/// Applies a fault to a good answer.
async fn spoil(response: Response<Body>, fault: What) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let length = bytes.len();
    let announce = |head: &mut http::response::Parts, n: usize| {
        head.headers.insert(header::CONTENT_LENGTH, n.into());
    };
    let body = match fault {
        What::CutAfter(n) => {
            announce(&mut head, length);
            let part = bytes.slice(..length.min(usize::try_from(n).unwrap_or(length)));
            let pieces = [Ok(Frame::data(part)), Err(io::ErrorKind::ConnectionReset.into())];
            // The cut comes after the bytes have left, not instead of them.
            let stream = futures_util::stream::iter(pieces).then(|piece| async {
                if piece.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                }
                piece
            });
            StreamBody::new(stream).boxed_unsync()
        }
        What::FlipByte => {
            let mut changed = bytes.to_vec();
            if let Some(byte) = changed.get_mut(length / 2) {
                *byte ^= 1;
            }
            full(changed.into())
        }
        What::Endless => {
            let block = Bytes::from(vec![b' '; 64 * 1024]);
            let stream = futures_util::stream::repeat_with(move || Ok(Frame::data(block.clone())));
            StreamBody::new(stream).boxed_unsync()
        }
        What::Longer(n) => {
            let mut longer = bytes.to_vec();
            longer.resize(length + usize::try_from(n).unwrap_or(0), 0);
            full(longer.into())
        }
        What::Shorter(n) => full(bytes.slice(..length.saturating_sub(usize::try_from(n).unwrap_or(0)))),
        What::Stall => {
            announce(&mut head, length);
            let half = futures_util::stream::iter([Ok(Frame::data(bytes.slice(..length / 2)))]);
            StreamBody::new(half.chain(futures_util::stream::pending())).boxed_unsync()
        }
        What::Drip(pause) => {
            announce(&mut head, length);
            let stream = futures_util::stream::iter(0..length).then(move |at| {
                let byte = bytes.slice(at..=at);
                async move {
                    tokio::time::sleep(pause).await;
                    Ok(Frame::data(byte))
                }
            });
            StreamBody::new(stream).boxed_unsync()
        }
        What::ContentType(media_type) => {
            if let Ok(value) = media_type.parse() {
                head.headers.insert(header::CONTENT_TYPE, value);
            }
            full(bytes)
        }
        What::FalseDigestHeader => {
            let lie = Digest::sha256_of(b"a lie");
            if let Ok(value) = lie.as_str().parse() {
                head.headers.insert("docker-content-digest", value);
            }
            full(bytes)
        }
        _ => full(bytes),
    };
    Response::from_parts(head, body)
}
