//! What a registry answers and an administrator writes: errors, the address of a list's next page, `hosts.toml`.
#![no_main]

use dray_registry::fuzzing::{errors, hosts, next_page};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    assert!(errors(403, text.as_bytes()) <= text.len().max(1));
    let at: url::Url = "https://reg.test/v2/a/tags/list".parse().expect("an address");
    if let Some(next) = next_page(&at, text) {
        assert_eq!(next.origin(), at.origin());
    }
    hosts(text);
});
