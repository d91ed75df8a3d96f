//! `--set pattern.key=value`, and the flags that are short for it.

use std::collections::BTreeMap;

use dray_spec::glob::Glob;

use super::entry::{Entry, Output, Secret, Ssh, parse_all};
use super::{Attest, Target};
use crate::entitlement::Allowed;

/// A change of one key of a target.
#[derive(Clone, Debug, Default)]
pub struct Change {
    value: String,
    values: Vec<String>,
    append: bool,
}

/// Changes by target, and by key.
pub type Changes = BTreeMap<String, BTreeMap<String, Change>>;

/// Keys that take several values.
const LISTS: &[&str] = &[
    "output",
    "cache-to",
    "cache-from",
    "tags",
    "platform",
    "secrets",
    "ssh",
    "attest",
    "entitlements",
    "network",
    "annotations",
];

/// A truth, as Go reads it.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads changes.
///
/// # Errors
/// One is wrong, or is of no target.
pub(crate) fn read(
    texts: &[String],
    targets: &[Target],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Changes, String> {
    let mut changes = Changes::new();
    for text in texts {
        let (left, value) = text.split_once('=').map_or((text.as_str(), None), |(left, v)| (left, Some(v)));
        let (key, append) = left.strip_suffix('+').map_or((left, false), |key| (key, true));
        let parts: Vec<&str> = key.splitn(3, '.').collect();
        let [pattern, kind, ..] = parts[..] else {
            return Err(format!("invalid override key {key}, expected target.name"));
        };
        if value.is_none() && kind != "args" {
            return Err(format!("invalid override {text}, expected target.name=value"));
        }
        for name in fitting(pattern, targets)? {
            let change = changes.entry(name).or_default().entry(parts[1..].join(".")).or_default();
            if LISTS.contains(&kind) {
                change.append = append;
                change.values.extend(value.map(str::to_owned));
                continue;
            }
            if matches!(kind, "args" | "contexts") && parts.len() != 3 {
                return Err(format!("invalid key {left}, {kind} requires name"));
            }
            change.append = append;
            match value.map(str::to_owned).or_else(|| environment(parts.get(2).copied().unwrap_or_default()))
            {
                Some(value) => {
                    change.values.push(value.clone());
                    change.value = value;
                }
                None => forget(&mut changes, &parts[1..].join(".")),
            }
        }
    }
    Ok(changes)
}

/// A build argument that the environment does not have changes nothing.
fn forget(changes: &mut Changes, key: &str) {
    changes.values_mut().for_each(|of_target| {
        if of_target.get(key).is_some_and(|change| change.values.is_empty()) {
            of_target.remove(key);
        }
    });
}

fn fitting(pattern: &str, targets: &[Target]) -> Result<Vec<String>, String> {
    if targets.iter().any(|target| target.name == pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    let glob =
        Glob::path(pattern).map_err(|error| format!("could not match targets with '{pattern}': {error}"));
    let mut names = Vec::new();
    for target in targets {
        if glob.as_ref().map_err(String::clone)?.matches(&target.name) {
            names.push(target.name.clone());
        }
    }
    if names.is_empty() { Err(format!("could not find any target matching '{pattern}'")) } else { Ok(names) }
}

impl Target {
    /// Makes changes; what they name on this machine is allowed thereby.
    pub(crate) fn change(
        &mut self,
        changes: &BTreeMap<String, Change>,
        allowed: &mut Allowed,
    ) -> Result<(), String> {
        let last = |key: &str| matches!(key, "push" | "load");
        for (key, change) in changes.iter().filter(|(key, _)| !last(key)) {
            self.change_one(key, change, allowed)?;
        }
        for (key, change) in changes.iter().filter(|(key, _)| last(key)) {
            let on = self::boolean(&change.value)
                .ok_or_else(|| format!("invalid value {} for boolean key {key}", change.value))?;
            if key == "push" {
                self.push(on)
            } else if on {
                self.load()
            }
        }
        Ok(())
    }

    fn change_one(&mut self, key: &str, change: &Change, allowed: &mut Allowed) -> Result<(), String> {
        let (kind, name) =
            key.split_once('.').map_or((key, None), |(kind, name)| (kind, Some(name.to_owned())));
        let value = || Some(change.value.clone());
        let named = |form: &str| {
            name.clone().ok_or(format!("invalid format for {kind}, expecting {kind}.{form}=<value>"))
        };
        let truth = || {
            boolean(&change.value)
                .map(Some)
                .ok_or_else(|| format!("invalid value {} for boolean key {kind}", change.value))
        };
        let texts = |old: &mut Option<Vec<String>>| {
            if !change.append {
                *old = None;
            }
            old.get_or_insert_default().extend(change.values.iter().cloned());
        };
        match kind {
            "context" => self.context = value(),
            "dockerfile" => self.dockerfile = value(),
            "target" => self.target = value(),
            "call" => self.call = value(),
            "shm-size" => self.shm_size = value(),
            "network" => self.network = change.values.last().cloned(),
            "args" => drop(self.args.get_or_insert_default().insert(named("<name>")?, value())),
            "labels" => drop(self.labels.get_or_insert_default().insert(named("<name>")?, value())),
            "extra-hosts" => {
                drop(self.extra_hosts.get_or_insert_default().insert(named("<hostname>")?, value()))
            }
            "contexts" => {
                drop(self.contexts.get_or_insert_default().insert(named("<name>")?, change.value.clone()));
            }
            "tags" => texts(&mut self.tags),
            "platform" => texts(&mut self.platforms),
            "no-cache-filter" => texts(&mut self.no_cache_filter),
            "ulimits" => texts(&mut self.ulimits),
            "annotations" => self.annotations.get_or_insert_default().extend(change.values.iter().cloned()),
            "no-cache" => self.no_cache = truth()?,
            "pull" => self.pull = truth()?,
            "entitlements" => {
                self.entitlements.get_or_insert_default().extend(change.values.iter().cloned());
                allowed.network_host |= change.values.iter().any(|v| v == "network.host");
                allowed.insecure |= change.values.iter().any(|v| v == "security.insecure");
            }
            "attest" => {
                let attests: Vec<Attest> =
                    parse_all(&change.values).map_err(|why| format!("invalid value for attest: {why}"))?;
                self.attest.get_or_insert_default().extend(attests);
                super::merge::by_key(&mut self.attest, |attest: &Attest| attest.kind.clone());
            }
            "cache-from" => {
                joined(&mut self.cache_from, parse_all::<Entry>(&change.values)?, change.append);
                allowed.read.extend(local(&self.cache_from, "src"));
            }
            "cache-to" => {
                joined(&mut self.cache_to, parse_all::<Entry>(&change.values)?, change.append);
                allowed.write.extend(local(&self.cache_to, "dest"));
            }
            "secrets" => {
                let secrets: Vec<Secret> = parse_all(&change.values).map_err(wrong_output)?;
                joined(&mut self.secrets, secrets, change.append);
                let files = self.secrets.iter().flatten().map(|secret| secret.src.clone());
                allowed.read.extend(files.filter(|file| !file.is_empty()));
            }
            "ssh" => {
                joined(&mut self.ssh, parse_all::<Ssh>(&change.values).map_err(wrong_output)?, change.append);
                allowed.read.extend(self.ssh.iter().flatten().flat_map(|ssh| ssh.paths.clone()));
            }
            "output" => {
                joined(
                    &mut self.outputs,
                    parse_all::<Output>(&change.values).map_err(wrong_output)?,
                    change.append,
                );
                let places = self.outputs.iter().flatten().map(|output| output.dest.clone());
                allowed.write.extend(places.filter(|place| !place.is_empty()));
            }
            other => return Err(format!("unknown key: {other}")),
        }
        Ok(())
    }

    /// `--push`: where an image is put out, it goes to its registry; where nothing is, an image does.
    fn push(&mut self, on: bool) {
        let outputs = self.outputs.get_or_insert_default();
        if !on {
            outputs.retain(|output| output.kind != "registry");
        }
        for output in outputs.iter_mut().filter(|output| output.kind == "image") {
            output.attrs.insert("push".to_owned(), on.to_string());
        }
        if on && outputs.iter().all(|output| output.kind == "docker") {
            let attrs = [("push".to_owned(), "true".to_owned())].into();
            outputs.push(Output { kind: "image".to_owned(), attrs, ..Output::default() });
        }
    }

    /// `--load`: the image is kept, unless something is put out that is none.
    fn load(&mut self) {
        let outputs = self.outputs.get_or_insert_default();
        for output in outputs.iter() {
            match output.kind.as_str() {
                "docker" if output.dest.is_empty() => return,
                "docker" | "image" | "registry" | "oci" => {}
                _ => return,
            }
        }
        outputs.push(Output { kind: "docker".to_owned(), ..Output::default() });
    }
}

fn wrong_output(why: String) -> String {
    format!("invalid value for outputs: {why}")
}

fn joined<T: PartialEq>(old: &mut Option<Vec<T>>, new: Vec<T>, append: bool) {
    match (old.as_mut(), append) {
        (Some(old), true) => old.extend(new),
        _ => *old = Some(new),
    }
    if append {
        super::merge::without_doubles(old);
    }
}

fn local(entries: &Option<Vec<Entry>>, key: &str) -> Vec<String> {
    let local = entries.iter().flatten().filter(|entry| entry.kind == "local");
    local.filter_map(|entry| entry.attrs.get(key).cloned()).collect()
}
