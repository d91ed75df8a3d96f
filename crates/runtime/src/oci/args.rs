//! Flags as runc takes them: `--name value`, `--name=value`, one dash or two, repeated ones collected.

use super::OciError;

/// One flag of a command.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// One-letter name.
    pub short: &'static str,
    /// Whether a value follows.
    pub value: bool,
}

/// A flag that takes a value.
pub const fn value(name: &'static str, short: &'static str) -> Flag {
    Flag { name, short, value: true }
}

/// A flag that is there or not.
pub const fn switch(name: &'static str, short: &'static str) -> Flag {
    Flag { name, short, value: false }
}

/// What was on the command line.
#[derive(Debug, Default)]
pub struct Args {
    flags: Vec<(&'static str, String)>,
    /// What is no flag.
    pub rest: Vec<String>,
}

impl Args {
    /// Reads flags up to the first word that is none (`stop_early`), or all of them.
    pub fn parse(words: &[String], known: &[Flag], stop_early: bool) -> Result<Args, OciError> {
        let mut args = Args::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                args.rest.extend(words.cloned());
                break;
            }
            let Some(name) =
                word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|n| !n.is_empty())
            else {
                args.rest.push(word.clone());
                if stop_early {
                    args.rest.extend(words.cloned());
                    break;
                }
                continue;
            };
            let (name, given) = match name.split_once('=') {
                Some((name, given)) => (name, Some(given.to_owned())),
                None => (name, None),
            };
            let Some(flag) = known.iter().find(|flag| flag.name == name || flag.short == name) else {
                return Err(OciError::Usage { text: format!("flag provided but not defined: -{name}") });
            };
            let value = match (flag.value, given) {
                (_, Some(given)) => given,
                (false, None) => "true".to_owned(),
                (true, None) => words
                    .next()
                    .cloned()
                    .ok_or_else(|| OciError::Usage { text: format!("flag needs an argument: -{name}") })?,
            };
            args.flags.push((flag.name, value));
        }
        Ok(args)
    }

    /// The last value of a flag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a flag.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value != "false")
    }

    /// The container id: the first word.
    pub fn id(&self) -> Result<&str, OciError> {
        self.rest
            .first()
            .map(String::as_str)
            .ok_or_else(|| OciError::Usage { text: "container id cannot be empty".to_owned() })
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, OciError> {
        self.get(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| OciError::Usage { text: format!("invalid value {text:?} for -{name}") })
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings() {
        let words: Vec<String> = ["--bundle", "/b", "-t", "--env=A=b", "-e", "C=d", "id", "-x", "--", "y"]
            .map(str::to_owned)
            .to_vec();
        let known = [value("bundle", "b"), switch("tty", "t"), value("env", "e")];
        let args = Args::parse(&words, &known, true).unwrap();
        assert_eq!(args.get("bundle"), Some("/b"));
        assert!(args.is_set("tty"));
        assert_eq!(args.all("env").collect::<Vec<_>>(), ["A=b", "C=d"]);
        assert_eq!(args.rest, ["id", "-x", "--", "y"]);
        assert!(Args::parse(&["--nosuch".to_owned()], &known, true).is_err());
    }
}
