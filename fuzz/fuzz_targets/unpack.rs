//! Layers: nothing is written outside the folder, and what could be split gives the same bytes again. Run as
//! root, best in a container: it makes devices.
#![no_main]

use dray_image::layer::{Limits, Options, join, unpack_with_split};
use libfuzzer_sys::fuzz_target;

// In memory: a disk that is waited for leaves a few tries a second.
fuzz_target!(|bytes: &[u8]| {
    let outside = tempfile::tempdir_in("/dev/shm").expect("folder");
    let inside = outside.path().join("layer");
    std::fs::create_dir(&inside).expect("folder");
    let options = Options { limits: Limits { bytes: 16 << 20, entries: 10_000 }, ..Options::default() };
    let mut split = Vec::new();
    if let Ok((unpacked, true)) = unpack_with_split(bytes, &inside, &options, &mut split) {
        let (digest, _) = join(&split[..], &inside, std::io::sink()).expect("joined");
        assert_eq!(digest, unpacked.diff_id);
    }
    let left: Vec<_> = std::fs::read_dir(outside.path()).expect("list").collect();
    assert_eq!(left.len(), 1, "something was written outside");
});
