//! Mounts in their short form: `[SOURCE:]TARGET[:OPTIONS]`. A source that looks like a path is a bind mount.

use super::node::{Map, Node};

const PROPAGATIONS: &[&str] = &["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// A mount in its short form: `[SOURCE:]TARGET[:OPTIONS]`.
#[derive(Default)]
pub struct Volume {
    source: String,
    target: String,
    read_only: bool,
    propagation: String,
    selinux: String,
    no_copy: bool,
}

/// Where a short form mounts.
///
/// # Errors
/// It is none.
pub fn target(spec: &str) -> Result<String, String> {
    parse(spec).map(|v| v.target)
}

/// Reads a short form.
///
/// # Errors
/// It is none.
pub fn parse(spec: &str) -> Result<Volume, String> {
    let mut volume = Volume::default();
    if spec.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    if spec.len() <= 2 {
        volume.target = spec.to_owned();
        return Ok(volume);
    }
    let mut part = String::new();
    let mut depth = 0;
    let chars: Vec<char> = spec.chars().collect();
    for (i, c) in chars.iter().copied().map(Some).chain([None]).enumerate() {
        match c {
            Some('$') if chars.get(i + 1) == Some(&'{') => depth += 1,
            Some('}') if depth > 0 => depth -= 1,
            Some(':') if part.len() == 1 && part.starts_with(char::is_alphabetic) => {}
            Some(':') | None if depth == 0 => {
                fill(&mut volume, &part, c.is_none()).map_err(|e| format!("invalid spec: {spec}: {e}"))?;
                part.clear();
                continue;
            }
            _ => {}
        }
        part.extend(c);
    }
    Ok(volume)
}

fn fill(volume: &mut Volume, part: &str, last: bool) -> Result<(), &'static str> {
    if part.is_empty() {
        return Err("empty section between colons");
    }
    if volume.source.is_empty() {
        *(if last { &mut volume.target } else { &mut volume.source }) = part.to_owned();
        return Ok(());
    }
    if volume.target.is_empty() {
        part.clone_into(&mut volume.target);
        return Ok(());
    }
    if !last {
        return Err("too many colons");
    }
    for option in part.split(',') {
        match option {
            "ro" => volume.read_only = true,
            "rw" => volume.read_only = false,
            "nocopy" => volume.no_copy = true,
            "z" | "Z" => option.clone_into(&mut volume.selinux),
            _ if PROPAGATIONS.contains(&option) => option.clone_into(&mut volume.propagation),
            _ => {}
        }
    }
    Ok(())
}

fn is_file(source: &str) -> bool {
    let mut chars = source.chars();
    match chars.next() {
        None => false,
        Some('.' | '/' | '~') => true,
        Some(first) => source.starts_with("\\\\") || (first.is_alphabetic() && chars.next() == Some(':')),
    }
}

impl Volume {
    /// The long form.
    pub fn node(&self, spec: &str) -> Node {
        let bind = is_file(&self.source);
        let mut map = Map::new();
        let mut set = |name: &str, value: Node| map.insert(name.to_owned(), value);
        set("type", if bind { "bind" } else { "volume" }.into());
        if !self.source.is_empty() {
            set("source", self.source.as_str().into());
        }
        if !self.target.is_empty() {
            set("target", dray_spec::glob::clean_path(&self.target).into());
        }
        if self.read_only {
            set("read_only", true.into());
        }
        let mut options = Map::new();
        if !self.selinux.is_empty() {
            options.insert("selinux".into(), self.selinux.as_str().into());
        }
        if !self.propagation.is_empty() {
            options.insert("propagation".into(), self.propagation.as_str().into());
        }
        if bind {
            options.insert("create_host_path".into(), true.into());
        }
        if bind || !options.is_empty() {
            set("bind", options.into());
        }
        if self.no_copy {
            set("volume", Map::from([("nocopy".to_owned(), true.into())]).into());
        } else if !bind && spec.len() > 2 {
            set("volume", Map::new().into());
        }
        map.into()
    }
}
