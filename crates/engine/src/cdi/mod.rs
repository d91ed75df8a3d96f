//! Devices by name: the Container Device Interface. Files in a few folders say what a container gets that asks for a
//! device `vendor.com/class=name`: nodes, mounts, variables, groups, hooks.
//!
//! ```text
//! /etc/cdi/*.json *.yaml          of the administrator
//! /var/run/cdi/*.json *.yaml      of drivers; the later folder goes before the earlier one
//! ```
//! The files are read when they are needed: what a driver writes is there at once. One that is wrong makes its own
//! devices unknown and no others. Specification: CNCF tag-runtime, container-device-interface, SPEC.md.

mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use dray_spec::runtime::{Device, DeviceRule, Hook, Hooks, Mount, Spec};
use serde::Deserialize;

/// The largest file that is read.
const MAX_FILE: u64 = 16 << 20;
/// Where specifications are unless it is said.
pub const DEFAULT_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody knows these.
    #[error("CDI device injection failed: unresolvable CDI devices {0}")]
    Unknown(String),
    /// Two files of a folder have it.
    #[error("CDI device injection failed: conflicting device {device:?} (specs {}, {})", first.display(), second.display())]
    Conflict {
        /// The device.
        device: String,
        /// The files.
        first: PathBuf,
        /// The files.
        second: PathBuf,
    },
    /// Its node is not there.
    #[error("CDI device injection failed: failed to stat CDI host device {path:?}: {source}")]
    Node {
        /// The node.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its node is none.
    #[error("CDI device injection failed: {0:?} is not a device node")]
    NoNode(String),
    /// A hook that runs at no time.
    #[error("CDI device injection failed: unknown hook name {0:?}")]
    Hook(String),
}

/// A file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    cdi_version: String,
    kind: String,
    devices: Vec<Named>,
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    name: String,
    container_edits: Edits,
}

/// What is added to a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Bind>,
    hooks: Vec<NamedHook>,
    #[serde(alias = "additionalGIDs")]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: String,
    #[serde(rename = "type")]
    kind: String,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bind {
    host_path: String,
    container_path: String,
    #[serde(rename = "type")]
    kind: String,
    options: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamedHook {
    hook_name: String,
    path: PathBuf,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<u32>,
}

/// A device that is known.
#[derive(Debug, Clone)]
struct Known {
    file: PathBuf,
    /// Which folder it is from.
    folder: usize,
    edits: Edits,
    /// What all devices of the file get.
    common: Edits,
    /// Another file of the same folder that has it.
    conflict: Option<PathBuf>,
}

/// Folders with specifications.
#[derive(Debug, Clone, Default)]
pub struct Cdi {
    dirs: Vec<PathBuf>,
}

impl Cdi {
    /// The devices that these folders know.
    #[must_use]
    pub fn at(dirs: Vec<PathBuf>) -> Self {
        Cdi { dirs }
    }

    /// The folders.
    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The names of all devices.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.known().into_iter().filter(|(_, known)| known.conflict.is_none()).map(|(name, _)| name).collect()
    }

    /// The devices that a Dockerfile's `--device` means: one, all of a class (`vendor.com/class=*`), or the first of
    /// a class (`vendor.com/class`).
    #[must_use]
    pub fn meant(&self, name: &str) -> Vec<String> {
        let devices = self.devices();
        match name.split_once('=') {
            Some((class, "*")) => {
                devices.into_iter().filter(|device| device.split('=').next() == Some(class)).collect()
            }
            Some(_) => devices.into_iter().filter(|device| device == name).collect(),
            None => devices
                .into_iter()
                .find(|device| device.split('=').next() == Some(name))
                .into_iter()
                .collect(),
        }
    }

    fn known(&self) -> BTreeMap<String, Known> {
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        for (folder, dir) in self.dirs.iter().enumerate() {
            let mut paths: Vec<PathBuf> =
                fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                match read(&path) {
                    Ok(None) => {}
                    Ok(Some(file)) => add(&mut known, folder, &path, file),
                    Err(reason) => tracing::warn!(path = %path.display(), reason, "a CDI specification"),
                }
            }
        }
        known
    }

    /// Adds to a container what devices bring.
    ///
    /// # Errors
    /// If one is unknown, or cannot be had.
    pub fn inject(&self, devices: &[String], spec: &mut Spec) -> Result<(), Error> {
        if devices.is_empty() {
            return Ok(());
        }
        let known = self.known();
        let unknown: Vec<&str> =
            devices.iter().filter(|name| !known.contains_key(*name)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(Error::Unknown(unknown.join(", ")));
        }
        let mut files: Vec<&Path> = Vec::new();
        for (name, device) in devices.iter().filter_map(|name| Some((name, known.get(name)?))) {
            if let Some(second) = &device.conflict {
                let (device, first, second) = (name.clone(), device.file.clone(), second.clone());
                return Err(Error::Conflict { device, first, second });
            }
            if !files.contains(&device.file.as_path()) {
                files.push(&device.file);
                apply(&device.common, spec)?;
            }
            apply(&device.edits, spec)?;
        }
        Ok(())
    }
}

/// Reads a file; nothing for one that is no specification.
fn read(path: &Path) -> Result<Option<File>, String> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if !matches!(extension, "json" | "yaml" | "yml") || !path.is_file() {
        return Ok(None);
    }
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: File = match extension {
        "json" => serde_json::from_str(&text).map_err(|error| error.to_string())?,
        _ => serde_json::from_value(yaml::parse(&text)?).map_err(|error| error.to_string())?,
    };
    if file.cdi_version.is_empty() {
        return Err("has no cdiVersion".to_owned());
    }
    let named = |text: &str| {
        text.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.:".contains(letter))
    };
    match file.kind.split_once('/') {
        Some((vendor, class)) if named(vendor) && named(class) => {}
        _ => return Err(format!("invalid kind {:?}", file.kind)),
    }
    match file.devices.iter().find(|device| !named(&device.name)) {
        Some(device) => Err(format!("invalid device name {:?}", device.name)),
        None => Ok(Some(file)),
    }
}

fn add(known: &mut BTreeMap<String, Known>, folder: usize, path: &Path, file: File) {
    for device in file.devices {
        let name = format!("{}={}", file.kind, device.name);
        let new = Known {
            file: path.to_owned(),
            folder,
            edits: device.container_edits,
            common: file.container_edits.clone(),
            conflict: None,
        };
        match known.get_mut(&name) {
            Some(before) if before.folder == folder => before.conflict = Some(path.to_owned()),
            _ => drop(known.insert(name, new)),
        }
    }
}

fn apply(edits: &Edits, spec: &mut Spec) -> Result<(), Error> {
    if let Some(process) = &mut spec.process {
        for variable in &edits.env {
            let name = variable.split('=').next().unwrap_or_default();
            process.env.retain(|known| known.split('=').next() != Some(name));
            process.env.push(variable.clone());
        }
        for group in edits.additional_gids.iter().filter(|group| **group != 0) {
            if !process.user.additional_gids.contains(group) {
                process.user.additional_gids.push(*group);
            }
        }
    }
    for node in &edits.device_nodes {
        let (device, access) = device(node)?;
        let linux = spec.linux.get_or_insert_default();
        linux.devices.retain(|known| known.path != device.path);
        let rule = DeviceRule {
            allow: true,
            kind: Some(device.kind.clone()),
            major: Some(device.major),
            minor: Some(device.minor),
            access: Some(access),
        };
        linux.resources.get_or_insert_default().devices.push(rule);
        linux.devices.push(device);
    }
    for mount in &edits.mounts {
        let kind = if mount.kind.is_empty() { "bind" } else { &mount.kind };
        let mut options = mount.options.clone();
        if kind == "bind" && !options.iter().any(|option| matches!(option.as_str(), "bind" | "rbind")) {
            options.push("rbind".to_owned());
        }
        let destination = PathBuf::from(&mount.container_path);
        spec.mounts.retain(|known| known.destination != destination);
        spec.mounts.push(Mount {
            destination,
            kind: Some(kind.to_owned()),
            source: Some(mount.host_path.clone()),
            options,
            ..Mount::default()
        });
    }
    for hook in &edits.hooks {
        let hooks = spec.hooks.get_or_insert_default();
        let list = list_of(hooks, &hook.hook_name).ok_or_else(|| Error::Hook(hook.hook_name.clone()))?;
        list.push(Hook {
            path: hook.path.clone(),
            args: hook.args.clone(),
            env: hook.env.clone(),
            timeout: hook.timeout,
        });
    }
    Ok(())
}

fn list_of<'a>(hooks: &'a mut Hooks, name: &str) -> Option<&'a mut Vec<Hook>> {
    Some(match name {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        "poststop" => &mut hooks.poststop,
        _ => return None,
    })
}

/// A node, with what the specification leaves to the host.
fn device(node: &Node) -> Result<(Device, String), Error> {
    let on_host = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let (mut kind, mut major, mut minor) = (node.kind.clone(), node.major, node.minor);
    if kind.is_empty() || (kind != "p" && (major.is_none() || minor.is_none())) {
        let found = fs::metadata(on_host).map_err(|source| Error::Node { path: on_host.clone(), source })?;
        let of_host = match found.file_type() {
            of if of.is_char_device() => "c",
            of if of.is_block_device() => "b",
            _ => return Err(Error::NoNode(on_host.clone())),
        };
        if kind.is_empty() {
            kind = of_host.to_owned();
        }
        major.get_or_insert(rustix::fs::major(found.rdev()).into());
        minor.get_or_insert(rustix::fs::minor(found.rdev()).into());
    }
    let access = if node.permissions.is_empty() { "rwm".to_owned() } else { node.permissions.clone() };
    let device = Device {
        path: PathBuf::from(&node.path),
        kind: if kind == "u" { "c".to_owned() } else { kind },
        major: major.unwrap_or(0),
        minor: minor.unwrap_or(0),
        file_mode: node.file_mode,
        uid: node.uid,
        gid: node.gid,
    };
    Ok((device, access))
}

#[cfg(test)]
mod tests {
    use dray_spec::runtime::Process;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("a specification");
        }
        dir
    }

    const JSON: &str = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/class","containerEdits":{"env":["ALL=1"]},"devices":[
        {"name":"a","containerEdits":{"env":["A=json"],"deviceNodes":[{"path":"/dev/a","hostPath":"/dev/null","permissions":"r"}],
         "mounts":[{"hostPath":"/etc/hostname","containerPath":"/h","options":["ro"]}],"additionalGids":[7],
         "hooks":[{"hookName":"createContainer","path":"/bin/true","args":["true"]}]}},
        {"name":"b","containerEdits":{"env":["B=1"]}}]}"#;

    fn spec() -> Spec {
        Spec {
            process: Some(Process { env: vec!["A=image".into()], ..Process::default() }),
            ..Spec::default()
        }
    }

    #[test]
    fn a_device_brings_what_its_file_says() {
        let dir = folder(&[("a.json", JSON), ("notes.txt", "x"), ("wrong.yaml", "kind: [")]);
        let cdi = Cdi::at(vec![dir.path().into(), "/nowhere".into()]);
        assert_eq!(cdi.devices(), ["vendor.com/class=a", "vendor.com/class=b"]);
        assert_eq!(cdi.meant("vendor.com/class"), ["vendor.com/class=a"]);
        assert_eq!(cdi.meant("vendor.com/class=*").len(), 2);
        assert!(cdi.meant("vendor.com/other").is_empty());
        let mut spec = spec();
        cdi.inject(&["vendor.com/class=a".into(), "vendor.com/class=b".into()], &mut spec).expect("injected");
        let process = spec.process.as_ref().expect("a process");
        assert_eq!(process.env, ["ALL=1", "A=json", "B=1"]);
        assert_eq!(process.user.additional_gids, [7]);
        let linux = spec.linux.as_ref().expect("linux");
        assert_eq!((linux.devices[0].major, linux.devices[0].minor), (1, 3));
        let rules = &linux.resources.as_ref().expect("resources").devices;
        assert_eq!((rules.len(), rules[0].access.as_deref()), (1, Some("r")));
        assert_eq!(spec.mounts[0].options, ["ro", "rbind"]);
        assert_eq!(spec.hooks.expect("hooks").create_container.len(), 1);
    }

    #[test]
    fn the_later_folder_goes_before_the_earlier_one() {
        let yaml = "cdiVersion: 0.6.0\nkind: vendor.com/class\ndevices:\n- name: a\n  containerEdits:\n    env: [A=yaml]\n";
        let (first, second) = (folder(&[("a.json", JSON)]), folder(&[("a.yaml", yaml)]));
        let cdi = Cdi::at(vec![first.path().into(), second.path().into()]);
        let mut spec = spec();
        cdi.inject(&["vendor.com/class=a".into()], &mut spec).expect("injected");
        assert_eq!(spec.process.expect("a process").env, ["A=yaml"]);
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let dir = folder(&[("a.json", JSON), ("b.json", JSON)]);
        let cdi = Cdi::at(vec![dir.path().into()]);
        let failed =
            |name: &str| cdi.inject(&[name.to_owned()], &mut spec()).expect_err("refused").to_string();
        assert!(failed("vendor.com/class=a").contains("conflicting device \"vendor.com/class=a\""));
        let unknown = "CDI device injection failed: unresolvable CDI devices vendor.com/class=x";
        assert_eq!(failed("vendor.com/class=x"), unknown);
        assert!(cdi.devices().is_empty());
    }
}
