//! Ways for a registry to be bad, and which requests they hit.

use std::time::Duration;

/// Breaks the requests whose method and path fit, as often as `times` says.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) method: Option<&'static str>,
    pub(crate) path: String,
    pub(crate) skip: u32,
    pub(crate) times: u32,
    pub(crate) what: What,
}

/// What happens to a broken request.
#[derive(Debug, Clone)]
pub enum What {
    /// Answers with this status, headers and body.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers by name and value.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Closes the connection after this many bytes of the answer's body; for an upload, of the request's.
    CutAfter(u64),
    /// Answers well, but with a changed byte in the body.
    FlipByte,
    /// Answers with a body that has no end, without announcing a length.
    Endless,
    /// Announces this length more than there is, and then sends that much more.
    Longer(u64),
    /// Announces and sends this much less.
    Shorter(u64),
    /// Announces this media type.
    ContentType(String),
    /// Sends the head and half of the body, then nothing.
    Stall,
    /// Sends a byte of the body, waits so long, and sends the next.
    Drip(Duration),
    /// Closes the connection without an answer.
    Close,
    /// Answers well, but later.
    Delay(Duration),
    /// Answers well, when so many requests for the same path have come.
    Await(usize),
    /// Answers as if it knew no ranges.
    IgnoreRange,
    /// Claims another digest in `Docker-Content-Digest`.
    FalseDigestHeader,
}

impl Fault {
    /// Breaks every request with `part` in its path (with query).
    pub fn on(part: &str, what: What) -> Self {
        Fault { method: None, path: part.to_owned(), skip: 0, times: u32::MAX, what }
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Not the first so many of them.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Whether this request is hit; counts it.
    pub(crate) fn hits(&mut self, method: &str, path: &str) -> bool {
        let fits = self.method.is_none_or(|m| m == method) && path.contains(&self.path);
        if !fits || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.saturating_sub(u32::from(self.times != u32::MAX));
        true
    }
}

impl What {
    /// A bare status.
    pub fn status(status: u16) -> Self {
        What::Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// A redirect.
    pub fn redirect(status: u16, to: &str) -> Self {
        What::Answer { status, headers: vec![("location".into(), to.into())], body: String::new() }
    }

    /// An error in the registry's own format.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        What::Answer { status, headers: vec![("content-type".into(), "application/json".into())], body }
    }
}
