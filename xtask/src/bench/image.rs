//! Moving a large image to and from a registry on loopback.
//!
//! Every round moves content that its side has not moved before: a registry that has a blob is not sent it again,
//! a store that has a layer does not fetch it. And nothing is deleted before the end: file systems such as ext4 take
//! long to create many files right after as many were deleted, whoever asks.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use dray_harness::registry::Registry;

use super::side::Side;
use super::table::{Line, Table};

/// Pushes an image of 300 MB, of which 15,000 small files, to an empty registry.
pub fn push(sides: &[Side], table: &Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_context(folder.path(), "push")?;
    let context = folder.path().to_string_lossy().into_owned();
    for side in sides {
        side.run(["build", "-q", "-t", "big", &context])?;
    }
    let mut registries = Vec::new();
    let line = Line::time("push of 300 MB and 15,000 files", 0.0);
    // Fifty milliseconds of the registry's own start are in every side's time.
    table.time(line, sides, 3, |side, _| {
        let registry = Registry::start();
        let name = format!("{}/big:latest", registry.host());
        registries.push(registry);
        side.run(["tag", "big", &name])?;
        side.transfer("push", &name)
    })
}

/// Pulls such an image, which nothing of is here, and unpacks it.
pub fn pull(sides: &[Side], table: &Table) -> Result<()> {
    const ROUNDS: usize = 3;
    let registry = Registry::start();
    let dray = sides.first().context("no side")?;
    let name = |round: usize| format!("{}/round{round}:latest", registry.host());
    for round in 0..=ROUNDS {
        let folder = tempfile::tempdir()?;
        write_context(folder.path(), &format!("round {round}"))?;
        dray.run(["build", "-q", "-t", &name(round), &folder.path().to_string_lossy()])?;
        dray.transfer("push", &name(round))?;
    }
    // Dray pulls into a store that has none of it, as the others.
    let fresh = Side::dray();
    let pulling = |side: &Side, round| {
        let side = if side.name == fresh.name { &fresh } else { side };
        side.transfer("pull", &name(round))
    };
    table.time(Line::time("pull and unpack of it", 2.0), sides, ROUNDS, pulling)
}

/// One layer of big files that hardly compress, three of many small ones; `seed` makes its layers its own.
pub fn write_context(folder: &Path, seed: &str) -> Result<()> {
    let mut random = fs::File::open("/dev/urandom")?;
    for layer in 0..4 {
        let root = folder.join(format!("layer{layer}"));
        fs::create_dir_all(&root)?;
        if layer == 0 {
            for n in 0..10 {
                let mut file = fs::File::create(root.join(format!("big{n}")))?;
                std::io::copy(&mut (&mut random).take(20 << 20), &mut file)?;
            }
        } else {
            for n in 0..5000 {
                let sub = root.join(format!("{}", n / 100));
                fs::create_dir_all(&sub)?;
                let text = format!("file {n} of layer {layer}, {seed}\n").repeat(300);
                fs::write(sub.join(format!("{n}")), text)?;
            }
        }
    }
    let text = "FROM busybox\nCOPY layer0 /l0\nCOPY layer1 /l1\nCOPY layer2 /l2\nCOPY layer3 /l3\n";
    fs::write(folder.join("Dockerfile"), text).context("Dockerfile")
}
