//! What flags' values mean: ports, mounts, environment, limits. Pure: text in, API types or Docker's error text out.

pub mod cache;
pub mod device;
pub mod env;
pub mod host;
pub mod limit;
pub mod mount;
pub mod network;
pub mod output;
pub mod port;
pub mod volume;

use std::path::Path;

/// `key=value` texts as a map; a text without `=` has an empty value.
pub fn pairs(texts: &[String]) -> dray_client::api::Labels {
    texts
        .iter()
        .map(|t| {
            t.split_once('=')
                .map_or_else(|| (t.clone(), String::new()), |(k, v)| (k.to_owned(), v.to_owned()))
        })
        .collect()
}

/// Splits a line of comma-separated values with `"` quotes, as Go's csv reader does.
///
/// # Errors
/// A quote where none may be, or one that does not end.
pub fn csv(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next() {
                    None => {
                        return Err("parse error on line 1: extraneous or missing \" in quoted-field".into());
                    }
                    Some('"') if chars.peek() == Some(&'"') => {
                        chars.next();
                        field.push('"');
                    }
                    Some('"') => break,
                    Some(c) => field.push(c),
                }
            }
            if !matches!(chars.peek(), None | Some(',')) {
                return Err("parse error on line 1: extraneous or missing \" in quoted-field".into());
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                if c == '"' {
                    return Err("parse error on line 1: bare \" in non-quoted field".into());
                }
                field.push(c);
            }
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}

/// A path that begins with `.` made absolute, others as they are.
pub fn absolute_if_relative(path: &str) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    match std::env::current_dir() {
        Ok(dir) => clean(&dir.join(path)),
        Err(_) => path.to_owned(),
    }
}

/// A path without `.`, `..` and doubled slashes, by its text alone.
pub fn clean(path: &Path) -> String {
    use std::path::Component;
    let mut out: Vec<String> = Vec::new();
    let mut rooted = false;
    for part in path.components() {
        match part {
            Component::RootDir => rooted = true,
            Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir if out.last().is_some_and(|p| p != "..") => {
                out.pop();
            }
            Component::ParentDir if rooted => {}
            Component::ParentDir => out.push("..".into()),
            Component::Normal(name) => out.push(name.to_string_lossy().into_owned()),
        }
    }
    let joined = out.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields() {
        assert_eq!(csv("a,b=\"c").unwrap_err(), "parse error on line 1: bare \" in non-quoted field");
        assert_eq!(csv(r#"a,"b,c",d"#).unwrap(), ["a", "b,c", "d"]);
        assert_eq!(csv("").unwrap(), [""]);
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean(Path::new("/a//b/../c/.")), "/a/c");
        assert_eq!(clean(Path::new("../a")), "../a");
        assert_eq!(clean(Path::new("/..")), "/");
    }
}
