//! Archives of images: whatever fails leaves nothing.
#![no_main]

use dray_image::{Images, Silent};
use dray_store::Store;
use libfuzzer_sys::fuzz_target;

// In memory: a disk that is waited for leaves a few tries a second.
fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("folder");
    let images = Images::new(Store::open(dir.path()).expect("store"));
    if images.load(bytes, &Silent).is_err() {
        assert!(images.store().layers().list().expect("layers").is_empty());
        assert!(images.store().blobs().list().expect("blobs").is_empty());
    }
});
