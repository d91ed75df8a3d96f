//! `cargo xtask fuzz`: every fuzz target for a while, with libFuzzer.
//!
//! The pinned stable compiler serves: it instruments for coverage, and libFuzzer is built from the source that the
//! `libfuzzer-sys` crate carries, for which a C++ compiler is needed (installed when missing). Neither nightly Rust nor
//! cargo-fuzz is. Without a sanitizer: the code is safe Rust, so finds are panics, overflows, failed assertions, hangs
//! and greed for memory.
//!
//! ```text
//! fuzz/seeds/<target>/            where each begins; small, committed
//! target/fuzz/corpus/<target>/    what it has found interesting; kept between runs
//! target/fuzz/finds/<target>-…    inputs on which it failed
//! ```

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{cargo, run, workspace};
use crate::packages;

/// What rustc must do so that libFuzzer sees which paths an input takes.
const INSTRUMENT: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// What may be given to `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Options {
    /// Only targets whose name holds this
    filter: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Builds the targets and runs them one after the other; all of them, whatever one finds.
pub fn fuzz(options: &Options) -> Result<()> {
    packages::ensure_installed(packages::FUZZ)?;
    let programs = build()?;
    let mut failed = Vec::new();
    for name in targets()? {
        if options.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        println!("fuzzing {name} for {} s", options.seconds);
        if let Err(error) = run_target(&programs.join(&name), &name, options.seconds) {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "finds of {} are in {}", failed.join(", "), home()?.join("finds").display());
    Ok(())
}

fn home() -> Result<PathBuf> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let home = target.join("fuzz");
    std::fs::create_dir_all(home.join("finds")).with_context(|| home.display().to_string())?;
    Ok(home)
}

/// Builds all targets; gives the folder of their programs.
fn build() -> Result<PathBuf> {
    let (home, triple) = (home()?, format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let mut command =
        cargo(&["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &triple]);
    // The flags replace those of .cargo/config.toml: nothing is linked statically here.
    command.arg("--target-dir").arg(&home).env("RUSTFLAGS", INSTRUMENT);
    run(&mut command)?;
    Ok(home.join(triple).join("release"))
}

fn targets() -> Result<Vec<String>> {
    let folder = workspace().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        if let Some(name) = entry?.file_name().to_str().and_then(|name| name.strip_suffix(".rs")) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    if names.is_empty() {
        bail!("no fuzz targets in {}", folder.display());
    }
    Ok(names)
}

fn run_target(program: &std::path::Path, name: &str, seconds: u64) -> Result<()> {
    let home = home()?;
    let corpus = home.join("corpus").join(name);
    std::fs::create_dir_all(&corpus)?;
    let seeds = workspace().join("fuzz/seeds").join(name);
    ensure!(seeds.is_dir(), "{name} has no seeds: {} is no folder", seeds.display());
    let mut command = Command::new(program);
    command
        .args([&corpus, &seeds])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/{name}-", home.join("finds").display()))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1"]);
    run(&mut command)
}
