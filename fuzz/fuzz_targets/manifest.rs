//! Manifests, indexes and image configurations: no panic, and what is read is written and read the same.
#![no_main]

use dray_spec::{ImageConfig, ManifestOrIndex, Platform};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match ManifestOrIndex::parse(None, bytes) {
        Ok(ManifestOrIndex::Index(index)) => drop(index.select(&Platform::host()).cloned()),
        Ok(ManifestOrIndex::Manifest(manifest)) => drop(manifest.is_image()),
        Err(_) => {}
    }
    if let Ok(config) = serde_json_config(bytes) {
        assert_eq!(serde_json_config(&config.to_bytes()).as_ref().ok(), Some(&config));
    }
});

fn serde_json_config(bytes: &[u8]) -> Result<ImageConfig, serde_json::Error> {
    serde_json::from_slice(bytes)
}
