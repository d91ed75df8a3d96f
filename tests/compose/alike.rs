//! What Docker Compose makes and what `dray compose` makes of the same file, on the same daemon: containers, networks and
//! volumes are alike, field by field, hashes of configurations included.
//!
//! `alike/NAME.yaml` are the files; each has what people seldom write, in the combinations in which they do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dray_harness::client::{Finished, finish};
use dray_harness::{Client, Daemon, compose, dray_binary};
use serde_json::Value;
use tempfile::TempDir;

/// What is another one each time.
const OF_ITS_OWN: &[&str] = &[
    "Id",
    "ID",
    "Created",
    "CreatedAt",
    "Containers",
    "EndpointID",
    "GraphDriver",
    "Hostname",
    "HostnamePath",
    "HostsPath",
    "IPAddress",
    "Log",
    "LogPath",
    "MacAddress",
    "NetworkID",
    "Pid",
    "ResolvConfPath",
    "SandboxID",
    "SandboxKey",
    "StartedAt",
    "FinishedAt",
    "com.docker.compose.version",
    // Dray's own, for replicas that share a port.
    "dev.dray.share-ports",
];

/// Lists whose order means nothing: Docker Compose makes them of maps.
const UNORDERED: &[&str] = &["Env", "ExtraHosts", "Mounts", "Ulimits", "Binds", "DNSNames", "Aliases"];

struct Stage {
    daemon: Daemon,
    folder: TempDir,
}

impl Stage {
    fn compose(&self, program: &Path, first: &[&str], line: &str) -> Finished {
        let client: Client = self.daemon.dray();
        let mut command = Command::new(program);
        for (name, value) in client.command(Vec::<&str>::new()).get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.args(first).args(line.split(' ')).current_dir(self.folder.path());
        finish(command, b"")
    }

    /// Brings a project up, sees what is there, and takes it down.
    fn made(&self, program: &Path, first: &[&str], project: &str) -> Value {
        self.compose(program, first, "up -d").expect_success();
        let listed = self.compose(program, first, "ps -a --format json").expect_success().stdout;
        let mut listed: Vec<Value> =
            listed.lines().map(|line| serde_json::from_str(line).expect("JSON of ps")).collect();
        listed.sort_by_key(|row| row["Name"].to_string());
        for row in &mut listed {
            for name in ["ID", "CreatedAt", "RunningFor", "Status", "Labels", "Mounts", "Ports", "Publishers"]
            {
                row.as_object_mut().expect("an object").remove(name);
            }
        }
        let docker = self.daemon.docker();
        let seen = |kind: &str, list: &str| {
            let names = docker.ok(&format!("{list} --filter label=com.docker.compose.project={project}"));
            let mut all: Vec<Value> = names
                .split_whitespace()
                .map(|id| {
                    let text = docker.ok(&format!("{kind} inspect {id}"));
                    let found: Vec<Value> = serde_json::from_str(&text).expect("JSON of inspect");
                    let mut one = found.into_iter().next().expect("one");
                    if refers(&one["HostConfig"]) {
                        one["Config"]["Labels"]["com.docker.compose.config-hash"] = Value::Null;
                    }
                    one
                })
                .collect();
            all.sort_by_key(|object| object["Name"].to_string());
            all.iter_mut().for_each(alike);
            Value::Array(all)
        };
        let made = serde_json::json!({
            "ps": listed,
            "containers": seen("container", "ps -aq --no-trunc"),
            "networks": seen("network", "network ls -q"),
            "volumes": seen("volume", "volume ls -q"),
        });
        self.compose(program, first, "down -v").expect_success();
        made
    }
}

/// Whether a container shares something with another one: its hash has the id of that.
fn refers(host: &Value) -> bool {
    let modes = ["NetworkMode", "IpcMode", "PidMode"].into_iter();
    let shared = |mode: &str| host[mode].as_str().is_some_and(|text| text.starts_with("container:"));
    modes.into_iter().any(shared) || host["VolumesFrom"].is_array()
}

/// Leaves out what differs between two that are the same.
fn alike(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|name, _| !OF_ITS_OWN.contains(&name.as_str()));
            for (name, value) in map.iter_mut() {
                match (name.as_str(), &mut *value) {
                    ("com.docker.compose.config-hash", _) => continue,
                    ("com.docker.compose.depends_on", Value::String(list)) => {
                        let mut entries: Vec<&str> = list.split(',').collect();
                        entries.sort_unstable();
                        *list = entries.join(",");
                    }
                    (_, value) => alike(value),
                }
                if let Value::Array(list) = value
                    && UNORDERED.contains(&name.as_str())
                {
                    list.sort_by_key(ToString::to_string);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(alike),
        Value::String(text) => *text = without_names(text),
        _ => {}
    }
}

/// Names that the daemon makes up (of anonymous volumes), and addresses that it gives out.
fn without_names(text: &str) -> String {
    let parts = text.split_inclusive(['/', ':', '.']);
    let shown = parts.map(|part| {
        let bare = part.trim_end_matches(['/', ':', '.']);
        let is_name = matches!(bare.len(), 12 | 64) && bare.bytes().all(|b| b.is_ascii_hexdigit());
        if is_name { part.replace(bare, "<name>") } else { part.to_owned() }
    });
    shown.collect()
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/alike");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the files").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

#[test]
fn both_make_the_same() {
    let reference = compose::reference();
    let stage = Stage { daemon: Daemon::start(), folder: TempDir::with_prefix("alike-").expect("a folder") };
    fs::create_dir(stage.folder.path().join("local")).expect("a folder");
    for (name, text) in [("a.env", "A=1\nB=\"x $A\"\n"), ("raw.env", "R=\"q\" $x\n"), ("labels", "L=1\n")] {
        fs::write(stage.folder.path().join(name), text).expect("a file");
    }
    let mut differ = Vec::new();
    for file in files() {
        let project = file.file_stem().expect("a name").to_string_lossy().into_owned();
        fs::copy(&file, stage.folder.path().join("compose.yaml")).expect("a copy");
        let theirs = stage.made(&reference, &[], &project);
        let mine = stage.made(&dray_binary(), &["compose"], &project);
        difference(&project, &theirs, &mine, &mut differ);
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

fn names(list: &str) -> std::collections::BTreeSet<&str> {
    list.split(',').collect()
}

/// Where two differ, with the path.
fn difference(path: &str, theirs: &Value, mine: &Value, into: &mut Vec<String>) {
    match (theirs, mine) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                difference(&format!("{path}.{name}"), &of(a), &of(b), into);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                difference(&format!("{path}[{i}]"), a, b, into);
            }
        }
        (a, b) if a == b => {}
        // Docker Compose names them in no order.
        (Value::String(a), Value::String(b)) if path.ends_with(".Networks") && names(a) == names(b) => {}
        (a, b) => into.push(format!("{path}: Docker Compose {a}, ours {b}")),
    }
}
