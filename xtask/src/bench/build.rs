//! Building an image of many steps.

use std::fmt::Write;
use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use super::side::Side;
use super::table::{Line, Table};

/// Twenty RUN steps, none cached.
pub fn uncached(sides: &[Side], table: &Table) -> Result<()> {
    let folder = context(20)?;
    let path = folder.path().to_string_lossy().into_owned();
    let line = Line::time("build of 20 RUN steps, no cache", 5.0);
    table.time(line, sides, table.few(), |side, _| {
        side.run(["build", "-q", "--no-cache", "-t", "bench", &path]).map(drop)
    })
}

/// The same, all cached.
pub fn cached(sides: &[Side], table: &Table) -> Result<()> {
    let folder = context(20)?;
    let path = folder.path().to_string_lossy().into_owned();
    let line = Line::time("build of 20 RUN steps, all cached", 10.0);
    table.time(line, sides, table.rounds(), |side, _| {
        side.run(["build", "-q", "-t", "bench", &path]).map(drop)
    })
}

fn context(steps: usize) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut text = String::from("FROM busybox\nCOPY data /data\n");
    for step in 0..steps {
        writeln!(text, "RUN echo {step} > /step{step}")?;
    }
    fs::write(folder.path().join("Dockerfile"), text)?;
    fs::write(folder.path().join("data"), vec![7u8; 1 << 20])?;
    Ok(folder)
}
