//! Relative paths become absolute ones, from the folder of the project (or of the file that was included).

use std::path::{Component, Path as FsPath, PathBuf};

use dray_spec::glob::clean_path;

use super::node::{Map, Node, Path, Value};
use crate::error::Error;

/// What paths start from.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// The folder of relative paths.
    pub folder: &'a str,
    /// The home folder, for `~`.
    pub home: &'a str,
    /// Follows symbolic links of watched paths.
    pub follow: &'a dyn Fn(&str) -> String,
}

/// Makes all paths of a tree absolute.
///
/// # Errors
/// A bind mount has no source.
pub fn resolve(node: &mut Node, path: &Path, base: &Base<'_>) -> Result<(), Error> {
    match path.parts() {
        [s, _, b, c] if s == "services" && b == "build" && c == "context" => context(node, base),
        [s, _, b, c, _] if s == "services" && b == "build" && c == "additional_contexts" => {
            context(node, base)
        }
        [s, _, b, c, _] if s == "services" && b == "build" && c == "ssh" => maybe(node, base),
        [s, _, e, _, p] if s == "services" && e == "env_file" && p == "path" => absolute(node, base),
        [s, _, l, _] if s == "services" && l == "label_file" => absolute(node, base),
        [s, _, e, f] if s == "services" && e == "extends" && f == "file" => absolute(node, base),
        [s, _, d, w, _, p] if s == "services" && d == "develop" && w == "watch" && p == "path" => {
            absolute(node, base);
            change(node, |text| (base.follow)(text));
        }
        [s, _, v, _] if s == "services" && v == "volumes" => return mount(node, base),
        [c, _, f] if (c == "configs" || c == "secrets") && f == "file" => maybe(node, base),
        [v, _] if v == "volumes" => driver_options(node, base),
        _ => return inside(node, path, base),
    }
    Ok(())
}

fn inside(node: &mut Node, path: &Path, base: &Base<'_>) -> Result<(), Error> {
    match &mut node.value {
        Value::Map(map) => {
            map.iter_mut().try_for_each(|(name, value)| resolve(value, &path.next(name), base))
        }
        Value::List(list) => {
            let entry = path.entry();
            list.iter_mut().try_for_each(|value| resolve(value, &entry, base))
        }
        _ => Ok(()),
    }
}

fn change(node: &mut Node, with: impl Fn(&str) -> String) {
    if let Value::Str(text) = &mut node.value {
        *text = with(text);
    }
}

/// `~` is the home folder.
pub fn expand_home(path: &str, home: &str) -> String {
    match path.strip_prefix('~') {
        Some(rest) if !home.is_empty() => join(home, rest),
        _ => path.to_owned(),
    }
}

fn absolute(node: &mut Node, base: &Base<'_>) {
    if let Value::List(list) = &mut node.value {
        list.iter_mut().for_each(|n| absolute(n, base));
        return;
    }
    change(node, |text| {
        let text = expand_home(text, base.home);
        if text.is_empty() || text.starts_with('/') { text } else { join(base.folder, &text) }
    });
}

/// As [`absolute`], but paths of Windows stay.
fn maybe(node: &mut Node, base: &Base<'_>) {
    change(node, |text| {
        let text = expand_home(text, base.home);
        if text.starts_with('/') || is_windows(&text) { text } else { join(base.folder, &text) }
    });
}

fn context(node: &mut Node, base: &Base<'_>) {
    let remote = node.str().is_some_and(|text| {
        text.contains("://")
            || text.starts_with("service:")
            || ["github.com/", "git@"].iter().any(|prefix| text.starts_with(prefix))
    });
    if !remote {
        absolute(node, base);
    }
}

fn mount(node: &mut Node, base: &Base<'_>) -> Result<(), Error> {
    let at = node.at;
    let Some(map) = node.map_mut() else { return Ok(()) };
    if map.get("type").and_then(Node::str) != Some("bind") {
        return Ok(());
    }
    match map.get_mut("source") {
        Some(source) => {
            maybe(source, base);
            Ok(())
        }
        None => {
            Err(Error::rule(at, "invalid mount config for type \"bind\": field Source must not be empty"))
        }
    }
}

/// A local volume with `o: bind` is a bind mount too.
fn driver_options(node: &mut Node, base: &Base<'_>) {
    let Some(volume) = node.map_mut() else { return };
    if volume.get("driver").and_then(Node::str) != Some("local") {
        return;
    }
    let Some(options) = volume.get_mut("driver_opts").and_then(Node::map_mut) else { return };
    if is_bind(options)
        && let Some(device) = options.get_mut("device")
    {
        maybe(device, base);
    }
}

fn is_bind(options: &Map) -> bool {
    options.get("o").and_then(Node::str) == Some("bind")
}

fn is_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    path.starts_with("\\\\")
        || (bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'\\' | b'/'))
}

/// Go's `filepath.Join`: joined, then cleaned.
pub fn join(folder: &str, path: &str) -> String {
    match (folder.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean_path(path),
        (false, true) => clean_path(folder),
        (false, false) => clean_path(&format!("{folder}/{path}")),
    }
}

/// Go's `filepath.Dir`.
pub fn dir(path: &str) -> String {
    match path.rfind('/') {
        Some(i) => clean_path(&path[..=i]),
        None => ".".to_owned(),
    }
}

/// Go's `filepath.Rel` of two absolute or two relative paths.
pub fn relative(base: &str, target: &str) -> Option<String> {
    let (base, target) = (PathBuf::from(clean_path(base)), PathBuf::from(clean_path(target)));
    if base.is_absolute() != target.is_absolute() {
        return None;
    }
    fn parts(p: &FsPath) -> Vec<Component<'_>> {
        p.components().filter(|c| !matches!(c, Component::CurDir)).collect()
    }
    let (from, to) = (parts(&base), parts(&target));
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if from[same..].contains(&Component::ParentDir) {
        return None;
    }
    let up = std::iter::repeat_n("..".to_owned(), from.len() - same);
    let down = to[same..].iter().map(|c| c.as_os_str().to_string_lossy().into_owned());
    let all: Vec<String> = up.chain(down).collect();
    Some(if all.is_empty() { ".".to_owned() } else { all.join("/") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_is_go_s() {
        for (path, wanted) in [
            ("", "."),
            ("a//b/./c/", "a/b/c"),
            ("/../a", "/a"),
            ("../a/..", ".."),
            ("a/../..", ".."),
            ("/", "/"),
        ] {
            assert_eq!(clean_path(path), wanted, "{path}");
        }
        assert_eq!(dir("/a/b.yml"), "/a");
        assert_eq!(dir("b.yml"), ".");
        assert_eq!(relative("/a/b", "/a/c/d").unwrap(), "../c/d");
        assert_eq!(relative("/a", "/a").unwrap(), ".");
        assert_eq!(relative("/a", "b"), None);
        assert_eq!(join("/p", "../q"), "/q");
        assert_eq!(expand_home("~/x", "/root"), "/root/x");
    }
}
