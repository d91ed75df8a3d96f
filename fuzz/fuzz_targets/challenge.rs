//! `WWW-Authenticate` headers of registries: no panic, no more challenges than there are words.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    assert!(dray_registry::fuzzing::challenges(header) <= header.len());
});
