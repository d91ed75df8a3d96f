//! Dockerfiles and the instructions of `--change` and ONBUILD: no panic, no hang.
#![no_main]

use dray_build::dockerfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // An error tells in words, whatever was wrong.
    if let Err(error) = dockerfile::parse(text, "Dockerfile") {
        assert!(!error.to_string().is_empty());
    }
    let _ = dockerfile::parse_trigger(text);
    let _ = dockerfile::parse_changes(text);
});
