//! Flags as Docker's command line has them (the rules of Go's pflag), from one definition: parsing, help, completion.
//!
//! The tables are constants: nothing is built before `argv` is looked at, so that a command reaches its socket in
//! microseconds. A `clap` tree is made of the same tables for shell completion only.

mod help;
mod parse;

pub use help::{columns, flags_text};
pub use parse::{Error, Parsed, parse, parse_with};

/// Says why a flag's value is refused, in Docker's words.
pub type Check = fn(&str) -> Result<(), String>;

/// How a flag takes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag` or `--flag=false`.
    Switch,
    /// The last value counts.
    One,
    /// Each value counts.
    Many,
    /// Each value counts and may hold several with commas.
    Commas,
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Name after `--`.
    pub long: &'static str,
    /// Letter after `-`.
    pub short: Option<char>,
    /// How it takes values.
    pub kind: Kind,
    /// The value's kind as help shows it.
    pub shown: &'static str,
    /// Value when not given.
    pub default: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Not in help.
    pub hidden: bool,
    check: Option<Check>,
}

const fn flag(long: &'static str, short: char, kind: Kind, shown: &'static str, about: &'static str) -> Flag {
    let short = if short == '\0' { None } else { Some(short) };
    Flag { long, short, kind, shown, default: "", about, hidden: false, check: None }
}

/// No short form.
pub const NONE: char = '\0';

/// A switch, off by default.
pub const fn switch(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::Switch, "", about)
}

/// A text, the last one counts.
pub const fn text(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::One, "string", about)
}

/// A list: each one counts.
pub const fn list(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::Many, "list", about)
}

/// A list whose values may hold several with commas.
pub const fn commas(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::Commas, "strings", about)
}

/// A whole number.
pub const fn int(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::One, "int", about).check(check_int)
}

/// A size such as `512m`.
pub const fn bytes(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::One, "bytes", about).check(check_bytes)
}

/// A duration such as `1m30s`.
pub const fn duration(long: &'static str, short: char, about: &'static str) -> Flag {
    flag(long, short, Kind::One, "duration", about).check(check_duration)
}

/// `--filter name=value`.
pub const fn filter(short: char, about: &'static str) -> Flag {
    flag("filter", short, Kind::Many, "filter", about).check(check_filter)
}

impl Flag {
    /// With the kind of value that help shows.
    pub const fn shown(mut self, shown: &'static str) -> Flag {
        self.shown = shown;
        self
    }

    /// With a value when not given.
    pub const fn default(mut self, default: &'static str) -> Flag {
        self.default = default;
        self
    }

    /// With a check of each value.
    pub const fn check(mut self, check: Check) -> Flag {
        self.check = Some(check);
        self
    }

    /// Left out of help.
    pub const fn hidden(mut self) -> Flag {
        self.hidden = true;
        self
    }

    /// The flag as messages name it: `-m, --memory`.
    pub fn name(&self) -> String {
        match self.short {
            Some(c) => format!("-{c}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

/// Refuses what is not a whole number, in the words of Go's strconv.
///
/// # Errors
/// It is none.
pub fn check_int(value: &str) -> Result<(), String> {
    parse_int(value).map(|_| ())
}

/// A whole number, decimal, hex or octal.
///
/// # Errors
/// It is none; the text is Go's.
pub fn parse_int(value: &str) -> Result<i64, String> {
    let (sign, digits) = match value.strip_prefix('-') {
        Some(d) => (-1, d),
        None => (1, value.strip_prefix('+').unwrap_or(value)),
    };
    let lower = digits.to_ascii_lowercase();
    let parsed = if let Some(hex) = lower.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        i128::from_str_radix(&lower, 8)
    } else {
        lower.parse::<i128>()
    };
    let go = |what| format!("strconv.ParseInt: parsing \"{value}\": {what}");
    match parsed {
        Ok(n) if !digits.starts_with(['-', '+']) => {
            i64::try_from(sign * n).map_err(|_| go("value out of range"))
        }
        _ => Err(go("invalid syntax")),
    }
}

fn check_bytes(value: &str) -> Result<(), String> {
    dray_client::api::size::parse_binary(value).map(|_| ())
}

fn check_duration(value: &str) -> Result<(), String> {
    dray_spec::golang::parse_duration(value).map(|_| ()).map_err(|error| error.to_string())
}

fn check_filter(value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".into())
}
