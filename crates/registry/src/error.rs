//! What can go wrong with a registry, in the words Docker's users know.
//!
//! Every error names the URL, or the repository and digest, that it is about.

use std::fmt;
use std::io;

use dray_spec::Digest;
use http::StatusCode;

/// A request to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came: `Get "https://host/v2/": dial tcp …: connect: connection refused`.
    #[error("{verb} \"{url}\": {reason}")]
    Transport {
        /// The method as Docker writes it.
        verb: Verb,
        /// What was asked, without query.
        url: String,
        /// Why no answer came.
        reason: Reason,
    },
    /// The registry answered with its own errors.
    #[error("{}", join(errors))]
    Api {
        /// HTTP status of the answer.
        status: StatusCode,
        /// What was asked.
        url: String,
        /// What the registry said; at least one.
        errors: Vec<ApiError>,
    },
    /// The registry answered with a status that isn't part of the protocol.
    #[error("{verb} \"{url}\": unexpected status from registry: {status}{}", excerpt_tail(excerpt))]
    UnexpectedStatus {
        /// The method as Docker writes it.
        verb: Verb,
        /// What was asked.
        url: String,
        /// HTTP status of the answer.
        status: StatusCode,
        /// The beginning of the body, printable characters only.
        excerpt: String,
    },
    /// An answer of the registry can't be understood.
    #[error("{verb} \"{url}\": invalid answer from registry: {problem}")]
    InvalidAnswer {
        /// The method as Docker writes it.
        verb: Verb,
        /// What was asked.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The bytes received aren't the ones asked for.
    #[error("digest mismatch for {repository}: asked for {expected}, received {actual}")]
    DigestMismatch {
        /// `host/path` of the repository.
        repository: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The registry sends another number of bytes than the manifest says.
    #[error(
        "size mismatch for {repository}@{digest}: manifest says {expected} bytes, registry sends {actual}"
    )]
    SizeMismatch {
        /// `host/path` of the repository.
        repository: String,
        /// The blob.
        digest: Digest,
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes the registry announced or sent so far.
        actual: u64,
    },
    /// The stream of a blob ended before its end; what came is good and the rest may be asked for.
    #[error("download of {repository}@{digest} broke off after {received} of {expected} bytes: {reason}")]
    Interrupted {
        /// `host/path` of the repository.
        repository: String,
        /// The blob.
        digest: Digest,
        /// How far it came, counted from the blob's start.
        received: u64,
        /// The blob's size.
        expected: u64,
        /// Why it ended.
        reason: Reason,
    },
    /// The registry wants user and password, and none are known.
    #[error("{verb} \"{url}\": no basic auth credentials")]
    NoCredentials {
        /// The method as Docker writes it.
        verb: Verb,
        /// What was asked.
        url: String,
    },
    /// No token could be had for a request: `Get "https://host/v2/…": unauthorized: …`.
    #[error("{verb} \"{url}\": {source}")]
    Authorization {
        /// The method as Docker writes it.
        verb: Verb,
        /// What was to be asked.
        url: String,
        /// What the token's issuer said.
        source: Box<Error>,
    },
    /// A login was refused.
    #[error("login attempt to {url} failed with status: {status}")]
    LoginRefused {
        /// What was asked.
        url: String,
        /// HTTP status of the answer.
        status: StatusCode,
    },
    /// The name of a registry or mirror isn't one.
    #[error("invalid registry endpoint {endpoint}: {problem}")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate or key passed in can't be used.
    #[error("invalid certificate: {0}")]
    InvalidCertificate(String),
    /// A file of a `certs.d` folder can't be used.
    #[error("{}: {problem}", path.display())]
    HostFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A local file to be sent can't be read.
    #[error("read {path}: {source}")]
    LocalFile {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What an [`Error`] means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The thing isn't there.
    NotFound,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The credentials don't allow it.
    Denied,
    /// The registry can't be reached or is overloaded.
    Unavailable,
    /// What the registry sends isn't acceptable.
    InvalidAnswer,
    /// Something of the caller's is wrong.
    InvalidParameter,
}

impl Error {
    /// What the error means for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Transport { .. } | Error::Interrupted { .. } => ErrorKind::Unavailable,
            Error::Api { status, errors, .. } => api_kind(*status, &errors[0].code),
            Error::UnexpectedStatus { status, .. } => api_kind(*status, ""),
            Error::InvalidAnswer { .. } | Error::DigestMismatch { .. } | Error::SizeMismatch { .. } => {
                ErrorKind::InvalidAnswer
            }
            Error::NoCredentials { .. } | Error::LoginRefused { .. } => ErrorKind::Unauthorized,
            Error::Authorization { source, .. } => source.kind(),
            Error::InvalidEndpoint { .. }
            | Error::InvalidCertificate(_)
            | Error::HostFile { .. }
            | Error::LocalFile { .. } => ErrorKind::InvalidParameter,
        }
    }

    /// The first error code the registry sent, as `MANIFEST_UNKNOWN`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Api { errors, .. } => errors.first().map(|e| e.code.as_str()),
            _ => None,
        }
    }

    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Transport { reason, .. } | Error::Interrupted { reason, .. } => reason.is_transient(),
            Error::Api { status, .. } | Error::UnexpectedStatus { status, .. } => {
                is_transient_status(*status)
            }
            Error::Authorization { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// What an issuer said, as part of the request that a token was wanted for. An issuer that can't be named
    /// or trusted is the registry's own fault and stays as it is.
    pub(crate) fn authorization(verb: Verb, url: &url::Url, source: Error) -> Self {
        match source {
            Error::InvalidEndpoint { .. } => source,
            source => Error::Authorization { verb, url: shown(url), source: Box::new(source) },
        }
    }

    pub(crate) fn transport(verb: Verb, url: &url::Url, reason: Reason) -> Self {
        Error::Transport { verb, url: shown(url), reason }
    }

    pub(crate) fn invalid(verb: Verb, url: &url::Url, problem: impl Into<String>) -> Self {
        Error::InvalidAnswer { verb, url: shown(url), problem: problem.into() }
    }
}

/// A URL fit for messages: no credentials and no query, which may hold a signature.
pub(crate) fn shown(url: &url::Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.into()
}

pub(crate) fn is_transient_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn api_kind(status: StatusCode, code: &str) -> ErrorKind {
    match code {
        "DENIED" => return ErrorKind::Denied,
        "UNAUTHORIZED" => return ErrorKind::Unauthorized,
        "MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "BLOB_UNKNOWN" => return ErrorKind::NotFound,
        _ => {}
    }
    match status.as_u16() {
        404 => ErrorKind::NotFound,
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Denied,
        408 | 425 | 429 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidAnswer,
    }
}

/// One element of a registry's `{"errors": […]}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// As `MANIFEST_UNKNOWN`.
    pub code: String,
    /// Words for people.
    pub message: String,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_ascii_lowercase().replace('_', " ");
        let message = if self.message.is_empty() { &code } else { &self.message };
        write!(f, "{code}: {message}")
    }
}

fn join(errors: &[ApiError]) -> String {
    match errors {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(ApiError::to_string).collect();
            format!("errors:\n{}\n", lines.join("\n"))
        }
    }
}

fn excerpt_tail(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") }
}

/// The printable beginning of a body that wasn't understood.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    clean.trim().to_owned()
}

/// A method as Docker writes it in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb(pub(crate) &'static str);

impl Verb {
    pub(crate) fn of(method: &http::Method) -> Verb {
        Verb(match method.as_str() {
            "HEAD" => "Head",
            "POST" => "Post",
            "PUT" => "Put",
            "PATCH" => "Patch",
            "DELETE" => "Delete",
            _ => "Get",
        })
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why no answer, or not all of it, came.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Reason {
    /// The name has no address.
    #[error("dial tcp: lookup {name}: no such host")]
    Lookup {
        /// The name.
        name: String,
    },
    /// No connection could be made.
    #[error("dial tcp {address}: {}", dial_words(*kind))]
    Dial {
        /// Address and port.
        address: String,
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// The proxy can't be reached or doesn't let us through.
    #[error("proxyconnect tcp: {0}")]
    Proxy(String),
    /// No trusted TLS connection could be made.
    #[error("tls: {0}")]
    Tls(String),
    /// TLS was spoken to a server that doesn't.
    #[error("http: server gave HTTP response to HTTPS client")]
    PlainServer,
    /// The registry said nothing for too long.
    #[error("no answer within {0} seconds (Client.Timeout exceeded while awaiting headers)")]
    AnswerTimeout(u64),
    /// The registry stopped sending.
    #[error("no data for {0} seconds")]
    Stalled(u64),
    /// The registry sent so little that it would never come to an end.
    #[error("only {bytes} bytes in {seconds} seconds")]
    Slow {
        /// What came.
        bytes: u64,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The connection ended early.
    #[error("unexpected EOF")]
    Eof,
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// Redirects that don't end.
    #[error("stopped after {0} redirects")]
    TooManyRedirects(usize),
    /// A redirect that isn't followed.
    #[error("refused redirect to {target}: {problem}")]
    Redirect {
        /// Where it leads.
        target: String,
        /// Why not.
        problem: &'static str,
    },
}

impl Reason {
    fn is_transient(&self) -> bool {
        match self {
            Reason::Lookup { .. }
            | Reason::Tls(_)
            | Reason::PlainServer
            | Reason::TooManyRedirects(_)
            | Reason::Redirect { .. } => false,
            Reason::Dial { .. }
            | Reason::Proxy(_)
            | Reason::AnswerTimeout(_)
            | Reason::Stalled(_)
            | Reason::Slow { .. }
            | Reason::Eof
            | Reason::Broken(_) => true,
        }
    }

    /// Whether no connection came about, so that the other scheme may be tried.
    pub(crate) fn is_connect_failure(&self) -> bool {
        matches!(
            self,
            Reason::Lookup { .. }
                | Reason::Dial { .. }
                | Reason::Proxy(_)
                | Reason::Tls(_)
                | Reason::PlainServer
        )
    }
}

fn dial_words(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        io::ErrorKind::TimedOut => "i/o timeout".into(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        io::ErrorKind::AddrNotAvailable => "connect: cannot assign requested address".into(),
        other => format!("connect: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(codes: &[(&str, &str)]) -> Error {
        Error::Api {
            status: StatusCode::NOT_FOUND,
            url: String::new(),
            errors: codes
                .iter()
                .map(|(code, message)| ApiError { code: (*code).into(), message: (*message).into() })
                .collect(),
        }
    }

    #[test]
    fn words_are_dockers() {
        assert_eq!(
            api(&[("MANIFEST_UNKNOWN", "manifest unknown")]).to_string(),
            "manifest unknown: manifest unknown"
        );
        assert_eq!(api(&[("A", ""), ("B_C", "x")]).to_string(), "errors:\na: a\nb c: x\n");
        let url = "https://user:pw@127.0.0.1:5000/v2/?token=secret".parse().unwrap();
        let reason =
            Reason::Dial { address: "127.0.0.1:5000".into(), kind: io::ErrorKind::ConnectionRefused };
        assert_eq!(
            Error::transport(Verb("Get"), &url, reason).to_string(),
            "Get \"https://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused"
        );
    }

    #[test]
    fn excerpts_are_printable_and_short() {
        let text = excerpt(&[b'<', 0x1b, b'[', 0xff, b'\n', b'x']);
        assert!(!text.contains('\u{1b}') && text.ends_with('x'));
        assert!(excerpt(&[b'y'; 9000]).len() <= 200);
    }
}
