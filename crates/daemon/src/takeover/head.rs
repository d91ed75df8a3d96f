//! The head of a connection's first request, as far as it tells a takeover from all else: pure reading.

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

const MAX_HEADERS: usize = 100;
/// Only exec/start has a body, and it is small.
pub(crate) const MAX_BODY: usize = 64 << 10;
/// What HTTP/2 begins with where nothing was said before (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection's first bytes are.
pub(crate) enum Head {
    /// Too few to tell.
    Incomplete,
    /// Anything that hyper serves.
    NotOurs,
    /// HTTP/2 from its first byte on.
    Http2,
    /// A takeover.
    Takeover {
        /// Its request.
        request: Box<Request<()>>,
        /// Bytes of its head.
        head_len: usize,
        /// Bytes of its body.
        body_len: usize,
    },
}

/// Looks at the first bytes of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Head {
    if bytes.len() > 1 && HTTP2_PREFACE.starts_with(&bytes[..bytes.len().min(HTTP2_PREFACE.len())]) {
        return if bytes.len() < HTTP2_PREFACE.len() { Head::Incomplete } else { Head::Http2 };
    }
    let start = &bytes[..bytes.len().min(5)];
    if !b"POST ".starts_with(start) {
        return Head::NotOurs;
    }
    if let Some(line) = bytes.split(|b| *b == b'\r').next().filter(|line| line.len() < bytes.len()) {
        let path = line.split(|b| *b == b' ').nth(1).unwrap_or_default();
        if !takes_over(path) {
            return Head::NotOurs;
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(head_len)) => classify(&head, head_len),
        Ok(httparse::Status::Partial) => Head::Incomplete,
        Err(_) => Head::NotOurs,
    }
}

fn takes_over(path: &[u8]) -> bool {
    let path = path.split(|b| *b == b'?').next().unwrap_or_default();
    let Ok(path) = std::str::from_utf8(path) else { return false };
    (path.contains("/containers/") && path.ends_with("/attach"))
        || (path.contains("/exec/") && path.ends_with("/start"))
}

fn classify(head: &httparse::Request<'_, '_>, head_len: usize) -> Head {
    let field = |name: &str| head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    let length = match field("content-length").map(std::str::from_utf8) {
        None => Some(0),
        Some(text) => text.ok().and_then(|text| text.trim().parse().ok()).filter(|n| *n <= MAX_BODY),
    };
    // A chunked body is not a takeover that Docker's clients send; hyper reads it and says what is missing.
    if field("upgrade").is_some() || field("transfer-encoding").is_some() {
        return Head::NotOurs;
    }
    match (length, request(head)) {
        (Some(body_len), Some(request)) => Head::Takeover { request: Box::new(request), head_len, body_len },
        _ => Head::NotOurs,
    }
}

fn request(head: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = head.path?.parse::<Uri>().ok()?;
    *request.version_mut() = Version::HTTP_11;
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match parse(text.as_bytes()) {
            Head::Incomplete => "incomplete",
            Head::NotOurs => "http",
            Head::Http2 => "http2",
            Head::Takeover { .. } => "takeover",
        }
    }

    #[test]
    fn only_hijacks_without_upgrade_are_taken() {
        assert_eq!(kind("G"), "http");
        assert_eq!(kind("PO"), "incomplete");
        assert_eq!(kind("PRI * HTTP/2.0\r\n"), "incomplete");
        assert_eq!(kind("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), "http2");
        assert_eq!(kind("PRI /x HTTP/1.1\r\n"), "http");
        assert_eq!(kind("POST /v1.30/containers/create HTTP/1.1\r\n"), "http");
        assert_eq!(kind("POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: d\r\n"), "incomplete");
        assert_eq!(kind("POST /containers/a/attach?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n"), "takeover");
        assert_eq!(kind("POST /v1.24/exec/a/start HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"), "takeover");
        assert_eq!(kind("POST /containers/a/attach HTTP/1.1\r\nupgrade: tcp\r\n\r\n"), "http");
        assert_eq!(kind("POST /exec/a/start HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"), "http");
    }
}
