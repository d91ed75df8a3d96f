//! The messages of streams: pull, push, load, import and build, one JSON object a line.

use serde_json::Value;

use crate::json::empty;

wire! {
    /// One message.
    pub struct ProgressMessage {
        #[serde(skip_serializing_if = "empty")]
        pub stream: String,
        #[serde(skip_serializing_if = "empty")]
        pub status: String,
        #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
        pub progress_detail: Option<ProgressDetail>,
        /// The bar as text, for clients that do not draw it themselves.
        #[serde(skip_serializing_if = "empty")]
        pub progress: String,
        #[serde(skip_serializing_if = "empty")]
        pub id: String,
        #[serde(skip_serializing_if = "empty")]
        pub from: String,
        #[serde(skip_serializing_if = "empty")]
        pub time: i64,
        #[serde(rename = "timeNano", skip_serializing_if = "empty")]
        pub time_nano: i64,
        #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
        pub error_detail: Option<ErrorDetail>,
        #[serde(skip_serializing_if = "empty")]
        pub error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub aux: Option<Value>,
    }

    /// How far it is; all zero is written `{}`.
    pub struct ProgressDetail {
        #[serde(skip_serializing_if = "empty")]
        pub current: i64,
        #[serde(skip_serializing_if = "empty")]
        pub total: i64,
        #[serde(skip_serializing_if = "empty")]
        pub start: i64,
        #[serde(skip_serializing_if = "empty")]
        pub hidecounts: bool,
        #[serde(skip_serializing_if = "empty")]
        pub units: String,
    }

    /// An error after the stream began.
    pub struct ErrorDetail {
        #[serde(skip_serializing_if = "empty")]
        pub code: i64,
        #[serde(skip_serializing_if = "empty")]
        pub message: String,
    }
}

impl ProgressMessage {
    /// A line of output.
    pub fn stream(text: impl Into<String>) -> Self {
        ProgressMessage { stream: text.into(), ..Default::default() }
    }

    /// A status without an id.
    pub fn status(text: impl Into<String>) -> Self {
        ProgressMessage { status: text.into(), ..Default::default() }
    }

    /// A status of one layer or tag.
    pub fn status_of(id: impl Into<String>, text: impl Into<String>) -> Self {
        ProgressMessage { id: id.into(), status: text.into(), ..Default::default() }
    }

    /// Something for programs.
    #[must_use]
    pub fn aux(value: Value) -> Self {
        ProgressMessage { aux: Some(value), ..Default::default() }
    }

    /// An error; a code of 0 is left out.
    pub fn error(code: i64, message: impl Into<String>) -> Self {
        let message = crate::error::plain(message.into());
        ProgressMessage {
            error: message.clone(),
            error_detail: Some(ErrorDetail { code, message }),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(message: &ProgressMessage) -> String {
        serde_json::to_string(message).unwrap()
    }

    #[test]
    fn leaves_out_what_docker_leaves_out() {
        assert_eq!(json(&ProgressMessage::stream("a\n")), r#"{"stream":"a\n"}"#);
        assert_eq!(
            json(&ProgressMessage::error(1, "no")),
            r#"{"errorDetail":{"code":1,"message":"no"},"error":"no"}"#
        );
        let mut pulling = ProgressMessage::status_of("abc", "Pulling fs layer");
        pulling.progress_detail = Some(ProgressDetail::default());
        assert_eq!(json(&pulling), r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#);
    }
}
