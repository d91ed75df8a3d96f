//! Answers of the kernel: lengths that lie end the reading, never the process.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(dray_network::fuzzing::netlink(bytes) <= bytes.len());
});
