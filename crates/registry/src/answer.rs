//! From a registry's refusal to a typed error: `{"errors": […]}`, or what the status alone says.

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::challenge::{self, Challenge};
use crate::error::{ApiError, Error, excerpt, shown};
use crate::transport::Answer;

const MAX_ERROR_BODY: usize = 256 * 1024;
const MAX_ERRORS: usize = 16;

/// Reads what the registry says and makes an error of it.
pub(crate) async fn refusal(mut answer: Answer) -> Error {
    // A body which doesn't come or has no end doesn't change what the status says.
    let body = match answer.verb {
        v if v == crate::error::Verb::of(&Method::HEAD) => bytes::Bytes::new(),
        _ => answer.bytes(MAX_ERROR_BODY).await.unwrap_or_default(),
    };
    let errors = parse_errors(answer.status, &answer.headers, &body);
    if errors.is_empty() {
        return Error::UnexpectedStatus {
            verb: answer.verb,
            url: shown(&answer.url),
            status: answer.status,
            excerpt: excerpt(&body),
        };
    }
    Error::Api { status: answer.status, url: shown(&answer.url), errors }
}

pub(crate) fn parse_errors(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Vec<ApiError> {
    let insufficient = challenges(headers)
        .iter()
        .any(|c| matches!(c, Challenge::Bearer(b) if b.error.as_deref() == Some("insufficient_scope")));
    if status == StatusCode::UNAUTHORIZED && insufficient {
        return vec![error("DENIED", "requested access to the resource is denied")];
    }
    let sent = sent_errors(status, body);
    if !sent.is_empty() {
        return sent;
    }
    match status {
        StatusCode::UNAUTHORIZED => vec![error("UNAUTHORIZED", "authentication required")],
        StatusCode::FORBIDDEN => vec![error("DENIED", "requested access to the resource is denied")],
        StatusCode::TOO_MANY_REQUESTS => vec![error("TOOMANYREQUESTS", "too many requests")],
        _ => Vec::new(),
    }
}

fn sent_errors(status: StatusCode, body: &[u8]) -> Vec<ApiError> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let text = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).map(clean).unwrap_or_default();
    if let Some(list) = value.get("errors").and_then(Value::as_array) {
        return list
            .iter()
            .filter(|e| e.is_object())
            .take(MAX_ERRORS)
            .map(|e| {
                let code = text(e, "code");
                let code = if code.is_empty() { "UNKNOWN".to_owned() } else { code };
                ApiError { code, message: text(e, "message") }
            })
            .collect();
    }
    // Token issuers say `{"details": "incorrect username or password"}` or OAuth's `error_description`.
    let words = ["details", "error_description", "message"].map(|name| text(&value, name));
    match (status, words.into_iter().find(|w| !w.is_empty())) {
        (StatusCode::UNAUTHORIZED, Some(words)) => vec![error("UNAUTHORIZED", &words)],
        (StatusCode::FORBIDDEN, Some(words)) => vec![error("DENIED", &words)],
        (StatusCode::TOO_MANY_REQUESTS, Some(words)) => vec![error("TOOMANYREQUESTS", &words)],
        _ => Vec::new(),
    }
}

fn error(code: &str, message: &str) -> ApiError {
    ApiError { code: code.to_owned(), message: message.to_owned() }
}

/// Words of a registry end up on terminals: no control characters, no novels.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// All challenges of an answer.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(challenge::parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(status: u16, body: &str) -> Vec<String> {
        parse_errors(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn errors_of_the_registry_are_kept() {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        assert_eq!(words(404, body), ["manifest unknown: manifest unknown"]);
    }

    #[test]
    fn the_status_speaks_where_the_body_does_not() {
        assert_eq!(words(401, "<html>"), ["unauthorized: authentication required"]);
        assert_eq!(words(401, r#"{"errors":[]}"#), ["unauthorized: authentication required"]);
        assert_eq!(words(403, ""), ["denied: requested access to the resource is denied"]);
        assert_eq!(
            words(401, r#"{"details":"incorrect username or password"}"#),
            ["unauthorized: incorrect username or password"]
        );
        assert!(words(404, "[[[").is_empty());
        assert!(words(500, r#"{"errors":"no"}"#).is_empty());
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        let body = r#"{"errors":[{"code":"DENIED","message":"\u001b[31mred\u0007"}]}"#;
        assert_eq!(words(403, body), ["denied: [31mred"]);
    }

    #[test]
    fn insufficient_scope_is_a_denial() {
        let mut headers = HeaderMap::new();
        let value = r#"Bearer realm="https://a.test/t",error="insufficient_scope""#;
        headers.insert(header::WWW_AUTHENTICATE, value.parse().unwrap());
        let errors = parse_errors(StatusCode::UNAUTHORIZED, &headers, b"");
        assert_eq!(errors[0].to_string(), "denied: requested access to the resource is denied");
    }
}
