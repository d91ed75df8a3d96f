//! The beginning of a connection: what is taken over has a whole head.
#![no_main]

// The file alone: the daemon around it takes long to compile.
#[path = "../../crates/daemon/src/takeover/head.rs"]
mod head;

use head::Head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Head::Takeover { request, head_len, body_len } = head::parse(bytes) {
        assert!(head_len <= bytes.len());
        assert!(bytes[..head_len].ends_with(b"\n"));
        assert!(body_len <= head::MAX_BODY && request.uri().path().starts_with('/'));
    }
});
