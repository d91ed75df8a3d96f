//! References: whatever is taken is shown in a form that is taken again, as the same.
#![no_main]

use dray_spec::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        // A repository of 64 hexadecimal digits has a familiar form that looks like an ID and is refused.
        if let Ok(again) = Reference::parse(&reference.familiar()) {
            assert_eq!(again, reference);
        }
        assert!(!reference.path().contains(".."));
    }
});
