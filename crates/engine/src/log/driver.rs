//! Log drivers and their options.

use std::collections::BTreeMap;

use super::Error;

/// Size at which a log file is rotated when no `max-size` is given.
pub const DEFAULT_MAX_SIZE: u64 = 20 * 1024 * 1024;
/// How many files a log has when no `max-file` is given.
pub const DEFAULT_MAX_FILE: u32 = 5;

/// How a log file is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Rotate when the file would grow past this; none is unbounded (`max-size=-1`).
    pub max_size: Option<u64>,
    /// Files kept in all.
    pub max_file: u32,
}

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// One JSON object a line, as Docker writes it; `LogPath` is public.
    JsonFile(Rotation),
    /// The same bytes in a place of our own; Docker's form of it is private too.
    Local(Rotation),
    /// Nowhere.
    None,
}

impl Driver {
    /// Reads a container's `LogConfig`; an empty name is the default, `json-file`.
    ///
    /// # Errors
    /// For an unknown driver or option, or a value that cannot be read.
    pub fn parse(name: &str, options: &BTreeMap<String, String>) -> Result<Self, Error> {
        const FILE: &[&str] = &["max-size", "max-file", "compress", "mode", "max-buffer-size"];
        const JSON: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];
        const NONE: &[&str] = &["mode", "max-buffer-size"];
        match name {
            "" | "json-file" => {
                known("json-file", options, &[FILE, JSON])?;
                rotation(options).map(Self::JsonFile)
            }
            "local" => {
                known("local", options, &[FILE])?;
                rotation(options).map(Self::Local)
            }
            "none" => known("none", options, &[NONE]).map(|()| Self::None),
            _ => Err(Error::UnknownDriver(name.to_owned())),
        }
    }
}

fn known(driver: &'static str, options: &BTreeMap<String, String>, sets: &[&[&str]]) -> Result<(), Error> {
    match options.keys().find(|option| !sets.iter().any(|set| set.contains(&option.as_str()))) {
        Some(option) => Err(Error::UnknownOption { driver, option: option.clone() }),
        None => Ok(()),
    }
}

fn rotation(options: &BTreeMap<String, String>) -> Result<Rotation, Error> {
    let invalid = |option, value: &str| Error::InvalidOption { option, value: value.to_owned() };
    let max_size = match options.get("max-size").map(String::as_str) {
        None => Some(DEFAULT_MAX_SIZE),
        Some("-1") => None,
        Some(raw) => Some(size(raw).filter(|size| *size > 0).ok_or_else(|| invalid("max-size", raw))?),
    };
    let max_file = match options.get("max-file").map(String::as_str) {
        None if options.contains_key("max-size") => 1,
        None => DEFAULT_MAX_FILE,
        Some(raw) => raw.parse().ok().filter(|count| *count > 0).ok_or_else(|| invalid("max-file", raw))?,
    };
    if let Some(raw) = options.get("compress")
        && !matches!(
            raw.as_str(),
            "true" | "false" | "1" | "0" | "t" | "f" | "True" | "False" | "TRUE" | "FALSE"
        )
    {
        return Err(invalid("compress", raw));
    }
    match options.get("mode").map(String::as_str) {
        None | Some("" | "blocking" | "non-blocking") => {}
        Some(raw) => return Err(invalid("mode", raw)),
    }
    Ok(Rotation { max_size, max_file })
}

/// Reads a size like `10m`, `1.5g`, `512kb` or `4096`, in powers of 1024 as Docker does.
fn size(raw: &str) -> Option<u64> {
    let lower = raw.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match lower[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let value: f64 =
        digits.trim_end().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
    // Far inside what a float holds exactly for any log that fits on a disk.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((value * unit) as u64)
}

/// The attributes that `--details` shows: the labels and variables chosen by the options, as
/// `key=value,key=value`, sorted. They do not change while a container lives, so they are not
/// kept with each line.
pub fn details(
    options: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    env: &[String],
) -> String {
    let mut chosen = BTreeMap::new();
    let names = |option: &str| -> Vec<String> {
        let list = options.get(option).map(String::as_str).unwrap_or_default();
        list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let pattern = |option: &str| options.get(option).and_then(|raw| regex_lite::Regex::new(raw).ok());
    let (label_names, label_pattern) = (names("labels"), pattern("labels-regex"));
    for (key, value) in labels {
        if label_names.contains(key) || label_pattern.as_ref().is_some_and(|p| p.is_match(key)) {
            chosen.insert(key.as_str(), value.as_str());
        }
    }
    let (env_names, env_pattern) = (names("env"), pattern("env-regex"));
    for (key, value) in env.iter().filter_map(|line| line.split_once('=')) {
        if env_names.iter().any(|name| name == key) || env_pattern.as_ref().is_some_and(|p| p.is_match(key)) {
            chosen.insert(key, value);
        }
    }
    chosen.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn bounded_by_default() {
        let bounded = Rotation { max_size: Some(20 << 20), max_file: 5 };
        assert_eq!(Driver::parse("", &options(&[])).unwrap(), Driver::JsonFile(bounded));
        assert_eq!(Driver::parse("local", &options(&[])).unwrap(), Driver::Local(bounded));
        let asked = Driver::parse("json-file", &options(&[("max-size", "10k"), ("max-file", "3")])).unwrap();
        assert_eq!(asked, Driver::JsonFile(Rotation { max_size: Some(10240), max_file: 3 }));
        let unbounded = Driver::parse("json-file", &options(&[("max-size", "-1")])).unwrap();
        assert_eq!(unbounded, Driver::JsonFile(Rotation { max_size: None, max_file: 1 }));
    }

    #[test]
    fn refuses_unknown_drivers_options_and_values() {
        let error =
            |name, pairs: &[(&str, &str)]| Driver::parse(name, &options(pairs)).unwrap_err().to_string();
        assert_eq!(
            error("nosuch", &[]),
            "error looking up logging plugin nosuch: plugin \"nosuch\" not found"
        );
        assert_eq!(error("json-file", &[("bad", "1")]), "unknown log opt 'bad' for json-file log driver");
        assert_eq!(error("none", &[("max-size", "1m")]), "unknown log opt 'max-size' for none log driver");
        assert_eq!(error("json-file", &[("max-size", "1q")]), "invalid value for log opt 'max-size': 1q");
        assert_eq!(error("json-file", &[("max-file", "0")]), "invalid value for log opt 'max-file': 0");
    }

    #[test]
    fn sizes() {
        for (raw, bytes) in
            [("4096", 4096), ("10k", 10_240), ("1.5m", 1_572_864), ("2gb", 2 << 30), ("1MiB", 1 << 20)]
        {
            assert_eq!(size(raw), Some(bytes), "{raw}");
        }
        assert_eq!(size("x"), None);
        assert_eq!(size("-5"), None);
    }

    #[test]
    fn chosen_attributes() {
        let labels = options(&[("app", "web"), ("secret", "x")]);
        let env = ["MODE=fast".to_owned(), "OTHER=1".to_owned()];
        let chosen = details(&options(&[("labels", "app,nosuch"), ("env-regex", "^MO")]), &labels, &env);
        assert_eq!(chosen, "MODE=fast,app=web");
    }
}
