//! Templates of `--format`: whatever is wrong is an error, no panic, no endless run.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &str| dray_cli::fuzzing::template(source));
