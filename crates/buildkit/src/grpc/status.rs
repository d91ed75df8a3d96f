//! How a call ended: code, message, details.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use prost::Message;

const STATUS: &str = "grpc-status";
const MESSAGE: &str = "grpc-message";
const DETAILS: &str = "grpc-status-details-bin";
/// What `grpc-message` cannot carry as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');
/// Details of a status that would not fit into the headers that clients take are left out.
const MAX_DETAILS: usize = 256 << 10;

/// gRPC's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// The code of a number; one that nobody knows is [`Code::Unknown`].
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        const ALL: [Code; 17] = [
            Code::Ok,
            Code::Cancelled,
            Code::Unknown,
            Code::InvalidArgument,
            Code::DeadlineExceeded,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
            Code::DataLoss,
            Code::Unauthenticated,
        ];
        usize::try_from(number).ok().and_then(|number| ALL.get(number).copied()).unwrap_or(Code::Unknown)
    }
}

/// `google.protobuf.Any`: a detail of a status. BuildKit's are JSON under a type URL of its own.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// What the value is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Wire {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The kind of failure.
    pub code: Code,
    /// What people are told.
    pub message: String,
    /// What programs are told.
    pub details: Vec<Any>,
}

impl Status {
    /// A failure without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Status { code, message: message.into(), details: Vec::new() }
    }

    /// A method, or a part of one, that is not there.
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, message)
    }

    /// The same failure with one more detail.
    #[must_use]
    pub fn with_detail(mut self, type_url: &str, value: Vec<u8>) -> Self {
        self.details.push(Any { type_url: type_url.to_owned(), value });
        self
    }

    /// All of it as programs are told it: a `google.rpc.Status`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (message, details) = (self.message.clone(), self.details.clone());
        Wire { code: self.code as i32, message, details }.encode_to_vec()
    }

    /// The trailers that say how a call ended; `None` for well.
    pub(crate) fn trailers(status: Option<&Status>) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        let Some(status) = status else {
            trailers.insert(STATUS, HeaderValue::from_static("0"));
            return trailers;
        };
        let code = status.code as i32;
        trailers.insert(STATUS, HeaderValue::from(code));
        let text = utf8_percent_encode(&status.message, ENCODED).to_string();
        if let Ok(value) = HeaderValue::from_str(&text) {
            trailers.insert(MESSAGE, value);
        }
        if !status.details.is_empty() {
            let wire = status.to_bytes();
            if wire.len() <= MAX_DETAILS
                && let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(wire))
            {
                trailers.insert(DETAILS, value);
            }
        }
        trailers
    }

    /// What trailers (or, for a call that failed at once, headers) say. `None` if they say nothing.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Result<(), Status>> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let code = Code::from_number(text(STATUS)?.parse().unwrap_or(Code::Unknown as i32));
        if code == Code::Ok {
            return Some(Ok(()));
        }
        let message = percent_decode_str(text(MESSAGE).unwrap_or_default()).decode_utf8_lossy().into_owned();
        let wire = text(DETAILS).and_then(|text| {
            let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
            Wire::decode(bytes.as_slice()).ok()
        });
        Some(Err(Status { code, message, details: wire.map(|wire| wire.details).unwrap_or_default() }))
    }
}

impl From<Wire> for Status {
    fn from(wire: Wire) -> Self {
        Status { code: Code::from_number(wire.code), message: wire.message, details: wire.details }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_trailers() {
        let status =
            Status::new(Code::NotFound, "größer 100%\nzweite Zeile").with_detail("a/b", vec![0, 255]);
        let trailers = Status::trailers(Some(&status));
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(Status::read(&trailers), Some(Err(status)));
        assert_eq!(Status::read(&Status::trailers(None)), Some(Ok(())));
        assert_eq!(Status::read(&HeaderMap::new()), None);
    }

    #[test]
    fn details_that_no_header_can_carry_are_left_out() {
        let status = Status::new(Code::Unknown, "x").with_detail("a", vec![7; MAX_DETAILS + 1]);
        let trailers = Status::trailers(Some(&status));
        assert!(!trailers.contains_key(DETAILS));
        assert_eq!(trailers["grpc-message"], "x");
    }
}
