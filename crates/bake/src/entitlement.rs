//! What a bake file may have of this machine: `--allow`, and what is asked for beyond it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::csv;

/// What is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The host's network for RUN.
    pub network_host: bool,
    /// Privileged RUN.
    pub insecure: bool,
    /// The user's agent.
    pub ssh: bool,
    /// All devices.
    pub all_devices: bool,
    /// Devices.
    pub devices: BTreeSet<String>,
    /// Files and folders to read; `*` for all.
    pub read: Vec<String>,
    /// Files and folders to write; `*` for all.
    pub write: Vec<String>,
}

/// What builds ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Entitlements, as targets name them.
    pub entitlements: Vec<String>,
    /// An agent without a named socket.
    pub ssh: bool,
    /// Files and folders to read.
    pub read: BTreeSet<String>,
    /// Files and folders to write.
    pub write: BTreeSet<String>,
}

impl Allowed {
    /// Reads `--allow`.
    ///
    /// # Errors
    /// There is no such thing.
    pub fn parse(texts: &[String]) -> Result<Allowed, String> {
        let mut allowed = Allowed::default();
        for text in texts {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let value = value.to_owned();
            match key {
                "network.host" => allowed.network_host = true,
                "security.insecure" => allowed.insecure = true,
                "ssh" => allowed.ssh = true,
                "device" if value.is_empty() => allowed.all_devices = true,
                "device" => allowed.devices.extend(csv::fields(&value)?.into_iter().take(1)),
                "fs.read" => allowed.read.push(value),
                "fs.write" => allowed.write.push(value),
                "fs" => {
                    allowed.read.push(value.clone());
                    allowed.write.push(value);
                }
                // Images are put out by outputs, which nobody has to allow.
                "image" | "image.push" | "image.load" => {}
                other => return Err(format!("unknown entitlement key {other:?}")),
            }
        }
        Ok(allowed)
    }

    /// What is wanted and not allowed.
    pub fn missing(&self, wants: &Wants) -> Missing {
        let mut missing = Missing { ssh: wants.ssh && !self.ssh, ..Missing::default() };
        for entitlement in &wants.entitlements {
            match entitlement.split_once('=').unwrap_or((entitlement, "")) {
                ("network.host", _) => missing.network_host |= !self.network_host,
                ("security.insecure", _) => missing.insecure |= !self.insecure,
                ("device", "") => missing.all_devices |= !self.all_devices,
                ("device", name) => {
                    let name = name.split(',').next().unwrap_or_default().to_owned();
                    if !self.all_devices && !self.devices.contains(&name) {
                        missing.devices.insert(name);
                    }
                }
                _ => {}
            }
        }
        missing.read = outside(&self.read, &wants.read);
        missing.write = outside(&self.write, &wants.write);
        missing
    }
}

/// What is wanted and not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    network_host: bool,
    insecure: bool,
    ssh: bool,
    all_devices: bool,
    devices: BTreeSet<String>,
    read: BTreeSet<PathBuf>,
    write: BTreeSet<PathBuf>,
}

/// Something that is not allowed: words for people, and the flag that allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What it is.
    pub words: String,
    /// `--allow=…`
    pub flag: String,
    /// It is a file or an agent of this machine.
    pub is_local: bool,
}

impl Missing {
    /// Each of them, with paths as seen from a folder.
    pub fn asks(&self, folder: &Path) -> Vec<Ask> {
        let ask = |words: &str, flag: &str, is_local| Ask {
            words: words.to_owned(),
            flag: format!("--allow={flag}"),
            is_local,
        };
        let mut asks = Vec::new();
        if self.network_host {
            asks.push(ask("Running build containers that can access host network", "network.host", false));
        }
        if self.insecure {
            asks.push(ask(
                "Running privileged containers that can make system changes",
                "security.insecure",
                false,
            ));
        }
        if self.all_devices {
            asks.push(ask("Access to CDI devices", "device", false));
        }
        for device in &self.devices {
            asks.push(ask(&format!("Access to device {device}"), &format!("device={device}"), false));
        }
        if self.ssh {
            asks.push(ask("Forwarding default SSH agent socket", "ssh", true));
        }
        let both: BTreeSet<&PathBuf> = self.read.intersection(&self.write).collect();
        let mut path = |words: &str, key: &str, path: &Path| {
            let shown = relative(path, folder).display().to_string();
            asks.push(ask(&format!("{words} access to path {shown}"), &format!("{key}={shown}"), true));
        };
        both.iter().for_each(|p| path("Read and write", "fs", p));
        self.read.iter().filter(|p| !both.contains(p)).for_each(|p| path("Read", "fs.read", p));
        self.write.iter().filter(|p| !both.contains(p)).for_each(|p| path("Write", "fs.write", p));
        asks
    }
}

/// A path from a folder, if it is not more than one level above.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    if let Ok(inside) = path.strip_prefix(folder) {
        return if inside.as_os_str().is_empty() { ".".into() } else { inside.to_owned() };
    }
    match folder.parent().and_then(|above| path.strip_prefix(above).ok()) {
        Some(beside) => Path::new("..").join(beside),
        None => path.to_owned(),
    }
}

/// The paths that are in none of the allowed ones; of a folder and what is in it only the folder.
fn outside(allowed: &[String], wanted: &BTreeSet<String>) -> BTreeSet<PathBuf> {
    if allowed.iter().any(|path| path == "*") {
        return BTreeSet::new();
    }
    let allowed: Vec<PathBuf> = allowed.iter().map(|path| resolved(path, true)).collect();
    let wanted: BTreeSet<PathBuf> = wanted.iter().map(|path| resolved(path, false)).collect();
    let mut missing: BTreeSet<PathBuf> = BTreeSet::new();
    for path in wanted {
        let covered = |one: &PathBuf| path.starts_with(one);
        if !allowed.iter().any(covered) && !missing.iter().any(covered) {
            missing.insert(path);
        }
    }
    missing
}

/// A path without links, as far as it is there; the rest of it is left out or not.
fn resolved(path: &str, with_rest: bool) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let full = PathBuf::from(dray_spec::glob::clean_path(&full.to_string_lossy()));
    let there = full.ancestors().find_map(|part| Some((part.to_owned(), std::fs::canonicalize(part).ok()?)));
    match there {
        Some((part, real)) if with_rest => match full.strip_prefix(&part) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        Some((_, real)) => real,
        None => full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_the_folder_has_to_be_allowed() {
        let dir = tempfile::tempdir().expect("a folder");
        let here = dir.path().canonicalize().expect("a path");
        std::fs::create_dir_all(here.join("p/ctx")).expect("folders");
        std::fs::create_dir_all(here.join("other")).expect("folders");
        let text = |path: &str| here.join(path).display().to_string();
        let mut allowed = Allowed::parse(&["network.host".into(), "device=a".into()]).expect("known");
        allowed.read.push(text("p"));
        let wants = Wants {
            entitlements: vec![
                "network.host".into(),
                "security.insecure".into(),
                "device=a".into(),
                "device=b".into(),
            ],
            ssh: true,
            read: [text("p/ctx"), text("other"), text("other/not-there")].into(),
            write: [text("other")].into(),
        };
        let asks = allowed.missing(&wants).asks(&here.join("p"));
        let flags: Vec<&str> = asks.iter().map(|ask| ask.flag.as_str()).collect();
        assert_eq!(
            flags,
            ["--allow=security.insecure", "--allow=device=b", "--allow=ssh", "--allow=fs=../other"]
        );
        allowed.read.push("*".into());
        allowed.write.push(text("other"));
        assert_eq!(allowed.missing(&wants).asks(&here).len(), 3);
        assert_eq!(Allowed::parse(&["what".into()]).unwrap_err(), "unknown entitlement key \"what\"");
    }

    #[test]
    fn a_link_is_where_it_leads_to() {
        let dir = tempfile::tempdir().expect("a folder");
        let here = dir.path().canonicalize().expect("a path");
        std::fs::create_dir(here.join("p")).expect("a folder");
        std::os::unix::fs::symlink("/etc", here.join("p/link")).expect("a link");
        let allowed = Allowed { read: vec![here.join("p").display().to_string()], ..Allowed::default() };
        let wants = Wants { read: [here.join("p/link").display().to_string()].into(), ..Wants::default() };
        assert_eq!(allowed.missing(&wants).asks(&here)[0].words, "Read access to path /etc");
    }
}
