//! Ignore files and their patterns: no panic, and no pattern takes forever on a path.
#![no_main]

use dray_spec::dockerignore::Patterns;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    if let Ok(patterns) = Patterns::parse(text) {
        let _ = patterns.ignores(path);
    }
});
