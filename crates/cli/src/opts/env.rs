//! `-e`, `--env-file`, `--label-file`: `KEY=value` lines, or `KEY` alone for the value of this process.

use std::path::Path;

use crate::command_error::Sys;

/// The environment of a container: files first, then flags, which win by coming later.
///
/// # Errors
/// A file cannot be read or used.
pub fn environment(files: &[String], flags: &[String]) -> Result<Vec<String>, String> {
    let own = |key: &str| std::env::var(key).ok();
    let mut out = Vec::new();
    for file in files {
        out.extend(read_file(file, Some(&own))?);
    }
    for flag in flags {
        if flag.contains('=') {
            out.push(flag.clone());
        } else if let Some(value) = own(flag) {
            out.push(format!("{flag}={value}"));
        }
    }
    Ok(out)
}

/// Labels: files first, then flags.
///
/// # Errors
/// A file cannot be read or used.
pub fn labels(files: &[String], flags: &[String]) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for file in files {
        out.extend(read_file(file, None)?);
    }
    out.extend_from_slice(flags);
    Ok(out)
}

/// For the check of `-e`.
///
/// # Errors
/// There is no name.
pub fn check_env(value: &str) -> Result<(), String> {
    if value.is_empty() || value.starts_with('=') {
        return Err(format!("invalid environment variable: {value}"));
    }
    Ok(())
}

/// For the check of `-l`.
///
/// # Errors
/// There is no name.
pub fn check_label(value: &str) -> Result<(), String> {
    let key = value.split('=').next().unwrap_or_default().trim_start();
    if key.is_empty() {
        return Err(format!("invalid label '{value}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

/// Looks a variable up.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn read_file(name: &str, lookup: Option<Lookup<'_>>) -> Result<Vec<String>, String> {
    let bytes = std::fs::read(Path::new(name)).map_err(|e| format!("open {name}: {}", Sys(e)))?;
    parse(&bytes, lookup).map_err(|e| format!("invalid env file ({name}): {e}"))
}

fn parse(bytes: &[u8], lookup: Option<Lookup<'_>>) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map_err(|_| format!("invalid utf8 bytes at line {}: {line:?}", i + 1))?
            .trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split('=').next().unwrap_or_default();
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains([' ', '\t']) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        match (line.contains('='), lookup) {
            (true, _) => out.push(line.to_owned()),
            (false, Some(lookup)) => out.extend(lookup(key).map(|v| format!("{key}={v}"))),
            // A label without a value in a file is no label for Docker.
            (false, None) => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_variables() {
        let own = |key: &str| (key == "HAVE").then(|| "it".to_owned());
        let text = b"\xef\xbb\xbf# comment\n\n A=b c \nHAVE\nNOT\nE=\r\n";
        assert_eq!(parse(text, Some(&own)).unwrap(), ["A=b c ", "HAVE=it", "E="]);
        assert_eq!(parse(b"l=1\nm", None).unwrap(), ["l=1"]);
        assert_eq!(parse(b"a b=c", None).unwrap_err(), "variable 'a b' contains whitespaces");
        assert_eq!(parse(b"=c", None).unwrap_err(), "no variable name on line '=c'");
        assert!(parse(b"\xff=c", None).unwrap_err().starts_with("invalid utf8 bytes at line 1"));
        let missing = environment(&["/nope".into()], &[]).unwrap_err();
        assert_eq!(missing, "open /nope: no such file or directory");
    }

    #[test]
    fn flags_win_by_coming_later() {
        assert_eq!(
            environment(&[], &["A=1".into(), "DRAY_SURELY_UNSET".into(), "A=2".into()]).unwrap(),
            ["A=1", "A=2"]
        );
    }
}
