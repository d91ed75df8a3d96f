//! Bake files: whatever is read is a plan that can be printed, whatever is refused is told of; nothing panics, hangs or
//! grows without bound.
#![no_main]

use std::collections::BTreeMap;

use dray_bake::entitlement::Allowed;
use dray_bake::{Around, File};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // What begins as an object is JSON; what is after a zero goes over what is before it.
    let files: Vec<File> = text
        .split('\0')
        .take(3)
        .map(|text| {
            let name = if text.starts_with('{') { "f.json" } else { "f.hcl" };
            File { name: name.to_owned(), text: text.to_owned() }
        })
        .collect();
    let around = Around { environment: BTreeMap::new(), builtin: BTreeMap::new(), folder: "/nowhere".to_owned() };
    let names = ["default".to_owned(), "*".to_owned()];
    for name in names {
        let changes = ["*.args.A=b".to_owned(), "*.push=true".to_owned()];
        match dray_bake::plan(&files, &around, &[name], &changes, &mut Allowed::default()) {
            Ok(plan) => plan.targets.values().for_each(|target| drop(target.json().indented())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
