//! Reads a command's flags and arguments by pflag's rules.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::{Flag, Kind};

/// Why a command line is refused. The texts are pflag's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No such long flag.
    #[error("unknown flag: --{0}")]
    UnknownLong(String),
    /// No such short flag.
    #[error("unknown shorthand flag: '{letter}' in -{within}")]
    UnknownShort {
        /// The letter.
        letter: char,
        /// The group of letters it stands in.
        within: String,
    },
    /// The line ends where a value should be.
    #[error("flag needs an argument: {0}")]
    NoValue(String),
    /// The value is not what the flag takes.
    #[error("invalid argument \"{value}\" for \"{flag}\" flag: {why}")]
    Value {
        /// The value.
        value: String,
        /// The flag.
        flag: String,
        /// Why.
        why: String,
    },
    /// `---x`, `--=x`.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// `--help` was given.
    #[error("help requested")]
    Help,
}

/// Flags and arguments of a command.
#[derive(Debug, Default)]
pub struct Parsed {
    known: Vec<&'static Flag>,
    given: Vec<(&'static str, String)>,
    /// What is left after the flags.
    pub args: Vec<String>,
    /// The same, for paths that are not UTF-8.
    pub raw_args: Vec<OsString>,
}

/// Reads `argv`. Unless flags may follow arguments, the first argument ends the flags.
///
/// # Errors
/// See [`Error`].
pub fn parse(
    flags: &'static [&'static [Flag]],
    interspersed: bool,
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Error> {
    parse_with(flags.iter().flat_map(|f| f.iter()).collect(), interspersed, argv)
}

/// The same with flags from several places.
///
/// # Errors
/// See [`Error`].
pub fn parse_with(
    known: Vec<&'static Flag>,
    interspersed: bool,
    argv: impl IntoIterator<Item = OsString>,
) -> Result<Parsed, Error> {
    let mut parsed = Parsed { known, ..Parsed::default() };
    let mut rest = argv.into_iter();
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            rest.by_ref().for_each(|w| parsed.argument(w));
        } else if bytes.starts_with(b"--") {
            parsed.long(&text(&word)[2..], &mut rest)?;
        } else if bytes.starts_with(b"-") && bytes.len() > 1 {
            parsed.short(&text(&word)[1..], &mut rest)?;
        } else {
            parsed.argument(word);
            if !interspersed {
                rest.by_ref().for_each(|w| parsed.argument(w));
            }
        }
    }
    Ok(parsed)
}

fn text(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

fn is_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

impl Parsed {
    fn argument(&mut self, word: OsString) {
        self.args.push(text(&word));
        self.raw_args.push(word);
    }

    fn long(&mut self, body: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(), Error> {
        if body.starts_with(['-', '=']) {
            return Err(Error::Syntax(format!("--{body}")));
        }
        let (name, value) = match body.split_once('=') {
            Some((n, v)) => (n, Some(v.to_owned())),
            None => (body, None),
        };
        let Some(flag) = self.known.iter().copied().find(|f| f.long == name) else {
            return Err(if name == "help" { Error::Help } else { Error::UnknownLong(name.to_owned()) });
        };
        let value = match value {
            Some(v) => v,
            None if flag.kind == Kind::Switch => "true".into(),
            None => text(&rest.next().ok_or_else(|| Error::NoValue(format!("--{name}")))?),
        };
        self.set(flag, value)
    }

    fn short(&mut self, letters: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(), Error> {
        let mut left = letters;
        while let Some(letter) = left.chars().next() {
            let within = left;
            left = &left[letter.len_utf8()..];
            let Some(flag) = self.known.iter().copied().find(|f| f.short == Some(letter)) else {
                if letter == 'h' {
                    return Err(Error::Help);
                }
                return Err(Error::UnknownShort { letter, within: within.to_owned() });
            };
            if let Some(value) = left.strip_prefix('=') {
                return self.set(flag, value.to_owned());
            }
            if flag.kind == Kind::Switch {
                self.set(flag, "true".into())?;
                continue;
            }
            let value = if left.is_empty() {
                let missing = || Error::NoValue(format!("'{letter}' in -{within}"));
                text(&rest.next().ok_or_else(missing)?)
            } else {
                left.to_owned()
            };
            return self.set(flag, value);
        }
        Ok(())
    }

    fn set(&mut self, flag: &'static Flag, value: String) -> Result<(), Error> {
        let refuse = |why: String| Error::Value { value: value.clone(), flag: flag.name(), why };
        if flag.kind == Kind::Switch && is_bool(&value).is_none() {
            return Err(refuse(format!("strconv.ParseBool: parsing \"{value}\": invalid syntax")));
        }
        if let Some(check) = flag.check {
            check(&value).map_err(refuse)?;
        }
        if flag.kind == Kind::Commas {
            self.given.extend(value.split(',').filter(|v| !v.is_empty()).map(|v| (flag.long, v.to_owned())));
        } else {
            self.given.push((flag.long, value));
        }
        Ok(())
    }

    /// Takes what was given of some flags elsewhere, later than here.
    pub fn take_over(&mut self, flags: &'static [Flag], from: &Parsed) {
        let wanted = from.given.iter().filter(|(long, _)| flags.iter().any(|flag| flag.long == *long));
        self.given.extend(wanted.cloned());
    }

    /// Whether a flag was given at all.
    pub fn given(&self, long: &str) -> bool {
        self.given.iter().any(|(n, _)| *n == long)
    }

    /// The value of a flag: the last given, or its default.
    pub fn get(&self, long: &str) -> &str {
        let last = self.given.iter().rev().find(|(n, _)| *n == long).map(|(_, v)| v.as_str());
        last.unwrap_or_else(|| self.known.iter().find(|f| f.long == long).map_or("", |f| f.default))
    }

    /// Whether a switch is on.
    pub fn is(&self, long: &str) -> bool {
        is_bool(self.get(long)).unwrap_or(false)
    }

    /// All values of a flag.
    pub fn all(&self, long: &str) -> Vec<String> {
        self.given.iter().filter(|(n, _)| *n == long).map(|(_, v)| v.clone()).collect()
    }

    /// All values of a flag, or nothing.
    pub fn some(&self, long: &str) -> Option<Vec<String>> {
        Some(self.all(long)).filter(|l| !l.is_empty())
    }

    /// A number; flags with a check have refused others before.
    pub fn int(&self, long: &str) -> i64 {
        super::parse_int(self.get(long)).unwrap_or(0)
    }

    /// A size in bytes, or 0.
    pub fn size(&self, long: &str) -> i64 {
        dray_client::api::size::parse_binary(self.get(long)).unwrap_or(0)
    }

    /// A duration in nanoseconds, or 0.
    pub fn nanos(&self, long: &str) -> i64 {
        dray_spec::golang::parse_duration(self.get(long)).unwrap_or(0)
    }

    /// The filters of `--filter`.
    pub fn filters(&self) -> dray_client::api::Filters {
        let pairs = self.all("filter").into_iter().filter_map(|f| {
            let (name, value) = f.split_once('=')?;
            Some((name.trim().to_lowercase(), value.trim().to_owned()))
        });
        pairs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NONE, commas, int, list, switch, text as text_flag};
    use super::*;

    const FLAGS: &[Flag] = &[
        switch("rm", NONE, ""),
        switch("interactive", 'i', ""),
        switch("tty", 't', ""),
        text_flag("name", NONE, ""),
        list("publish", 'p', ""),
        int("last", 'n', "").default("-1"),
        commas("alias", NONE, ""),
    ];

    fn line(interspersed: bool, words: &[&str]) -> Result<Parsed, Error> {
        parse(&[FLAGS], interspersed, words.iter().map(OsString::from))
    }

    #[test]
    fn forms_of_flags() {
        let p = line(
            false,
            &["-it", "-p8080:80", "-p=1:2", "--publish", "3:4", "--rm=false", "--name", "x", "img", "-x"],
        );
        let p = p.unwrap();
        assert!(p.is("interactive") && p.is("tty") && !p.is("rm") && p.given("rm"));
        assert_eq!(p.all("publish"), ["8080:80", "1:2", "3:4"]);
        assert_eq!((p.get("name"), p.int("last")), ("x", -1));
        assert_eq!(p.args, ["img", "-x"]);
    }

    #[test]
    fn flags_after_arguments() {
        let p = line(true, &["a", "--rm", "b", "--", "--name"]).unwrap();
        assert!(p.is("rm"));
        assert_eq!(p.args, ["a", "b", "--name"]);
        assert_eq!(line(true, &["--alias", "a,b"]).unwrap().all("alias"), ["a", "b"]);
    }

    #[test]
    fn refusals() {
        for (words, want) in [
            (vec!["--foo"], "unknown flag: --foo"),
            (vec!["-iZ"], "unknown shorthand flag: 'Z' in -Z"),
            (vec!["--name"], "flag needs an argument: --name"),
            (vec!["-p"], "flag needs an argument: 'p' in -p"),
            (vec!["---x"], "bad flag syntax: ---x"),
            (
                vec!["-n", "abc"],
                "invalid argument \"abc\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax",
            ),
            (
                vec!["--rm=foo"],
                "invalid argument \"foo\" for \"--rm\" flag: strconv.ParseBool: parsing \"foo\": invalid syntax",
            ),
        ] {
            assert_eq!(line(true, &words).unwrap_err().to_string(), want);
        }
        assert_eq!(line(true, &["--help"]).unwrap_err(), Error::Help);
    }
}
