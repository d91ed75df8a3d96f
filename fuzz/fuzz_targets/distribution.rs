//! What clients send to the registry server in a line: parts of blobs, chunks, names, scopes, patterns.
#![no_main]
#![allow(dead_code, unused_imports, reason = "what the rest of the server uses of them")]

// These files alone: the server around them takes long to compile.
#[path = "../../crates/registry-server/src/access/grant.rs"]
mod grant;
#[path = "../../crates/registry-server/src/name.rs"]
mod name;
#[path = "../../crates/registry-server/src/pattern.rs"]
mod pattern;
#[path = "../../crates/registry-server/src/api/range.rs"]
mod range;

use grant::{Action, Grant};
use libfuzzer_sys::fuzz_target;
use name::{Repository, Target, UploadId};
use pattern::Pattern;
use range::Wanted;

fuzz_target!(|input: &str| {
    let (text, other) = input.split_once('\n').unwrap_or((input, ""));
    for size in [0, 2048, u64::MAX] {
        if let Wanted::Part(part) = range::wanted(Some(text), size) {
            assert!(part.start < part.end && part.end <= size);
        }
    }
    if let Some(chunk) = range::chunk(text) {
        assert!(chunk.start < chunk.end);
    }
    let _ = (Target::parse(text), UploadId::parse(text));
    let fits = Pattern::new(other).fits(text);
    if let Some(repository) = Repository::parse(text) {
        assert!(!text.contains("..") && !text.starts_with('/'));
        for grant in Grant::list(other) {
            let _ = grant.allows(&repository, Action::Push);
        }
        // What is named is allowed, and what is granted is what was named.
        let exactly = Grant::exactly(&repository, &[Action::Pull]);
        assert!(exactly.allows(&repository, Action::Pull) && !exactly.allows(&repository, Action::Push));
    }
    assert!(fits || other != text || text.contains(['*', '?']));
});
