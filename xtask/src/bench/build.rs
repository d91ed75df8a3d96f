//! Building, beside BuildKit: Docker's side builds through buildx and the BuildKit of its daemon.
//!
//! Whole processes are measured, from the command line to the image in the store.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::side::Side;
use super::table::{Line, Table};

/// How long the work of a stage takes, alone.
const WORK: Duration = Duration::from_secs(10);

/// Twenty RUN steps, none cached.
pub fn uncached(sides: &[Side], table: &Table) -> Result<()> {
    let folder = steps(20)?;
    let path = folder.path().to_string_lossy().into_owned();
    let line = Line::time("build of 20 RUN steps, no cache", 5.0);
    table.time(line, sides, table.few(), |side, _| side.build(["--no-cache", "-t", "bench", &path]))
}

/// Thirty steps, all cached.
pub fn cached(sides: &[Side], table: &Table) -> Result<()> {
    let folder = steps(28)?;
    let path = folder.path().to_string_lossy().into_owned();
    let line = Line::time("build of 30 steps, all cached", 10.0);
    table.time(line, sides, table.rounds(), |side, _| side.build(["-t", "bench", &path]))
}

/// FROM, COPY and so many RUN.
fn steps(runs: usize) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut text = String::from("FROM busybox\nCOPY data /data\n");
    for step in 0..runs {
        writeln!(text, "RUN echo {step} > /step{step}")?;
    }
    fs::write(folder.path().join("Dockerfile"), text)?;
    fs::write(folder.path().join("data"), vec![7u8; 1 << 20])?;
    Ok(folder)
}

/// A context of 50,000 files, of which one has changed since the build before.
pub fn changed(sides: &[Side], table: &Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for n in 0..50_000 {
        let sub = folder.path().join("files").join(format!("{}", n / 100));
        fs::create_dir_all(&sub)?;
        fs::write(sub.join(format!("{n}")), format!("file {n}\n").repeat(20))?;
    }
    let text = "FROM busybox\nCOPY files /files\nRUN ls /files > /list\n";
    fs::write(folder.path().join("Dockerfile"), text)?;
    let path = folder.path().to_string_lossy().into_owned();
    let file = folder.path().join("files/400/40007");
    let line = Line::time("one changed file in a context of 50,000", 5.0);
    let build = |side: &Side, round| {
        fs::write(&file, format!("{} {round}", side.name))?;
        side.build(["-t", "bench", &path])
    };
    // Who comes next does not wait for the disk to take the tens of thousands of files that this one has written.
    let settle = |_: &Side| {
        let status = Command::new("sync").status().context("sync")?;
        ensure!(status.success(), "sync ended with {status}");
        Ok(())
    };
    table.time_and_undo(line, sides, table.few(), build, settle)
}

/// Two stages of work that do not need each other, as a multiple of one.
pub fn parallel(sides: &[Side], table: &Table) -> Result<()> {
    let loops = calibrated()?;
    let work = format!("RUN i=0; while [ $i -lt {loops} ]; do i=$((i+1)); done; touch /done");
    let one = format!("FROM busybox\n{work}\n");
    let two = format!(
        "FROM busybox AS a\n{work}\nFROM busybox AS b\n{work}\nFROM busybox\nCOPY --from=a /done /a\nCOPY --from=b /done /b\n"
    );
    let mut multiples = Vec::new();
    for side in sides {
        let took = |text: &str| -> Result<f64> {
            let folder = tempfile::tempdir()?;
            fs::write(folder.path().join("Dockerfile"), text)?;
            let start = Instant::now();
            side.build(["--no-cache", "-t", "bench", &folder.path().to_string_lossy()])?;
            Ok(start.elapsed().as_secs_f64())
        };
        let alone = took(&one);
        multiples.push(alone.and_then(|alone| Ok(took(&two)? / alone)));
    }
    let multiples = told("two stages", sides, multiples)?;
    let line =
        Line { name: "two stages of 10 s each, against one", goal: 1.1, less_is_better: true, unit: "x" };
    table.line(line, &multiples);
    Ok(())
}

/// Numbers of sides; one that is optional may have none.
fn told(what: &str, sides: &[Side], numbers: Vec<Result<f64>>) -> Result<Vec<Option<f64>>> {
    let told = |(side, number): (&Side, Result<f64>)| match number {
        Ok(number) => Ok(Some(number)),
        Err(error) if side.is_optional() => {
            println!("{what}: {} cannot: {error:#}", side.name);
            Ok(None)
        }
        Err(error) => Err(error),
    };
    sides.iter().zip(numbers).map(told).collect()
}

/// So many turns of a shell's loop take [`WORK`] here.
fn calibrated() -> Result<u64> {
    const TURNS: u64 = 1_000_000;
    let script = format!("i=0; while [ $i -lt {TURNS} ]; do i=$((i+1)); done");
    let start = Instant::now();
    let status = Command::new("/bin/busybox").args(["sh", "-c", &script]).status().context("busybox")?;
    ensure!(status.success(), "busybox sh ended with {status}");
    Ok((TURNS as f64 * WORK.as_secs_f64() / start.elapsed().as_secs_f64()) as u64)
}

/// An image of 1 GB that hardly compresses, none of it known from before.
pub fn large(sides: &[Side], table: &Table) -> Result<()> {
    const ROUNDS: usize = 3;
    let folder = tempfile::tempdir()?;
    write_gigabyte(folder.path())?;
    fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY . /\n")?;
    let path = folder.path().to_string_lossy().into_owned();
    let line = Line::time("image of 1 GB into the store", 3.0);
    table.time(line, sides, ROUNDS, |side, round| {
        for n in 0..10 {
            let file = fs::OpenOptions::new().write(true).open(folder.path().join(format!("big{n}")))?;
            std::os::unix::fs::FileExt::write_all_at(&file, format!("{} {round}", side.name).as_bytes(), 0)?;
        }
        side.build(["-t", "bench", &path])
    })
}

fn write_gigabyte(folder: &Path) -> Result<()> {
    let mut random = fs::File::open("/dev/urandom")?;
    for n in 0..10 {
        let mut file = fs::File::create(folder.join(format!("big{n}")))?;
        std::io::copy(&mut (&mut random).take(100_000_000), &mut file)?;
    }
    Ok(())
}
