//! Caches, outputs, attestations, secrets and agents: each is a line of `key=value` or an object.

use std::collections::BTreeMap;

use crate::csv;
use crate::value::{Mapping, Sequence, Type, Value};

/// A cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `registry`, `local` …
    pub kind: String,
    /// What else there is to say.
    pub attrs: BTreeMap<String, String>,
}

/// An output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// `image`, `local` …
    pub kind: String,
    /// Where to on this machine.
    pub dest: String,
    /// What else there is to say.
    pub attrs: BTreeMap<String, String>,
}

/// An attestation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attest {
    /// `provenance` or `sbom`.
    pub kind: String,
    /// It is not wanted.
    pub disabled: bool,
    /// What else there is to say.
    pub attrs: BTreeMap<String, String>,
}

/// A secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// What steps call it.
    pub id: String,
    /// The file that it is in.
    pub src: String,
    /// The variable that it is in.
    pub env: String,
}

/// An agent, or keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// What steps call it.
    pub id: String,
    /// Its socket, or keys.
    pub paths: Vec<String>,
}

/// What can stand in a list of a target.
pub(super) trait Listed: Sized + Clone {
    /// Reads a text; several caches may stand in one.
    fn parse(text: &str) -> Result<Vec<Self>, String>;
    fn from_object(value: &Value) -> Result<Self, String>;
    fn to_value(&self) -> Value;

    /// Reads a list of texts and objects.
    fn decode(value: &Value) -> Result<Option<Vec<Self>>, String> {
        let items = match value {
            Value::Null => return Ok(None),
            Value::List(Sequence::List | Sequence::Tuple, items) => &items.all,
            other => {
                return Err(format!("list of map of string required, but have {}", Type::of(other).name()));
            }
        };
        let mut all = Vec::new();
        for item in items {
            match item {
                Value::Text(text) if text.is_empty() => {}
                Value::Text(text) => all.extend(Self::parse(text)?),
                Value::Null => return Err("null value is not allowed".to_owned()),
                object => all.push(Self::from_object(object)?),
            }
        }
        Ok(Some(all))
    }
}

/// Reads texts; those that are empty do not count.
pub(crate) fn parse_all<T: ParseTexts>(texts: &[String]) -> Result<Vec<T>, String> {
    T::parse_texts(texts)
}

/// What lists of texts can be read as, outside of this module.
pub(crate) trait ParseTexts: Sized {
    fn parse_texts(texts: &[String]) -> Result<Vec<Self>, String>;
}

impl<T: Listed> ParseTexts for T {
    fn parse_texts(texts: &[String]) -> Result<Vec<T>, String> {
        let mut all = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            all.extend(T::parse(text)?);
        }
        Ok(all)
    }
}

fn pairs(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let Value::Object(_, members) = value.convert(&Type::Map(Box::new(Type::Text)))? else {
        return Err(format!("map of string required, but have {}", Type::of(value).name()));
    };
    let one = |(key, value): (&String, &Value)| match value {
        Value::Text(text) => Ok((key.clone(), text.to_string())),
        _ => Err(format!("attribute {key:?}: a string is required")),
    };
    members.all.iter().map(one).collect()
}

fn to_map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let all = pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    Value::object(Mapping::Map, all)
}

fn texts(attrs: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    attrs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

impl Listed for Entry {
    fn parse(text: &str) -> Result<Vec<Entry>, String> {
        let fields = csv::fields(text)?;
        if !text.contains('=') {
            let one = |name: String| Entry { kind: "registry".into(), attrs: [("ref".into(), name)].into() };
            return Ok(fields.into_iter().map(one).collect());
        }
        let mut entry = Entry::default();
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.to_lowercase().as_str() {
                "type" => entry.kind = value.to_owned(),
                key => drop(entry.attrs.insert(key.to_owned(), value.to_owned())),
            }
        }
        match entry.kind.is_empty() {
            true => Err(format!("type required form> {text:?}")),
            false => Ok(vec![entry]),
        }
    }

    fn from_object(value: &Value) -> Result<Entry, String> {
        let mut attrs = pairs(value)?;
        match attrs.remove("type") {
            Some(kind) if !kind.is_empty() => Ok(Entry { kind, attrs }),
            _ => Err(format!("type required form> {:?}", crate::value::json::compact(value))),
        }
    }

    fn to_value(&self) -> Value {
        to_map(texts(&self.attrs).chain([("type", self.kind.as_str())]))
    }
}

impl Listed for Output {
    fn parse(text: &str) -> Result<Vec<Output>, String> {
        let fields = csv::fields(text)?;
        if fields.len() == 1 && fields[0] == text && !text.starts_with("type=") {
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(vec![Output { kind: kind.into(), dest: text.into(), attrs: BTreeMap::new() }]);
        }
        let mut output = Output::default();
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.trim().to_lowercase().as_str() {
                "type" => output.kind = value.to_owned(),
                "dest" => output.dest = value.to_owned(),
                key => drop(output.attrs.insert(key.to_owned(), value.to_owned())),
            }
        }
        output.checked().map(|output| vec![output])
    }

    fn from_object(value: &Value) -> Result<Output, String> {
        let mut attrs = pairs(value)?;
        let mut take = |key: &str| attrs.remove(key).unwrap_or_default();
        Output { kind: take("type"), dest: take("dest"), attrs }.checked()
    }

    fn to_value(&self) -> Value {
        to_map(texts(&self.attrs).chain([("type", self.kind.as_str()), ("dest", self.dest.as_str())]))
    }
}

impl Output {
    fn checked(self) -> Result<Output, String> {
        if self.kind.is_empty() { Err("type is required for output".to_owned()) } else { Ok(self) }
    }

    /// As `--output` takes it.
    pub fn text(&self) -> String {
        let dest = Some(("dest", self.dest.as_str())).filter(|(_, dest)| !dest.is_empty());
        csv::line([("type", self.kind.as_str())].into_iter().chain(dest).chain(texts(&self.attrs)))
    }
}

impl Entry {
    /// As `--cache-from` and `--cache-to` take it.
    pub fn text(&self) -> String {
        csv::line([("type", self.kind.as_str())].into_iter().chain(texts(&self.attrs)))
    }
}

impl Listed for Attest {
    fn parse(text: &str) -> Result<Vec<Attest>, String> {
        let mut attest = Attest::default();
        for field in csv::fields(text)? {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.trim().to_lowercase().as_str() {
                "type" => attest.kind = value.to_owned(),
                "disabled" => {
                    attest.disabled = super::change::boolean(value).ok_or_else(|| {
                        format!("invalid value {field}: strconv.ParseBool: parsing {value:?}: invalid syntax")
                    })?;
                }
                _ => drop(attest.attrs.insert(key.to_owned(), value.to_owned())),
            }
        }
        match attest.kind.is_empty() {
            true => Err("attestation type not specified".to_owned()),
            false => Ok(vec![attest]),
        }
    }

    fn from_object(value: &Value) -> Result<Attest, String> {
        let mut attrs = pairs(value)?;
        let kind = attrs.remove("type").unwrap_or_default();
        let disabled = match attrs.remove("disabled") {
            None => false,
            Some(text) => super::change::boolean(&text)
                .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))?,
        };
        Ok(Attest { kind, disabled, attrs })
    }

    fn to_value(&self) -> Value {
        let disabled = self.disabled.then_some(("disabled", "true"));
        to_map(texts(&self.attrs).chain([("type", self.kind.as_str())]).chain(disabled))
    }
}

impl Attest {
    /// As `--attest` takes it.
    pub fn text(&self) -> String {
        let disabled = self.disabled.then_some(("disabled", "true"));
        csv::line([("type", self.kind.as_str())].into_iter().chain(disabled).chain(texts(&self.attrs)))
    }
}

impl Listed for Secret {
    fn parse(text: &str) -> Result<Vec<Secret>, String> {
        let (mut secret, mut kind) = (Secret::default(), String::new());
        let fields = csv::fields(text).map_err(|why| format!("failed to parse csv secret: {why}"))?;
        for field in fields {
            let pair = field.split_once('=');
            let (key, value) =
                pair.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
            match key.to_lowercase().as_str() {
                "type" if matches!(value, "file" | "env") => kind = value.to_owned(),
                "type" => return Err(format!("unsupported secret type {value:?}")),
                "id" => secret.id = value.to_owned(),
                "source" | "src" => secret.src = value.to_owned(),
                "env" => secret.env = value.to_owned(),
                key => return Err(format!("unexpected key '{key}' in '{field}'")),
            }
        }
        if kind == "env" && secret.env.is_empty() {
            secret.env = std::mem::take(&mut secret.src);
        }
        Ok(vec![secret])
    }

    fn from_object(value: &Value) -> Result<Secret, String> {
        let names = ["id", "src", "env"].map(|name| (name.to_owned(), (Type::Text, true)));
        let object = value.convert(&Type::Object(names.into()))?;
        let get = |name: &str| member(&object, name).unwrap_or_default();
        Ok(Secret { id: get("id"), src: get("src"), env: get("env") })
    }

    fn to_value(&self) -> Value {
        let all = [("id", &self.id), ("src", &self.src), ("env", &self.env)];
        let all = all.into_iter().map(|(name, text)| (name.to_owned(), Value::from(text.as_str()))).collect();
        Value::object(Mapping::Object, all)
    }
}

fn member(object: &Value, name: &str) -> Option<String> {
    match object {
        Value::Object(_, members) => members.all.get(name)?.text().ok(),
        _ => None,
    }
}

impl Secret {
    /// As `--secret` takes it.
    pub fn text(&self) -> String {
        let all = [("id", self.id.as_str()), ("src", self.src.as_str()), ("env", self.env.as_str())];
        csv::line(all.into_iter().filter(|(_, value)| !value.is_empty()))
    }
}

impl Listed for Ssh {
    fn parse(text: &str) -> Result<Vec<Ssh>, String> {
        let (id, paths) = match text.split_once('=') {
            None => (text, Vec::new()),
            Some((id, paths)) => (id, paths.split(',').map(str::to_owned).collect()),
        };
        Ok(vec![Ssh { id: id.to_owned(), paths }])
    }

    fn from_object(value: &Value) -> Result<Ssh, String> {
        let texts = Type::List(Box::new(Type::Text));
        let names = [("id".to_owned(), (Type::Text, true)), ("paths".to_owned(), (texts, true))];
        let object = value.convert(&Type::Object(names.into()))?;
        let paths = match &object {
            Value::Object(_, members) => members.all.get("paths").and_then(Value::items).unwrap_or_default(),
            _ => Vec::new(),
        };
        let paths = paths.iter().map(Value::text).collect::<Result<_, _>>()?;
        Ok(Ssh { id: member(&object, "id").unwrap_or_default(), paths })
    }

    fn to_value(&self) -> Value {
        let paths = Value::texts(self.paths.iter().cloned());
        let all = [("id".to_owned(), Value::from(self.id.as_str())), ("paths".to_owned(), paths)];
        Value::object(Mapping::Object, all.into())
    }
}

impl Ssh {
    /// As `--ssh` takes it.
    pub fn text(&self) -> String {
        match self.paths.as_slice() {
            [] => self.id.clone(),
            paths => format!("{}={}", self.id, paths.join(",")),
        }
    }
}
