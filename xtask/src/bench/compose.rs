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
        |side| down(side, folder.path()),
    )
}

/// `config` of a file with a hundred services.
pub fn config(sides: &[Side], table: &Table) -> Result<()> {
    let folder = project(&many(100, 0))?;
    let line = Line::time("compose config, 100 services", 1.0);
    table.time(line, sides, table.rounds(), |side, _| run(side, folder.path(), &["config", "-q"]))
}

/// `up` of a hundred services that are there already.
pub fn settled(sides: &[Side], table: &Table) -> Result<()> {
    // The sides share a host, and so may not have the same subnets.
    let folders = (0..sides.len()).map(|n| project(&many(100, n))).collect::<Result<Vec<_>>>()?;
    let folder_of = |side: &Side| {
        let at = sides.iter().position(|other| other.name == side.name).unwrap_or(0);
        folders[at].path()
    };
    for side in sides {
        run(side, folder_of(side), &["up", "-d"])?;
    }
    let line = Line::time("compose up -d, 100 services, no change", 1.0);
    table.time(line, sides, table.few(), |side, _| run(side, folder_of(side), &["up", "-d"]))?;
    sides.iter().try_for_each(|side| down(side, folder_of(side)))
}

/// Takes a project down. dockerd may still hold endpoints of containers that it said to have removed, and then goes on
/// at the second try.
fn down(side: &Side, folder: &Path) -> Result<()> {
    let words = ["down", "-t", "0"];
    match run(side, folder, &words) {
        Err(_) if side.name != "dray" => run(side, folder, &words),
        done => done,
    }
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

/// Services as people write them, with most of what they use; on subnets of this number's own.
fn many(count: usize, number: usize) -> String {
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
    for (n, name) in ["front", "back"].iter().enumerate() {
        let subnet = format!("10.217.{}.0/24", number * 2 + n);
        let head = if n == 0 { "networks:\n" } else { "" };
        let _ = writeln!(text, "{head}  {name}: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}");
    }
    text + "volumes: {data: {}}\n"
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
