//! References: whatever is taken is shown in a form that is taken again, as the same.
#![no_main]

use dray_spec::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        // A repository of 64 hexadecimal digits has a familiar form that looks like an ID and is refused; one of Docker
        // Hub whose first part looks like a host has a familiar form, Docker's own, that means that host.
        let familiar = reference.familiar();
        let first = familiar.split_once('/').map_or("", |(first, _)| first);
        let like_a_host = first.contains(['.', ':']) || first == "localhost";
        let hub = reference.to_string().starts_with("docker.io/");
        if let Ok(again) = Reference::parse(&familiar)
            && !(hub && like_a_host)
        {
            assert_eq!(again, reference);
        }
        assert!(!reference.path().contains(".."));
    }
});
