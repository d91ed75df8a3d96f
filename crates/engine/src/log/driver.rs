//! Log drivers and their options: which there are is checked when a container is created, what they are set to when
//! it starts, as in Docker.

use std::collections::BTreeMap;

use dray_api::size;

use super::{Error, OptionError};

/// Size at which a log file is rotated when no `max-size` is given.
pub const DEFAULT_MAX_SIZE: u64 = 20 * 1024 * 1024;
/// How many files a log has when no `max-file` is given.
pub const DEFAULT_MAX_FILE: u32 = 5;
/// What may wait for the disk with `mode=non-blocking` when no `max-buffer-size` is given.
pub const DEFAULT_BUFFER: u64 = 1_000_000;

/// How a log file is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLog {
    /// Rotate when the file would grow past this; none is unbounded (`max-size=-1`).
    pub max_size: Option<u64>,
    /// Files kept in all.
    pub max_file: u32,
    /// Whether older files are compressed.
    pub compress: bool,
    /// Bytes that wait for the disk before output is dropped (`mode=non-blocking`); without it the program waits.
    pub buffer: Option<u64>,
}

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Driver {
    /// One JSON object a line, as Docker writes it; `LogPath` is public.
    JsonFile(FileLog),
    /// The same bytes in a place of our own; Docker's form of it is private too.
    Local(FileLog),
    /// Nowhere.
    None,
}

type Options = BTreeMap<String, String>;

impl Driver {
    /// Checks what Docker checks when a container is created or the daemon configured: the names of driver and options,
    /// and the mode. An empty name is the default, `json-file`.
    ///
    /// # Errors
    /// For an unknown driver, option or mode.
    pub fn check(name: &str, options: &Options) -> Result<(), Error> {
        const FILE: &[&str] =
            &["max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
        const COMMON: &[&str] = &["mode", "max-buffer-size"];
        if name == "none" {
            return Ok(());
        }
        check_mode(options)?;
        if !matches!(name, "" | "json-file" | "local") {
            return Err(Error::UnknownDriver(name.to_owned()));
        }
        let known = |option: &str| FILE.contains(&option) || COMMON.contains(&option);
        match options.keys().find(|option| !known(option)) {
            Some(option) if name == "local" => Err(Error::UnknownLocalOption(option.clone())),
            Some(option) => Err(Error::UnknownOption(option.clone())),
            None => Ok(()),
        }
    }

    /// Reads a container's `LogConfig`.
    ///
    /// # Errors
    /// As [`Driver::check`], and for a value that cannot be read or that contradicts another.
    pub fn parse(name: &str, options: &Options) -> Result<Self, Error> {
        Self::check(name, options)?;
        match name {
            "none" => Ok(Self::None),
            "local" => Ok(Self::Local(local(options)?)),
            _ => Ok(Self::JsonFile(json_file(options)?)),
        }
    }
}

fn check_mode(options: &Options) -> Result<(), Error> {
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::UnknownMode(mode.to_owned()));
    }
    let Some(raw) = options.get("max-buffer-size") else { return Ok(()) };
    if mode != "non-blocking" {
        return Err(Error::BufferWithoutMode);
    }
    size::parse_binary(raw).map(|_| ()).map_err(Error::BufferSize)
}

fn buffer(options: &Options) -> Option<u64> {
    if options.get("mode").is_none_or(|mode| mode != "non-blocking") {
        return None;
    }
    let asked = options.get("max-buffer-size").and_then(|raw| size::parse_binary(raw).ok());
    Some(asked.and_then(|size| u64::try_from(size).ok()).unwrap_or(DEFAULT_BUFFER))
}

fn json_file(options: &Options) -> Result<FileLog, OptionError> {
    let max_size = match options.get("max-size").map(String::as_str) {
        None => Some(DEFAULT_MAX_SIZE),
        Some("-1") => None,
        Some(raw) => match size::parse_decimal(raw).map_err(OptionError::Size)? {
            size @ 1.. => Some(size.unsigned_abs()),
            _ => return Err(OptionError::NoSize),
        },
    };
    let max_file = match options.get("max-file") {
        // As Docker: who says a size and no number wants one file.
        None if options.contains_key("max-size") => 1,
        None => DEFAULT_MAX_FILE,
        Some(raw) => match integer(raw)? {
            count @ 1.. => u32::try_from(count).unwrap_or(u32::MAX),
            _ => return Err(OptionError::NoFile),
        },
    };
    let compress = options.get("compress").map(|raw| boolean(raw)).transpose()?.unwrap_or(false);
    if compress && (max_file == 1 || max_size.is_none()) {
        return Err(OptionError::NothingToCompress);
    }
    Ok(FileLog { max_size, max_file, compress, buffer: buffer(options) })
}

fn local(options: &Options) -> Result<FileLog, OptionError> {
    let max_size = match options.get("max-size") {
        None => DEFAULT_MAX_SIZE,
        Some(raw) => {
            let size = size::parse_decimal(raw).map_err(|reason| OptionError::LocalValue {
                option: "max-size",
                value: raw.clone(),
                reason,
            })?;
            size.unsigned_abs()
        }
    };
    let max_file = match options.get("max-file") {
        None => i64::from(DEFAULT_MAX_FILE),
        Some(raw) => integer(raw).map_err(|error| OptionError::LocalValue {
            option: "max-file",
            value: raw.clone(),
            reason: error.to_string(),
        })?,
    };
    let Ok(max_file) = u32::try_from(max_file) else { return Err(OptionError::NegativeFiles) };
    let compress = match options.get("compress") {
        None => true,
        Some(raw) => boolean(raw).map_err(|error| OptionError::LocalBool(error.to_string()))?,
    };
    if compress && max_file <= 1 {
        return Err(OptionError::OneFileCompressed);
    }
    Ok(FileLog { max_size: Some(max_size), max_file, compress, buffer: buffer(options) })
}

/// A number as Go's `strconv.Atoi` reads it.
fn integer(raw: &str) -> Result<i64, OptionError> {
    raw.parse().map_err(|error: std::num::ParseIntError| {
        let range =
            matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
        let reason = if range { "value out of range" } else { "invalid syntax" };
        OptionError::Integer { value: raw.to_owned(), reason }
    })
}

/// A truth as Go's `strconv.ParseBool` reads it.
fn boolean(raw: &str) -> Result<bool, OptionError> {
    match raw {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(OptionError::Bool(raw.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    const BOUNDED: FileLog = FileLog {
        max_size: Some(DEFAULT_MAX_SIZE),
        max_file: DEFAULT_MAX_FILE,
        compress: false,
        buffer: None,
    };

    #[test]
    fn bounded_by_default() {
        assert_eq!(Driver::parse("", &options(&[])).unwrap(), Driver::JsonFile(BOUNDED));
        let local = Driver::parse("local", &options(&[])).unwrap();
        assert_eq!(local, Driver::Local(FileLog { compress: true, ..BOUNDED }));
        let asked = Driver::parse("json-file", &options(&[("max-size", "10k"), ("max-file", "3")])).unwrap();
        assert_eq!(asked, Driver::JsonFile(FileLog { max_size: Some(10_000), max_file: 3, ..BOUNDED }));
        let unbounded = Driver::parse("json-file", &options(&[("max-size", "-1")])).unwrap();
        assert_eq!(unbounded, Driver::JsonFile(FileLog { max_size: None, max_file: 1, ..BOUNDED }));
    }

    #[test]
    fn the_mode_decides_whether_the_program_waits() {
        let parse = |pairs: &[(&str, &str)]| match Driver::parse("json-file", &options(pairs)).unwrap() {
            Driver::JsonFile(log) => log.buffer,
            _ => None,
        };
        assert_eq!(parse(&[("mode", "blocking")]), None);
        assert_eq!(parse(&[("mode", "non-blocking")]), Some(DEFAULT_BUFFER));
        assert_eq!(parse(&[("mode", "non-blocking"), ("max-buffer-size", "4m")]), Some(4 << 20));
    }

    #[test]
    fn refuses_at_creation_what_docker_refuses_there() {
        let error = |name, pairs: &[(&str, &str)]| {
            let options = options(pairs);
            Driver::check(name, &options).map_or_else(|error| error.to_string(), |()| String::new())
        };
        assert_eq!(
            error("nosuch", &[]),
            "error looking up logging plugin nosuch: plugin \"nosuch\" not found"
        );
        assert_eq!(error("json-file", &[("bad", "1")]), "unknown log opt 'bad' for json-file log driver");
        assert_eq!(error("local", &[("bad", "1")]), "unknown log opt 'bad' for log driver local");
        assert_eq!(error("none", &[("max-size", "1m")]), "", "Docker does not look");
        assert_eq!(error("json-file", &[("mode", "later")]), "logger: logging mode not supported: later");
        assert_eq!(
            error("local", &[("max-buffer-size", "1m")]),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        );
        assert_eq!(
            error("local", &[("max-buffer-size", "x"), ("mode", "non-blocking")]),
            "error parsing option max-buffer-size: invalid size: 'x'"
        );
        assert_eq!(error("json-file", &[("max-size", "1q")]), "", "values are read at the start");
    }

    #[test]
    fn refuses_at_start_what_docker_refuses_there() {
        const INIT: &str = "failed to create task for container: failed to initialize logging driver: ";
        let error = |name, pairs: &[(&str, &str)]| {
            let said = Driver::parse(name, &options(pairs)).unwrap_err().to_string();
            said.strip_prefix(INIT).expect("Docker's words before it").to_owned()
        };
        assert_eq!(error("json-file", &[("max-size", "1q")]), "invalid suffix: 'q'");
        assert_eq!(error("json-file", &[("max-size", "0")]), "max-size must be a positive number");
        assert_eq!(error("json-file", &[("max-file", "0")]), "max-file cannot be less than 1");
        assert_eq!(error("json-file", &[("max-file", "x")]), "strconv.Atoi: parsing \"x\": invalid syntax");
        assert_eq!(
            error("json-file", &[("compress", "yes")]),
            "strconv.ParseBool: parsing \"yes\": invalid syntax"
        );
        assert_eq!(
            error("json-file", &[("compress", "true"), ("max-size", "1m")]),
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        );
        assert_eq!(
            error("local", &[("max-file", "1")]),
            "compression cannot be enabled when max file count is 1"
        );
        assert_eq!(error("local", &[("max-file", "-1")]), "max-file must not be negative");
        assert_eq!(error("local", &[("max-size", "x")]), "invalid value for max-size: x: invalid size: 'x'");
    }
}
