//! The cache service of GitHub Actions (`type=gha`), in both versions of its protocol. A key is written once; what
//! changes is written under ever higher numbers (`key#1`, `key#2`), of which the newest is found by the prefix.
//!
//! ```text
//! v2  POST <url>/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry          → where to upload to
//!     PUT  there, as an Azure block blob                    …/FinalizeCacheEntryUpload
//!     POST …/GetCacheEntryDownloadURL                                                       → where to download from
//! v1  GET  <url>/_apis/artifactcache/cache?keys=…&version=…                                 → where to download from
//!     POST …/caches → id;  PATCH …/caches/<id> (pieces);  POST …/caches/<id>
//! ```

mod token;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_registry::{Client, Download, WebRequest};
use dray_spec::Digest;
use http::{HeaderName, Method, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use token::Scope;

/// So much travels in one request.
const PIECE: u64 = 32 << 20;
/// The most that an answer of the service may be.
const MAX_ANSWER: usize = 32 << 10;
/// How long a change of what can change waits for another that is under way.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(2);
/// Set apart from what others keep there, as BuildKit sets it apart.
const VERSION_SEED: &[u8] = b"|go-actionscache-1.0";

/// Where the service is and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct ActionsCache {
    url: String,
    token: String,
    v2: bool,
    /// What the token allows, or what is wrong with it: that counts when it is used.
    scopes: Result<Vec<Scope>, String>,
    /// The name of the cache.
    pub scope: String,
    /// How long it may take to read or write it.
    pub timeout: Duration,
}

impl fmt::Debug for ActionsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionsCache").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Why the service did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ActionsError {
    /// It cannot be reached.
    #[error("github actions cache: {0}")]
    Transport(#[from] dray_registry::Error),
    /// It refuses.
    #[error("github actions cache: {what}: {status} {message}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It cannot be understood.
    #[error("github actions cache: {what}: invalid response")]
    Answer {
        /// What was asked for.
        what: &'static str,
    },
    /// The key is taken.
    #[error("github actions cache: {0} already exists")]
    Exists(String),
    /// The token is none, or not any more.
    #[error("github actions cache: {0}")]
    Token(String),
    /// The token may write nowhere.
    #[error("github actions cache: the token is for reading only")]
    ReadOnly,
    /// It takes too long.
    #[error("github actions cache: maximum timeout reached")]
    Timeout,
}

/// What is saved.
#[derive(Debug, Clone)]
pub enum Content {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A file of this length.
    File(PathBuf, u64),
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, size) => *size,
        }
    }

    fn part(&self, request: WebRequest, offset: u64, length: u64) -> WebRequest {
        match self {
            Content::Bytes(bytes) => {
                let end = (offset + length) as usize;
                request.bytes(bytes[offset as usize..end].to_vec())
            }
            Content::File(path, _) => request.file(path.clone(), offset, length),
        }
    }

    /// Where its pieces begin, and how long they are.
    fn pieces(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let size = self.size();
        (0..size.div_ceil(PIECE)).map(move |n| (n * PIECE, PIECE.min(size - n * PIECE)))
    }
}

/// Something that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its whole key.
    pub key: String,
    url: String,
}

#[derive(Deserialize)]
struct FoundV1 {
    #[serde(rename = "cacheKey", default)]
    key: String,
    #[serde(rename = "archiveLocation", default)]
    url: String,
}

#[derive(Deserialize)]
struct FoundV2 {
    #[serde(default)]
    ok: bool,
    #[serde(rename = "signed_download_url", default)]
    url: String,
    #[serde(rename = "matched_key", default)]
    key: String,
}

#[derive(Deserialize)]
struct Reserved {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    signed_upload_url: String,
    #[serde(rename = "cacheId", alias = "cacheID", default)]
    id: u64,
}

impl ActionsCache {
    /// Reads the attributes of a cache, in BuildKit's names.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let token = get("token").ok_or("token not set for github actions cache")?;
        let version = get("version").map(|text| {
            text.parse::<u32>()
                .map_err(|_| format!("failed to parse api version {text:?}, expected positive integer"))
        });
        let version = version.transpose()?.unwrap_or(0);
        let newer = get("url_v2").filter(|_| version != 1);
        // What old clients do not say is seen from the address.
        let (url, v2) = match (newer, get("url")) {
            (Some(url), _) => (url, true),
            (None, Some(url)) => {
                let v2 = version == 2 || (version == 0 && url.contains("results-receiver."));
                (url, v2)
            }
            (None, None) => return Err("url not set for github actions cache".to_owned()),
        };
        let timeout = match get("timeout") {
            None => Duration::from_secs(600),
            Some(text) => {
                let nanos = dray_spec::golang::parse_duration(&text)
                    .map_err(|error| format!("failed to parse timeout for github actions cache: {error}"))?;
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
            }
        };
        let scopes = token::scopes(&token, Timestamp::now());
        let scope = get("scope").unwrap_or_else(|| "buildkit".to_owned());
        Ok(ActionsCache { url, token, v2, scopes, scope, timeout })
    }

    /// The key of a blob.
    #[must_use]
    pub fn blob_key(digest: &Digest) -> String {
        format!("buildkit-blob-1-{digest}")
    }

    /// The key of the list of what the cache has in a scope of the token.
    fn index_key(&self, scope: &str) -> String {
        format!("index-{}-1-{}", self.scope, &Digest::sha256_of(scope.as_bytes()).hex()[..8])
    }

    fn scopes(&self) -> Result<&[Scope], ActionsError> {
        self.scopes.as_deref().map_err(|wrong| ActionsError::Token(wrong.clone()))
    }

    /// The keys of the lists that may be read.
    ///
    /// # Errors
    /// [`ActionsError::Token`].
    pub fn indexes(&self) -> Result<Vec<String>, ActionsError> {
        Ok(self.scopes()?.iter().map(|scope| self.index_key(&scope.scope)).collect())
    }

    /// The key of the list that may be written.
    ///
    /// # Errors
    /// [`ActionsError::ReadOnly`], [`ActionsError::Token`].
    pub fn own_index(&self) -> Result<String, ActionsError> {
        let scope = self.scopes()?.iter().rfind(|scope| scope.is_writable()).ok_or(ActionsError::ReadOnly)?;
        Ok(self.index_key(&scope.scope))
    }

    fn request(&self, method: Method, path: &str) -> Result<WebRequest, ActionsError> {
        let base =
            if self.v2 { "twirp/github.actions.results.api.v1.CacheService" } else { "_apis/artifactcache" };
        let url = format!("{}/{base}/{path}", self.url.trim_end_matches('/'));
        let request = WebRequest::new(method, &url)?;
        let request = request.header(header::AUTHORIZATION, &format!("Bearer {}", self.token));
        Ok(match self.v2 {
            true => request,
            false => request.header(header::ACCEPT, "application/json;api-version=6.0-preview.1"),
        })
    }

    async fn ask(
        &self,
        client: &Client,
        what: &'static str,
        key: &str,
        request: WebRequest,
    ) -> Result<Vec<u8>, ActionsError> {
        let answer = client.web(&request, MAX_ANSWER).await?;
        if answer.is_success() {
            return Ok(answer.body.to_vec());
        }
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let word = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let message = [word("message"), word("msg"), word("code")].into_iter().find(|text| !text.is_empty());
        let message = message.unwrap_or_default();
        let taken = word("typeKey").contains("AlreadyExists")
            || word("code") == "already_exists"
            || message.to_lowercase().contains("already exists");
        if taken || answer.status == 409 {
            return Err(ActionsError::Exists(key.to_owned()));
        }
        Err(ActionsError::Refused { what, status: answer.status, message })
    }

    /// What is there under a key, or the newest that begins so.
    ///
    /// # Errors
    /// [`ActionsError`].
    pub async fn load(&self, client: &Client, key: &str) -> Result<Option<Entry>, ActionsError> {
        let what = "load cache";
        let found = match self.v2 {
            true => {
                let wanted = json!({"key": key, "restore_keys": [key], "version": version()});
                let request =
                    self.request(Method::POST, "GetCacheEntryDownloadURL")?.json(wanted.to_string());
                let bytes = self.ask(client, what, key, request).await?;
                let found: FoundV2 =
                    serde_json::from_slice(&bytes).map_err(|_| ActionsError::Answer { what })?;
                found.ok.then_some(Entry { key: found.key, url: found.url })
            }
            false => {
                let keys: String = url_encoded(key);
                let path = format!("cache?keys={keys}&version={}", version());
                let bytes = self.ask(client, what, key, self.request(Method::GET, &path)?).await?;
                if bytes.is_empty() {
                    return Ok(None);
                }
                let found: FoundV1 =
                    serde_json::from_slice(&bytes).map_err(|_| ActionsError::Answer { what })?;
                Some(Entry { key: found.key, url: found.url })
            }
        };
        Ok(found.filter(|entry| !entry.key.is_empty() && entry.key.starts_with(key)))
    }

    /// Saves something under a key, once and for all.
    ///
    /// # Errors
    /// [`ActionsError::Exists`] if the key is taken.
    pub async fn save(&self, client: &Client, key: &str, content: &Content) -> Result<(), ActionsError> {
        let wanted = json!({"key": key, "version": version()}).to_string();
        let what = "reserve cache";
        let path = if self.v2 { "CreateCacheEntry" } else { "caches" };
        let request = self.request(Method::POST, path)?.json(wanted);
        let bytes = self.ask(client, what, key, request).await?;
        let reserved: Reserved = serde_json::from_slice(&bytes).map_err(|_| ActionsError::Answer { what })?;
        match self.v2 {
            true if !reserved.ok => return Err(ActionsError::Exists(key.to_owned())),
            true => self.upload_v2(client, key, &reserved.signed_upload_url, content).await?,
            false if reserved.id == 0 => return Err(ActionsError::Answer { what }),
            false => self.upload_v1(client, key, reserved.id, content).await?,
        }
        self.commit(client, key, reserved.id, content.size()).await
    }

    async fn upload_v1(
        &self,
        client: &Client,
        key: &str,
        id: u64,
        content: &Content,
    ) -> Result<(), ActionsError> {
        for (offset, length) in content.pieces() {
            let range = format!("bytes {offset}-{}/*", offset + length - 1);
            let request = self
                .request(Method::PATCH, &format!("caches/{id}"))?
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_RANGE, &range);
            self.ask(client, "upload", key, content.part(request, offset, length)).await?;
        }
        Ok(())
    }

    /// As an Azure block blob: in one piece, or block by block and then their list.
    async fn upload_v2(
        &self,
        client: &Client,
        key: &str,
        url: &str,
        content: &Content,
    ) -> Result<(), ActionsError> {
        let put = |url: &str| -> Result<WebRequest, ActionsError> {
            let request = WebRequest::new(Method::PUT, url)?;
            Ok(request.header(HeaderName::from_static("x-ms-version"), "2021-12-02"))
        };
        let size = content.size();
        if size <= PIECE {
            let request = put(url)?.header(HeaderName::from_static("x-ms-blob-type"), "BlockBlob");
            let request = request.header(header::CONTENT_TYPE, "application/octet-stream");
            self.ask(client, "upload", key, content.part(request, 0, size)).await?;
            return Ok(());
        }
        let joint = if url.contains('?') { '&' } else { '?' };
        let mut list = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
        for (n, (offset, length)) in content.pieces().enumerate() {
            let id = STANDARD.encode(format!("{n:08}"));
            let block = format!("{url}{joint}comp=block&blockid={}", url_encoded(&id));
            self.ask(client, "upload", key, content.part(put(&block)?, offset, length)).await?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
        }
        list.push_str("</BlockList>");
        let request = put(&format!("{url}{joint}comp=blocklist"))?;
        let request = request.header(header::CONTENT_TYPE, "application/xml").bytes(list);
        self.ask(client, "upload", key, request).await.map(drop)
    }

    async fn commit(&self, client: &Client, key: &str, id: u64, size: u64) -> Result<(), ActionsError> {
        let what = "commit cache";
        if !self.v2 {
            let request = self.request(Method::POST, &format!("caches/{id}"))?;
            let request = request.json(json!({"size": size}).to_string());
            return self.ask(client, what, key, request).await.map(drop);
        }
        let told = json!({"key": key, "size_bytes": size, "version": version()});
        let request = self.request(Method::POST, "FinalizeCacheEntryUpload")?.json(told.to_string());
        let bytes = self.ask(client, what, key, request).await?;
        let done: Value = serde_json::from_slice(&bytes).map_err(|_| ActionsError::Answer { what })?;
        if done["ok"] == true { Ok(()) } else { Err(ActionsError::Answer { what }) }
    }

    /// Saves something under a key whose content changes: under the next number. Another change that is under way is
    /// waited for, but not for ever: who made it may be gone.
    ///
    /// # Errors
    /// [`ActionsError`].
    pub async fn replace(&self, client: &Client, key: &str, content: &Content) -> Result<(), ActionsError> {
        let prefix = format!("{key}#");
        let mut waited = Duration::ZERO;
        loop {
            let before = self.load(client, &prefix).await?;
            let number = before.and_then(|entry| entry.key.strip_prefix(&prefix)?.parse::<u64>().ok());
            let mut next = number.unwrap_or(0) + 1;
            loop {
                match self.save(client, &format!("{prefix}{next}"), content).await {
                    Err(ActionsError::Exists(_)) if waited < PATIENCE => break,
                    Err(ActionsError::Exists(_)) => next += 1,
                    other => return other,
                }
            }
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
    }

    /// What is there under a key whose content changes.
    ///
    /// # Errors
    /// [`ActionsError`].
    pub async fn latest(&self, client: &Client, key: &str) -> Result<Option<Entry>, ActionsError> {
        self.load(client, &format!("{key}#")).await
    }

    /// Opens something to be read.
    ///
    /// # Errors
    /// [`ActionsError`].
    pub async fn open(&self, client: &Client, entry: &Entry) -> Result<Download, ActionsError> {
        let download = client.web_download(&WebRequest::new(Method::GET, &entry.url)?).await?;
        if download.is_success() {
            return Ok(download);
        }
        let status = download.status();
        let code = status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
        Err(ActionsError::Refused { what: "download", status: code, message: String::new() })
    }
}

/// What sets the keys apart.
fn version() -> String {
    Digest::sha256_of(VERSION_SEED).hex().to_owned()
}

fn url_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_cut_into_pieces() {
        let pieces = |size| Content::File("/x".into(), size).pieces().collect::<Vec<_>>();
        assert!(pieces(0).is_empty());
        assert_eq!(pieces(PIECE), [(0, PIECE)]);
        assert_eq!(pieces(PIECE + 1), [(0, PIECE), (PIECE, 1)]);
    }

    #[test]
    fn what_is_missing_is_said_in_buildkit_s_words() {
        let read = |pairs: &[(&str, &str)]| {
            let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
            ActionsCache::read(get).expect_err("refused")
        };
        assert_eq!(read(&[]), "token not set for github actions cache");
        assert_eq!(read(&[("token", "t")]), "url not set for github actions cache");
        let wrong = "failed to parse api version \"x\", expected positive integer";
        assert_eq!(read(&[("token", "t"), ("version", "x")]), wrong);
    }

    #[test]
    fn a_token_that_is_none_counts_when_it_is_used() {
        let get = |name: &str| match name {
            "token" => Some("t".to_owned()),
            "url" => Some("http://x".to_owned()),
            _ => None,
        };
        let cache = ActionsCache::read(get).expect("a cache");
        assert!(!format!("{cache:?}").contains("\"t\""), "no token in {cache:?}");
        let said = "github actions cache: token contains an invalid number of segments";
        assert_eq!(cache.indexes().expect_err("refused").to_string(), said);
        assert_eq!(cache.own_index().expect_err("refused").to_string(), said);
    }

    #[test]
    fn keys_are_url_encoded() {
        assert_eq!(url_encoded("index-a/b-1#2"), "index-a%2Fb-1%232");
    }
}
