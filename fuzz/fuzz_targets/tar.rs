//! Headers of a tar, pax records, GNU's long names, sparse maps of all kinds: without a file system, so as fast as
//! can be. There is never more data than bytes came.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (entries, data) = dray_image::fuzzing::tar_entries(bytes);
    assert!(entries * 512 <= bytes.len());
    assert!(data <= bytes.len());
});
