//! Moving an image to and from a registry on loopback.
//!
//! Every round moves content that its side has not moved before: a registry that has a blob is not sent it again,
//! a store that has a layer does not fetch it. And nothing is deleted before the end: file systems such as ext4 take
//! long to create many files right after as many were deleted, whoever asks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dray_harness::registry::Registry;

use super::content::Content;
use super::side::Side;
use super::table::{Line, Table, median_ms};

const ROUNDS: usize = 3;

/// Pushes an image to an empty registry.
pub fn push(sides: &[Side], table: &Table, content: &Content) -> Result<()> {
    let folder = tempfile::tempdir()?;
    content.write(folder.path(), "push")?;
    let context = folder.path().to_string_lossy().into_owned();
    for side in sides {
        side.run(["build", "-q", "-t", "big", &context])?;
    }
    let mut registries = Vec::new();
    let name = format!("push of {}", content.name);
    // Fifty milliseconds of the registry's own start are in every side's time.
    table.time(Line::time(&name, 3.0), sides, ROUNDS, |side, _| {
        let registry = Registry::start();
        let name = format!("{}/big:latest", registry.host());
        registries.push(registry);
        side.run(["tag", "big", &name])?;
        side.transfer("push", &name)
    })
}

/// Pulls such an image, which nothing of is here, and unpacks it; what `pigz -dc | tar x` takes for the same layers, one
/// after the other, is printed beside.
pub fn pull(sides: &[Side], table: &Table, content: &Content) -> Result<()> {
    let registry = Registry::start();
    let dray = sides.first().context("no side")?;
    let name = |round: usize| format!("{}/round{round}:latest", registry.host());
    for round in 0..=ROUNDS {
        let folder = tempfile::tempdir()?;
        content.write(folder.path(), &format!("round {round}"))?;
        dray.run(["build", "-q", "-t", &name(round), &folder.path().to_string_lossy()])?;
        dray.transfer("push", &name(round))?;
    }
    // Dray pulls into a store that has none of it, as the others.
    let fresh = Side::dray();
    let title = format!("pull of {}", content.name);
    table.time(Line::time(&title, 4.0), sides, ROUNDS, |side, round| {
        let side = if side.name == fresh.name { &fresh } else { side };
        side.transfer("pull", &name(round))
    })?;
    let mut kept = Vec::new();
    let mut took = Vec::new();
    for round in 0..=ROUNDS {
        let layers = layers(&registry, &format!("round{round}"))?;
        let root = tempfile::tempdir()?;
        let began = Instant::now();
        for layer in layers {
            unpack(&layer, root.path())?;
        }
        if round > 0 {
            took.push(began.elapsed());
        }
        // Only files that are few may go at once, and have to: they are large.
        kept.extend(content.is_many_files().then_some(root));
    }
    println!("{:<44} {:>9.2} ms", "  pigz -dc | tar x of its layers", median_ms(took));
    Ok(())
}

/// The layers of an image, as files of the registry's.
fn layers(registry: &Registry, repository: &str) -> Result<Vec<PathBuf>> {
    let manifest = registry.manifest(repository, "latest");
    let digests = manifest["layers"].as_array().context("layers")?.iter();
    digests
        .map(|layer| {
            let hex = layer["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
            Ok(registry.blob(hex.context("digest of a layer")?))
        })
        .collect()
}

fn unpack(layer: &Path, root: &Path) -> Result<()> {
    let mut pigz =
        Command::new("pigz").arg("-dc").arg(layer).stdout(Stdio::piped()).spawn().context("pigz")?;
    let out = pigz.stdout.take().context("pigz's output")?;
    let tar = Command::new("tar").arg("-xC").arg(root).stdin(out).status().context("tar")?;
    ensure!(tar.success() && pigz.wait()?.success(), "unpack {}", layer.display());
    Ok(())
}
