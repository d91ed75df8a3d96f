//! The host as it is now: mounts, network namespaces, links, firewall tables, cgroups and processes. Two
//! snapshots, before and after the tests, prove that nothing was left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What Dray could leave on a host, one line per thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    things: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at the host.
    pub fn take() -> Self {
        let mut things = BTreeSet::new();
        things.extend(mounts().into_iter().map(|line| format!("mount {line}")));
        things.extend(links().into_iter().map(|name| format!("link {name}")));
        things.extend(tables().into_iter().map(|name| format!("nft table {name}")));
        things.extend(cgroups().into_iter().map(|path| format!("cgroup {path}")));
        things.extend(dray_processes().into_iter().map(|line| format!("process {line}")));
        things.insert(format!("ip_forward {}", read("/proc/sys/net/ipv4/ip_forward")));
        Self { things }
    }

    /// What is there now and was not in `before`.
    pub fn added_since(&self, before: &Self) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }

    /// What was in `before` and is gone.
    pub fn missing_since(&self, before: &Self) -> Vec<String> {
        before.things.difference(&self.things).cloned().collect()
    }
}

/// Mount points of this mount namespace.
pub fn mounts() -> Vec<String> {
    read("/proc/self/mountinfo")
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let kind = line.split(" - ").nth(1)?.split(' ').next()?;
            Some(format!("{kind} at {}", fields.get(4)?))
        })
        .collect()
}

/// Names of this network namespace's links.
pub fn links() -> Vec<String> {
    names_in(Path::new("/sys/class/net"))
}

/// Tables of nftables, as `family name`.
pub fn tables() -> Vec<String> {
    let output = Command::new("nft").args(["list", "tables"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().map(|line| line.trim_start_matches("table ").trim().to_owned()).collect()
}

/// The whole rule set, for proving that a table of somebody else is untouched.
pub fn ruleset() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().expect("nft");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Cgroups that belong to Dray, in whichever hierarchy.
pub fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in names_in(Path::new("/sys/fs/cgroup")) {
        let base = Path::new("/sys/fs/cgroup").join(&hierarchy);
        if hierarchy.starts_with("dray") {
            collect_cgroups(&base, &mut found);
        } else {
            for name in names_in(&base).into_iter().filter(|name| name.starts_with("dray")) {
                collect_cgroups(&base.join(name), &mut found);
            }
        }
    }
    found
}

fn collect_cgroups(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        found.push(path.display().to_string());
        for name in names_in(path) {
            collect_cgroups(&path.join(name), found);
        }
    }
}

/// Command lines of Dray's processes.
pub fn dray_processes() -> Vec<String> {
    process_ids()
        .into_iter()
        .map(|pid| (pid, command_line(pid)))
        .filter(|(_, line)| is_dray(line))
        .map(|(pid, line)| format!("{pid} {line}"))
        .collect()
}

fn is_dray(line: &str) -> bool {
    let program = line.split(' ').next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    name == "dray" || name == "dray-runtime" || line.starts_with("dray-runtime ")
}

/// Processes whose command line holds `text`.
pub fn processes_naming(text: &str) -> Vec<u32> {
    let own = std::process::id();
    process_ids().into_iter().filter(|pid| *pid != own && command_line(*pid).contains(text)).collect()
}

/// A process's command line, arguments joined by blanks; empty when it is gone.
pub fn command_line(pid: u32) -> String {
    read(&format!("/proc/{pid}/cmdline")).replace('\0', " ").trim_end().to_owned()
}

/// Sends SIGKILL to a process that a test started.
pub fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn process_ids() -> Vec<u32> {
    names_in(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok()).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()).unwrap_or_default()
}
