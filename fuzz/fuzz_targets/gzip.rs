//! Compressed streams: gzip members, zstd frames, what follows them.
#![no_main]

use std::io::Read;

use dray_image::layer::decompress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(plain) = decompress(bytes) {
        // A bomb is the caller's to bound.
        let _ = plain.take(1 << 20).read_to_end(&mut Vec::new());
    }
});
