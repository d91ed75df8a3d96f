//! Archives of images, and the list of many.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::content::Content;
use super::side::Side;
use super::table::{Line, Table};

/// Saves an image.
pub fn save(sides: &[Side], table: &Table, content: &Content) -> Result<()> {
    let folder = tempfile::tempdir()?;
    content.write(folder.path(), "save")?;
    for side in sides {
        side.run(["build", "-q", "-t", "saved", &folder.path().to_string_lossy()])?;
    }
    let out = tempfile::tempdir()?;
    let path = |side: &Side| out.path().join(side.name).to_string_lossy().into_owned();
    let name = format!("save of {}", content.name);
    table.time_and_undo(
        Line::time(&name, 5.0),
        sides,
        table.few(),
        |side, _| side.run(["save", "-o", &path(side), "saved"]).map(drop),
        |side| std::fs::remove_file(path(side)).context("remove the archive"),
    )
}

/// Loads such an image, of which nothing is here.
pub fn load(sides: &[Side], table: &Table, content: &Content) -> Result<()> {
    const ROUNDS: usize = 3;
    let out = tempfile::tempdir()?;
    let dray = sides.first().context("no side")?;
    let archive = |round: usize| out.path().join(round.to_string());
    for round in 0..=ROUNDS {
        let folder = tempfile::tempdir()?;
        content.write(folder.path(), &format!("load {round}"))?;
        dray.run(["build", "-q", "-t", "loaded", &folder.path().to_string_lossy()])?;
        dray.run(["save", "-o", &archive(round).to_string_lossy(), "loaded"])?;
    }
    // Dray loads into a store that has none of it, as the others.
    let fresh = Side::dray();
    let name = format!("load of {}", content.name);
    table.time(Line::time(&name, 5.0), sides, ROUNDS, |side, round| {
        let side = if side.name == fresh.name { &fresh } else { side };
        side.load(&archive(round))
    })
}

/// Lists a thousand images.
pub fn list(sides: &[Side], table: &Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let archive = thousand_images(folder.path())?;
    for side in sides {
        side.load(&archive)?;
    }
    let rounds = table.rounds();
    table.time(Line::time("images with 1,000 images", 0.0), sides, rounds, |side, _| {
        side.sh("images").map(drop)
    })
}

/// An archive of a thousand images that have one layer in common.
fn thousand_images(folder: &Path) -> Result<PathBuf> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "file", b"content")?;
    let layer = layer.into_inner()?;
    let diff = hex::encode(Sha256::digest(&layer));
    let path = folder.join("thousand.tar");
    let mut tar = tar::Builder::new(File::create(&path)?);
    let mut items = Vec::new();
    for n in 0..1000 {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": { "Env": [format!("N={n}")], "Cmd": ["/file"], "Labels": { "n": n.to_string() } },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
            "history": [{ "created_by": format!("ADD file {n}") }],
        });
        let config = serde_json::to_vec(&config)?;
        let name = format!("{}.json", hex::encode(Sha256::digest(&config)));
        append(&mut tar, &name, &config)?;
        items.push(json!({
            "Config": name, "RepoTags": [format!("thousand/image{n}:v1")], "Layers": ["layer.tar"],
        }));
    }
    append(&mut tar, "layer.tar", &layer)?;
    append(&mut tar, "manifest.json", &serde_json::to_vec(&items)?)?;
    tar.into_inner()?.flush()?;
    Ok(path)
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    Ok(tar.append_data(&mut header, name, bytes)?)
}
