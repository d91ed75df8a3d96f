//! A cache service as GitHub Actions has it, written from its protocol: both versions, with tokens of its own, keys that
//! are written once, scopes, and blobs behind addresses that are good for a while.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A running service; it ends when dropped.
pub struct ActionsService {
    address: String,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// What is whole, in the order in which it came: scope, key, bytes.
    entries: Vec<(String, String, Vec<u8>)>,
    /// What is reserved, by its number.
    reserved: BTreeMap<u64, Reserved>,
    next: u64,
    /// Answers of `429` that are due before anything else.
    busy: usize,
    requests: Vec<String>,
    stopped: bool,
}

struct Reserved {
    scope: String,
    key: String,
    bytes: Vec<u8>,
    blocks: BTreeMap<String, Vec<u8>>,
}

/// A request as it came.
struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Status and body.
type Answer = (u16, Vec<u8>);

impl ActionsService {
    /// Starts an empty one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, own) = (Arc::clone(&state), address.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.lock().expect("lock").stopped {
                    return;
                }
                let (state, address) = (Arc::clone(&shared), own.clone());
                std::thread::spawn(move || serve(stream, &state, &address));
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.address
    }

    /// A token that may write the first scope and read all.
    pub fn token(&self, scopes: &[&str]) -> String {
        let of =
            |(n, scope): (usize, &&str)| json!({"Scope": scope, "Permission": if n == 0 { 3 } else { 1 }});
        let access = Value::Array(scopes.iter().enumerate().map(of).collect()).to_string();
        let claims = json!({"nbf": 1_000_000_000, "exp": 4_000_000_000_u64, "ac": access}).to_string();
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    /// The keys that are there, oldest first.
    pub fn keys(&self) -> Vec<String> {
        self.state.lock().expect("lock").entries.iter().map(|(_, key, _)| key.clone()).collect()
    }

    /// What clients have asked for: method and path.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("lock").requests.clone()
    }

    /// Refuses the next requests as too many.
    pub fn be_busy(&self, times: usize) {
        self.state.lock().expect("lock").busy = times;
    }

    /// Makes other bytes of all blobs.
    pub fn damage(&self) {
        for (_, key, bytes) in &mut self.state.lock().expect("lock").entries {
            if key.starts_with("buildkit-blob") {
                bytes.iter_mut().for_each(|byte| *byte ^= 1);
            }
        }
    }
}

impl Drop for ActionsService {
    fn drop(&mut self) {
        self.state.lock().expect("lock").stopped = true;
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, address: &str) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        let (status, body) = state.lock().expect("lock").answer(&request, address);
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = reader.get_mut();
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            None => break,
            Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
        };
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), decoded(value))
    };
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    Some(Request { method, path: path.to_owned(), query, headers, body })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).expect("text")
}

const TWIRP: &str = "/twirp/github.actions.results.api.v1.CacheService/";
const V1: &str = "/_apis/artifactcache/";

impl State {
    fn answer(&mut self, request: &Request, address: &str) -> Answer {
        self.requests.push(format!("{} {}", request.method, request.path));
        if self.busy > 0 {
            self.busy -= 1;
            return (429, Vec::new());
        }
        if let Some(name) = request.path.strip_prefix("/blob/") {
            return self.blob(request, name);
        }
        let Some(scopes) = scopes(request) else {
            return (401, br#"{"message":"Unauthorized"}"#.to_vec());
        };
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if let Some(method) = request.path.strip_prefix(TWIRP) {
            return self.twirp(method, &body, &scopes, address);
        }
        match request.path.strip_prefix(V1) {
            Some(path) => self.v1(request, path, &body, &scopes, address),
            None => (404, Vec::new()),
        }
    }

    /// The newest entry that begins with a key, in the scopes in their order.
    fn find(&self, prefix: &str, scopes: &[(String, bool)]) -> Option<(usize, &str)> {
        scopes.iter().find_map(|(scope, _)| {
            let fits = |(of, key, _): &(String, String, Vec<u8>)| of == scope && key.starts_with(prefix);
            let at = self.entries.iter().rposition(fits)?;
            Some((at, self.entries[at].1.as_str()))
        })
    }

    fn reserve(&mut self, key: &str, scopes: &[(String, bool)]) -> Option<u64> {
        let (scope, _) = scopes.iter().find(|(_, writable)| *writable)?;
        let taken = self.entries.iter().any(|(of, known, _)| of == scope && known == key)
            || self.reserved.values().any(|reserved| &reserved.scope == scope && reserved.key == key);
        if taken {
            return None;
        }
        self.next += 1;
        let (scope, key) = (scope.clone(), key.to_owned());
        self.reserved.insert(self.next, Reserved { scope, key, bytes: Vec::new(), blocks: BTreeMap::new() });
        Some(self.next)
    }

    fn commit(&mut self, id: u64, size: u64) -> bool {
        match self.reserved.remove(&id) {
            Some(reserved) if reserved.bytes.len() as u64 == size => {
                self.entries.push((reserved.scope, reserved.key, reserved.bytes));
                true
            }
            _ => false,
        }
    }

    fn twirp(&mut self, method: &str, body: &Value, scopes: &[(String, bool)], address: &str) -> Answer {
        let key = body["key"].as_str().unwrap_or_default();
        let ok = |answer: Value| (200, answer.to_string().into_bytes());
        match method {
            "CreateCacheEntry" => match self.reserve(key, scopes) {
                Some(id) => {
                    ok(json!({"ok": true, "signed_upload_url": format!("{address}/blob/up{id}?sig=s")}))
                }
                None => (409, br#"{"code":"already_exists","msg":"cache entry already exists"}"#.to_vec()),
            },
            "FinalizeCacheEntryUpload" => {
                let found = self.reserved.iter().find(|(_, reserved)| reserved.key == key);
                let id = found.map(|(id, _)| *id).unwrap_or_default();
                // Numbers of 64 bits are texts in the JSON of protobuf, but numbers are taken.
                let size = &body["size_bytes"];
                let size = size.as_u64().or_else(|| size.as_str()?.parse().ok()).unwrap_or_default();
                match self.commit(id, size) {
                    true => ok(json!({"ok": true, "entry_id": "1"})),
                    false => (400, br#"{"code":"invalid_argument","msg":"size"}"#.to_vec()),
                }
            }
            "GetCacheEntryDownloadURL" => match self.find(key, scopes) {
                Some((at, key)) => {
                    let url = format!("{address}/blob/down{at}?sig=s");
                    ok(json!({"ok": true, "signed_download_url": url, "matched_key": key}))
                }
                None => ok(json!({"ok": false})),
            },
            _ => (404, br#"{"code":"bad_route"}"#.to_vec()),
        }
    }

    fn v1(
        &mut self,
        request: &Request,
        path: &str,
        body: &Value,
        scopes: &[(String, bool)],
        address: &str,
    ) -> Answer {
        let id = path.strip_prefix("caches/").and_then(|id| id.parse::<u64>().ok());
        match (request.method.as_str(), path, id) {
            ("GET", "cache", _) => match self.find(&request.query["keys"], scopes) {
                Some((at, key)) => {
                    let found = json!({"cacheKey": key, "scope": "s", "archiveLocation": format!("{address}/blob/down{at}?sig=s")});
                    (200, found.to_string().into_bytes())
                }
                None => (204, Vec::new()),
            },
            ("POST", "caches", _) => match self.reserve(body["key"].as_str().unwrap_or_default(), scopes) {
                Some(id) => (201, json!({"cacheId": id}).to_string().into_bytes()),
                None => {
                    let said = json!({"typeKey": "ArtifactCacheItemAlreadyExistsException", "message": "Cache already exists."});
                    (409, said.to_string().into_bytes())
                }
            },
            ("PATCH", _, Some(id)) => {
                let range = request.headers["content-range"].trim_start_matches("bytes ");
                let begin: usize = range.split('-').next().expect("a range").parse().expect("a number");
                let Some(reserved) = self.reserved.get_mut(&id) else { return (404, Vec::new()) };
                reserved.bytes.resize(reserved.bytes.len().max(begin + request.body.len()), 0);
                reserved.bytes[begin..begin + request.body.len()].copy_from_slice(&request.body);
                (204, Vec::new())
            }
            ("POST", _, Some(id)) => match self.commit(id, body["size"].as_u64().unwrap_or_default()) {
                true => (204, Vec::new()),
                false => (400, br#"{"message":"size"}"#.to_vec()),
            },
            _ => (404, Vec::new()),
        }
    }

    /// Blobs as Azure's block blobs: behind signed addresses, without a token.
    fn blob(&mut self, request: &Request, name: &str) -> Answer {
        if request.query.get("sig").map(String::as_str) != Some("s")
            || request.headers.contains_key("authorization")
        {
            return (403, Vec::new());
        }
        if let Some(at) = name.strip_prefix("down").and_then(|at| at.parse::<usize>().ok()) {
            return self.entries.get(at).map_or((404, Vec::new()), |(_, _, bytes)| (200, bytes.clone()));
        }
        let id = name.strip_prefix("up").and_then(|id| id.parse::<u64>().ok());
        let Some(reserved) = id.and_then(|id| self.reserved.get_mut(&id)) else { return (404, Vec::new()) };
        match request.query.get("comp").map(String::as_str) {
            None if request.headers.get("x-ms-blob-type").map(String::as_str) == Some("BlockBlob") => {
                reserved.bytes.clone_from(&request.body);
            }
            Some("block") => {
                let id = request.query["blockid"].clone();
                assert!(STANDARD.decode(&id).is_ok(), "{id} is base64");
                reserved.blocks.insert(id, request.body.clone());
            }
            Some("blocklist") => {
                let list = String::from_utf8_lossy(&request.body).into_owned();
                let ids = list.split("<Latest>").skip(1).filter_map(|part| part.split('<').next());
                reserved.bytes = ids.flat_map(|id| reserved.blocks[id].clone()).collect();
            }
            _ => return (400, Vec::new()),
        }
        (201, Vec::new())
    }
}

/// The scopes of a request's token, and which may be written.
fn scopes(request: &Request) -> Option<Vec<(String, bool)>> {
    let token = request.headers.get("authorization")?.strip_prefix("Bearer ")?;
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()?;
    let access: Value = serde_json::from_str(claims["ac"].as_str()?).ok()?;
    let of = |scope: &Value| {
        let permission = scope["Permission"].as_u64().unwrap_or_default();
        (scope["Scope"].as_str().unwrap_or_default().to_owned(), permission & 2 != 0)
    };
    Some(access.as_array()?.iter().map(of).collect())
}
