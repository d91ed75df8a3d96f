//! Compose projects: `dray compose` on Dray beside Docker Compose on dockerd.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use dray_harness::compose;
use tempfile::TempDir;

use super::side::Side;
use super::table::{Line, Table};

/// `up` of ten services, each of which depends on the one before.
pub fn up(sides: &[Side], table: &Table) -> Result<()> {
    let folder = project(&chain(10))?;
    let line = Line::time("compose up -d, 10 services in a chain", 10.0);
    table.time_and_undo(
        line,
        sides,
        table.few(),
        |side, _| run(side, folder.path(), &["up", "-d"]),
        |side| run(side, folder.path(), &["down", "-t", "0"]),
    )
}

/// `config` of a file with a hundred services.
pub fn config(sides: &[Side], table: &Table) -> Result<()> {
    let folder = project(&many(100))?;
    let line = Line::time("compose config, 100 services", 1.0);
    table.time(line, sides, table.rounds(), |side, _| run(side, folder.path(), &["config", "-q"]))
}

/// `up` of a hundred services that are there already.
pub fn settled(sides: &[Side], table: &Table) -> Result<()> {
    let folder = project(&many(100))?;
    for side in sides {
        run(side, folder.path(), &["up", "-d"])?;
    }
    let line = Line::time("compose up -d, 100 services, no change", 1.0);
    table.time(line, sides, table.few(), |side, _| run(side, folder.path(), &["up", "-d"]))?;
    sides.iter().try_for_each(|side| run(side, folder.path(), &["down", "-t", "0"]))
}

fn project(text: &str) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("dray-bench-compose-").tempdir()?;
    std::fs::write(folder.path().join("compose.yaml"), text)?;
    Ok(folder)
}

fn chain(count: usize) -> String {
    let mut text = "name: bench\nservices:\n".to_owned();
    for n in 0..count {
        let _ =
            writeln!(text, "  s{n}:\n    image: busybox\n    command: sleep 600\n    stop_grace_period: 0s");
        if n > 0 {
            let _ = writeln!(text, "    depends_on: [s{}]", n - 1);
        }
    }
    text
}

/// Services as people write them, with most of what they use.
fn many(count: usize) -> String {
    let mut text = "name: bench\nx-common: &common\n  image: busybox\n  command: sleep 600\n  \
                    stop_grace_period: 0s\n  logging: {driver: json-file, options: {max-size: 10m}}\nservices:\n"
        .to_owned();
    for n in 0..count {
        let _ = writeln!(
            text,
            "  s{n}:\n    <<: *common\n    environment: {{NUMBER: \"{n}\", LEVEL: \"${{LEVEL:-info}}\"}}\n    \
             labels: {{number: \"{n}\"}}\n    volumes: [\"data:/data\"]\n    networks: [front, back]\n    \
             healthcheck: {{test: \"true\", interval: 1h}}"
        );
    }
    text + "networks: {front: {}, back: {}}\nvolumes: {data: {}}\n"
}

fn run(side: &Side, folder: &Path, words: &[&str]) -> Result<()> {
    let mut command = side.command(["compose"]);
    if side.name != "dray" {
        // Docker Compose by itself: its client would only start it.
        let mut theirs = Command::new(compose::reference());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                theirs.env(name, value);
            }
        }
        command = theirs;
    }
    command.args(words).current_dir(folder).env("PWD", folder);
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| line.clone())?;
    ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
