//! The specification's own kinds of values: durations, sizes, commands, labels, environments.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use dray_spec::golang;

use super::data::{Data, Form};
use super::field::{Field, mismatch};
use super::words;
use crate::error::Error;
use crate::parse::node::{Node, Path, Value};

fn wrong(node: &Node, path: &Path, text: impl std::fmt::Display) -> Error {
    Error::rule(node.at, format!("{path}: {text}"))
}

/// A time span in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub i64);

impl Field for Duration {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        let text = node.text().ok_or_else(|| mismatch(node, path, "string"))?;
        golang::parse_duration_with_days(&text).map(Duration).map_err(|e| wrong(node, path, e.to_string()))
    }
    fn write(&self, _: Form) -> Data {
        Data::Str(golang::duration_text(self.0))
    }
    fn omitted(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// A number of bytes, written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub i64);

impl Field for Bytes {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Int(i) => Ok(Bytes(*i)),
            Value::Str(text) => bytes(text).map(Bytes).map_err(|e| wrong(node, path, e)),
            _ => Ok(Bytes(0)),
        }
    }
    fn write(&self, _: Form) -> Data {
        Data::Str(self.0.to_string())
    }
    fn omitted(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// `64m`, `1.5GiB`.
#[allow(clippy::cast_possible_truncation, reason = "sizes are cut to whole bytes")]
fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ').ok_or_else(invalid)?;
    let (number, suffix) = (&text[..=end], text[end + 1..].to_lowercase());
    let number: f64 = number.strip_suffix(' ').unwrap_or(number).parse().map_err(|_| invalid())?;
    if number < 0.0 {
        return Err(invalid());
    }
    let bad = || format!("invalid suffix: '{suffix}'");
    let power = match suffix.as_bytes().first() {
        None => return Ok(number as i64),
        Some(b'b') => return if suffix.len() == 1 { Ok(number as i64) } else { Err(bad()) },
        Some(first) => b"kmgtp".iter().position(|p| p == first).ok_or_else(bad)? + 1,
    };
    if !matches!(&suffix[1..], "" | "b" | "ib") {
        return Err(bad());
    }
    Ok((number * 1024f64.powi(i32::try_from(power).unwrap_or(0))) as i64)
}

/// A share of processors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpus(pub f32);

impl Field for Cpus {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        f32::read(node, path).map(Cpus)
    }
    fn write(&self, form: Form) -> Data {
        self.0.write(form)
    }
    fn omitted(&self, form: Form) -> bool {
        self.0.omitted(form)
    }
}

/// How many devices; −1 is all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCount(pub i64);

impl Field for DeviceCount {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Int(i) => Ok(DeviceCount(*i)),
            Value::Str(text) if text.eq_ignore_ascii_case("all") => Ok(DeviceCount(-1)),
            Value::Str(text) => text.parse().map(DeviceCount).map_err(|_| {
                wrong(
                    node,
                    path,
                    format!("invalid value {text:?}, the only value allowed is 'all' or a number"),
                )
            }),
            _ => Err(mismatch(node, path, "number")),
        }
    }
    fn write(&self, _: Form) -> Data {
        Data::Int(self.0)
    }
    fn omitted(&self, _: Form) -> bool {
        self.0 == 0
    }
}

/// Permission bits, written in octal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMode(pub i64);

impl Field for FileMode {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Int(i) => Ok(FileMode(*i)),
            Value::Str(text) => i64::from_str_radix(text, 8)
                .map(FileMode)
                .map_err(|_| wrong(node, path, format!("invalid mode {text:?}"))),
            _ => Err(mismatch(node, path, "number")),
        }
    }
    fn write(&self, _: Form) -> Data {
        Data::Str(format!("0{:o}", self.0))
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

/// A command: none at all is another thing than an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command(pub Option<Vec<String>>);

impl Field for Command {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Str(text) => words::split(text).map(Some).map(Command).map_err(|e| wrong(node, path, e)),
            Value::List(_) => Vec::read(node, path).map(Some).map(Command),
            _ => Ok(Command(None)),
        }
    }
    fn write(&self, form: Form) -> Data {
        self.0.write(form)
    }
    fn omitted(&self, form: Form) -> bool {
        form == Form::Yaml && self.0.is_none()
    }
}

/// What a health check runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthTest(pub Vec<String>);

impl Field for HealthTest {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        match &node.value {
            Value::Str(text) => Ok(HealthTest(vec!["CMD-SHELL".into(), text.clone()])),
            _ => Vec::read(node, path).map(HealthTest),
        }
    }
    fn write(&self, form: Form) -> Data {
        self.0.write(form)
    }
    fn omitted(&self, _: Form) -> bool {
        self.0.is_empty()
    }
}

macro_rules! mapping {
    ($(#[$about:meta])* $name:ident of $value:ty, $read:expr) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(pub BTreeMap<String, $value>);

        impl Deref for $name {
            type Target = BTreeMap<String, $value>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }

        impl Field for $name {
            fn read(node: &Node, path: &Path) -> Result<Self, Error> {
                let read: fn(&Node, &Path) -> Result<BTreeMap<String, $value>, Error> = $read;
                read(node, path).map($name)
            }
            fn write(&self, form: Form) -> Data {
                self.0.write(form)
            }
            fn omitted(&self, _: Form) -> bool {
                self.0.is_empty()
            }
        }
    };
}

fn sprint(node: &Node, path: &Path) -> Result<String, Error> {
    node.text().ok_or_else(|| mismatch(node, path, "string"))
}

/// `{a: 1}` or `[a=1]`; what has no value has an empty one.
fn filled(node: &Node, path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let all = optional(node, path)?;
    Ok(all.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}

fn optional(node: &Node, path: &Path) -> Result<BTreeMap<String, Option<String>>, Error> {
    match &node.value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Map(map) => map
            .iter()
            .map(|(name, n)| {
                let value = if n.is_null() { None } else { Some(sprint(n, &path.next(name))?) };
                Ok((name.clone(), value))
            })
            .collect(),
        Value::List(list) => list
            .iter()
            .map(|n| {
                let text = sprint(n, path)?;
                Ok(match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                })
            })
            .collect(),
        _ => Err(mismatch(node, path, "mapping")),
    }
}

fn environment(node: &Node, path: &Path) -> Result<BTreeMap<String, Option<String>>, Error> {
    let read = optional(node, path)?;
    match read.keys().find(|k| k.ends_with(char::is_whitespace)).filter(|_| node.list().is_some()) {
        Some(name) => {
            Err(wrong(node, path, format!("environment variable {name} is declared with a trailing space")))
        }
        None => Ok(read),
    }
}

mapping!(
    /// Names with values; what has none has an empty one.
    Mapping of String, filled
);
mapping!(
    /// Labels.
    Labels of String, filled
);
mapping!(
    /// Options of a driver.
    Options of String, filled
);
mapping!(
    /// Variables: some have a value, some take it from around.
    Environment of Option<String>, environment
);
mapping!(
    /// Options that may stand many times.
    MultiOptions of Vec<String>, |node, path| {
        let map = node.map().ok_or_else(|| mismatch(node, path, "mapping"))?;
        map.iter()
            .map(|(name, n)| {
                let values = match &n.value {
                    Value::List(list) => list.iter().map(|v| sprint(v, path)).collect::<Result<_, _>>()?,
                    _ => vec![sprint(n, path)?],
                };
                Ok((name.clone(), values))
            })
            .collect()
    }
);

/// Hosts and their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(pub BTreeMap<String, Vec<String>>);

impl Hosts {
    /// `host=address`, sorted.
    pub fn lines(&self, separator: &str) -> Vec<String> {
        let pairs =
            self.0.iter().flat_map(|(host, ips)| ips.iter().map(move |ip| format!("{host}{separator}{ip}")));
        let mut lines: Vec<String> = pairs.collect();
        lines.sort();
        lines
    }
}

impl Field for Hosts {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        let mut hosts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        match &node.value {
            Value::Map(map) => {
                for (host, n) in map {
                    let ips = match &n.value {
                        Value::Null => vec![String::new()],
                        Value::List(list) => {
                            list.iter().map(|v| sprint(v, path)).collect::<Result<_, _>>()?
                        }
                        _ => vec![sprint(n, path)?],
                    };
                    hosts.insert(host.clone(), ips);
                }
            }
            Value::List(list) => {
                for n in list {
                    let text = sprint(n, path)?;
                    let Some((host, ips)) = text.split_once('=').or_else(|| text.split_once(':')) else {
                        return Err(Error::rule(
                            n.at,
                            format!("invalid additional host, missing IP: {text}"),
                        ));
                    };
                    hosts.entry(host.to_owned()).or_default().extend(ips.split(',').map(str::to_owned));
                }
            }
            _ => return Err(mismatch(node, path, "mapping")),
        }
        if let Some(host) = hosts.keys().find(|h| h.is_empty() || h.contains([':', '='])) {
            return Err(Error::rule(node.at, format!("bad host name '{host}'")));
        }
        for ip in hosts.values_mut().flatten() {
            if let Some(bare) = ip.strip_prefix('[').and_then(|i| i.strip_suffix(']')) {
                *ip = bare.to_owned();
            }
        }
        Ok(Hosts(hosts))
    }
    fn write(&self, form: Form) -> Data {
        self.lines("=").write(form)
    }
    fn omitted(&self, _: Form) -> bool {
        self.0.is_empty()
    }
}

/// Names and paths of keys for `ssh` in a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh(pub BTreeMap<String, String>);

impl Field for Ssh {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        filled(node, path).map(Ssh)
    }
    fn write(&self, form: Form) -> Data {
        let one = |(id, path): (&String, &String)| match (path.is_empty(), form) {
            (true, _) => Data::Str(id.clone()),
            (false, Form::Yaml) => Data::Str(format!("{id}: {path}")),
            (false, Form::Json) => Data::Str(format!("{id}={path}")),
        };
        Data::List(self.0.iter().map(one).collect())
    }
    fn omitted(&self, _: Form) -> bool {
        self.0.is_empty()
    }
}

/// A limit of processes: one value, or a soft and a hard one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ulimit {
    /// Both.
    pub single: i64,
    /// The soft one.
    pub soft: i64,
    /// The hard one.
    pub hard: i64,
}

impl Field for Ulimit {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        let Some(map) = node.map() else {
            return Ok(Ulimit { single: i64::read(node, path)?, ..Ulimit::default() });
        };
        let part = |name: &str| map.get(name).map_or(Ok(0), |n| i64::read(n, &path.next(name)));
        Ok(Ulimit { single: 0, soft: part("soft")?, hard: part("hard")? })
    }
    fn write(&self, form: Form) -> Data {
        if self.single != 0 {
            return Data::Int(self.single);
        }
        let parts = [("soft", self.soft), ("hard", self.hard)];
        let shown = parts.into_iter().filter(|(_, value)| form == Form::Yaml || *value != 0);
        Data::Map(shown.map(|(name, value)| (name.to_owned(), Data::Int(value))).collect())
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

/// A file of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// Where.
    pub path: String,
    /// Whether it must be there.
    pub required: bool,
    /// How it is written.
    pub format: String,
}

impl Field for EnvFile {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        let Some(map) = node.map() else {
            return Ok(EnvFile { path: String::read(node, path)?, required: true, format: String::new() });
        };
        let text =
            |name: &str| map.get(name).map_or(Ok(String::new()), |n| String::read(n, &path.next(name)));
        let required = map.get("required").map_or(Ok(true), |n| bool::read(n, &path.next("required")))?;
        Ok(EnvFile { path: text("path")?, required, format: text("format")? })
    }
    fn write(&self, form: Form) -> Data {
        if self.required {
            return Data::Str(self.path.clone());
        }
        let mut fields = vec![
            ("path".to_owned(), Data::Str(self.path.clone())),
            ("required".to_owned(), Data::Bool(false)),
        ];
        if form == Form::Json && !self.format.is_empty() {
            fields.push(("format".to_owned(), Data::Str(self.format.clone())));
        }
        Data::Map(fields)
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

/// A block device and its weight or rate, whose names in JSON are Go's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightDevice {
    /// The device.
    pub path: String,
    /// Its share.
    pub weight: u16,
}

/// See [`WeightDevice`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThrottleDevice {
    /// The device.
    pub path: String,
    /// Bytes or operations per second.
    pub rate: Bytes,
}

fn part<T: Field + Default>(node: &Node, name: &str, path: &Path) -> Result<T, Error> {
    node.get(name).map_or_else(|| Ok(T::default()), |n| T::read(n, &path.next(name)))
}

fn two(form: Form, path: &str, name: &str, value: Data) -> Data {
    let title = |text: &str| match form {
        Form::Yaml => text.to_owned(),
        Form::Json => text[..1].to_uppercase() + &text[1..],
    };
    Data::Map(vec![(title("path"), path.into()), (title(name), value)])
}

impl Field for WeightDevice {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        Ok(WeightDevice { path: part(node, "path", path)?, weight: part(node, "weight", path)? })
    }
    fn write(&self, form: Form) -> Data {
        two(form, &self.path, "weight", Data::Int(self.weight.into()))
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

impl Field for ThrottleDevice {
    fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        Ok(ThrottleDevice { path: part(node, "path", path)?, rate: part(node, "rate", path)? })
    }
    fn write(&self, form: Form) -> Data {
        two(form, &self.path, "rate", self.rate.write(form))
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, wanted) in
            [("64m", 67_108_864), ("1.5 GiB", 1_610_612_736), ("10", 10), ("2KB", 2048), ("3b", 3)]
        {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        assert_eq!(bytes("x").unwrap_err(), "invalid size: 'x'");
        assert_eq!(bytes("1zz").unwrap_err(), "invalid suffix: 'zz'");
        assert_eq!(bytes("1eb").unwrap_err(), "invalid suffix: 'eb'");
        assert_eq!(bytes("-1").unwrap_err(), "invalid size: '-1'");
    }
}
