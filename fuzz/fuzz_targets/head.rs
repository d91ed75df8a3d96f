//! The beginning of a connection: what is taken over has a whole head.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(length) = dray_daemon::fuzzing::request_head(bytes) {
        assert!(length <= bytes.len());
        assert!(bytes[..length].ends_with(b"\n"));
    }
});
