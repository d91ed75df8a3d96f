//! The checks of the specification's JSON schema, with Docker Compose's words and the place of what is wrong.
//!
//! Only what the schema uses is understood: types, properties, patterns of names, items, `oneOf`, `enum`, bounds.
//! Of many failures the one deepest in the tree is told, since the others mostly follow from it.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex_lite::Regex;
use serde_json::Value as Json;

use super::node::{Map, Node, Pos, Value};
use crate::error::{Error, Kind};

/// The schema as published (see `schema/README.md`).
const SCHEMA: &str = include_str!("../../schema/compose-spec.json");

/// Checks a whole file.
///
/// # Errors
/// Something is not as the specification has it.
pub fn validate(root: &Node, file: &str) -> Result<(), Error> {
    static PARSED: OnceLock<(Json, HashMap<String, Pattern>)> = OnceLock::new();
    let (schema, patterns) = PARSED.get_or_init(|| {
        let schema: Json = serde_json::from_str(SCHEMA).unwrap_or_default();
        let mut patterns = HashMap::new();
        collect_patterns(&schema, &mut patterns);
        (schema, patterns)
    });
    let mut checker = Checker { root: schema, patterns, path: Vec::new(), failures: Vec::new() };
    checker.check(schema, root);
    let deepest = checker.failures.iter().map(|f| f.depth).max();
    let Some(failure) = checker.failures.into_iter().find(|f| Some(f.depth) == deepest) else {
        return Ok(());
    };
    Err(Error::at(failure.at, Kind::Schema { file: file.to_owned(), text: failure.text, near: failure.near }))
}

fn collect_patterns(schema: &Json, into: &mut HashMap<String, Pattern>) {
    let mut add = |pattern: &str| {
        if !into.contains_key(pattern)
            && let Some(read) = Pattern::of(pattern)
        {
            into.insert(pattern.to_owned(), read);
        }
    };
    match schema {
        Json::Object(map) => {
            if let Some(Json::String(pattern)) = map.get("pattern") {
                add(pattern);
            }
            if let Some(Json::Object(named)) = map.get("patternProperties") {
                named.keys().for_each(|p| add(p));
            }
            map.values().for_each(|v| collect_patterns(v, into));
        }
        Json::Array(list) => list.iter().for_each(|v| collect_patterns(v, into)),
        _ => {}
    }
}

/// A regular expression; those that the schema uses all over are known by heart.
enum Pattern {
    Extension,
    Name,
    Anything,
    Other(Regex),
}

impl Pattern {
    fn of(text: &str) -> Option<Pattern> {
        Some(match text {
            "^x-" => Pattern::Extension,
            "^[a-zA-Z0-9._-]+$" => Pattern::Name,
            "^.+$" | ".+" => Pattern::Anything,
            other => Pattern::Other(Regex::new(other).ok()?),
        })
    }

    fn is_match(&self, text: &str) -> bool {
        match self {
            Pattern::Extension => text.starts_with("x-"),
            Pattern::Name => {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            }
            Pattern::Anything => text.chars().any(|c| c != '\n'),
            Pattern::Other(regex) => regex.is_match(text),
        }
    }
}

struct Failure {
    depth: usize,
    at: Pos,
    text: String,
    near: Option<String>,
}

struct Checker<'a> {
    root: &'a Json,
    patterns: &'a HashMap<String, Pattern>,
    path: Vec<String>,
    failures: Vec<Failure>,
}

impl Checker<'_> {
    fn fail(&mut self, at: Pos, text: String) {
        let path = self.path.join(".");
        let text = if path.is_empty() { format!(" {text}") } else { format!("{path} {text}") };
        self.failures.push(Failure { depth: self.path.len(), at, text, near: None });
    }

    fn check(&mut self, schema: &Json, node: &Node) {
        let Json::Object(rules) = schema else { return };
        if let Some(Json::String(name)) = rules.get("$ref") {
            let root = self.root;
            if let Some(found) = root.pointer(name.trim_start_matches('#')) {
                self.check(found, node);
            }
            return;
        }
        if let Some(wanted) = rules.get("type")
            && !has_type(wanted, node)
        {
            self.fail(node.at, format!("must be a {}", type_words(wanted)));
            return;
        }
        self.check_value(rules, node);
        match &node.value {
            Value::Map(map) => self.check_map(rules, node, map),
            Value::List(list) => self.check_list(rules, node, list),
            _ => {}
        }
        if let Some(Json::Array(choices)) = rules.get("oneOf") {
            self.check_one_of(choices, node);
        }
    }

    fn check_value(&mut self, rules: &serde_json::Map<String, Json>, node: &Node) {
        if let Some(Json::Array(allowed)) = rules.get("enum")
            && !allowed.iter().any(|a| equals(a, node))
        {
            let names: Vec<String> = allowed.iter().map(shown).collect();
            self.fail(node.at, format!("value must be one of {}", names.join(", ")));
        }
        if let (Some(Json::String(pattern)), Value::Str(text)) = (rules.get("pattern"), &node.value)
            && self.patterns.get(pattern).is_some_and(|p| !p.is_match(text))
        {
            self.fail(node.at, format!("'{text}' does not match pattern '{pattern}'"));
        }
        let Some(number) = number(node) else { return };
        if let Some(minimum) = rules.get("minimum").and_then(Json::as_f64).filter(|m| number < *m) {
            self.fail(node.at, format!("must be greater than or equal to {minimum}"));
        }
        if let Some(maximum) = rules.get("maximum").and_then(Json::as_f64).filter(|m| number > *m) {
            self.fail(node.at, format!("must be less than or equal to {maximum}"));
        }
    }

    fn check_map(&mut self, rules: &serde_json::Map<String, Json>, node: &Node, map: &Map) {
        if let Some(Json::Array(required)) = rules.get("required") {
            let missing: Vec<String> = required
                .iter()
                .filter_map(Json::as_str)
                .filter(|r| !map.contains_key(*r))
                .map(|r| format!("'{r}'"))
                .collect();
            match missing.len() {
                0 => {}
                1 => self.fail(node.at, format!("missing property {}", missing[0])),
                _ => self.fail(node.at, format!("missing properties {}", missing.join(", "))),
            }
        }
        let mut unknown: Vec<(&String, Pos)> = Vec::new();
        for (name, value) in map {
            if !self.check_property(rules, name, value) {
                unknown.push((name, value.key));
            }
        }
        unknown.sort_by_key(|(_, at)| *at);
        if let Some((first, at)) = unknown.first() {
            let names: Vec<String> = unknown.iter().map(|(n, _)| format!("'{n}'")).collect();
            let near =
                rules.get("properties").and_then(Json::as_object).and_then(|p| nearest(first, p.keys()));
            self.fail(*at, format!("additional properties {} not allowed", names.join(", ")));
            if let Some(failure) = self.failures.last_mut() {
                failure.near = near;
                failure.depth += 1;
            }
        }
    }

    /// Whether the name is allowed; its value is checked.
    fn check_property(&mut self, rules: &serde_json::Map<String, Json>, name: &str, value: &Node) -> bool {
        let mut known = false;
        self.path.push(name.to_owned());
        if let Some(schema) = rules.get("properties").and_then(|p| p.get(name)) {
            known = true;
            self.check(schema, value);
        }
        if let Some(Json::Object(named)) = rules.get("patternProperties") {
            for (pattern, schema) in named {
                if self.patterns.get(pattern).is_some_and(|p| p.is_match(name)) {
                    known = true;
                    self.check(schema, value);
                }
            }
        }
        if !known {
            match rules.get("additionalProperties") {
                Some(Json::Bool(false)) => {}
                Some(schema @ Json::Object(_)) => {
                    known = true;
                    self.check(schema, value);
                }
                _ => known = true,
            }
        }
        self.path.pop();
        known
    }

    fn check_list(&mut self, rules: &serde_json::Map<String, Json>, node: &Node, list: &[Node]) {
        if rules.get("uniqueItems") == Some(&Json::Bool(true)) {
            let twice = (1..list.len()).find_map(|j| (0..j).find(|i| list[*i] == list[j]).map(|i| (i, j)));
            if let Some((i, j)) = twice {
                self.fail(list[j].at, format!("items at {i} and {j} are equal"));
            }
        }
        if let Some(items) = rules.get("items") {
            for (i, entry) in list.iter().enumerate() {
                self.path.push(i.to_string());
                self.check(items, entry);
                self.path.pop();
            }
        }
        let _ = node;
    }

    fn check_one_of(&mut self, choices: &[Json], node: &Node) {
        let before = self.failures.len();
        let mut fits = Vec::new();
        for (i, choice) in choices.iter().enumerate() {
            let mark = self.failures.len();
            self.check(choice, node);
            if self.failures.len() == mark {
                fits.push(i);
            }
        }
        match fits.as_slice() {
            [] => self.widen_types(before, choices, node),
            [_] => self.failures.truncate(before),
            [a, b, ..] => {
                self.failures.truncate(before);
                self.fail(node.at, format!("oneOf failed, subschemas {a}, {b} matched"));
            }
        }
    }

    /// Where no choice has the value's type, all types that would do are named.
    fn widen_types(&mut self, before: usize, choices: &[Json], node: &Node) {
        let depth = self.path.len();
        if self.failures[before..].iter().any(|f| f.depth > depth || !f.text.contains(" must be a ")) {
            return;
        }
        let mut types: Vec<Json> = Vec::new();
        for choice in choices {
            let choice = match choice.get("$ref").and_then(Json::as_str) {
                Some(name) => self.root.pointer(name.trim_start_matches('#')).unwrap_or(choice),
                None => choice,
            };
            match choice.get("type") {
                Some(Json::Array(many)) => types.extend(many.iter().cloned()),
                Some(one) => types.push(one.clone()),
                None => return,
            }
        }
        types.dedup();
        self.failures.truncate(before);
        self.fail(node.at, format!("must be a {}", type_words(&Json::Array(types))));
    }
}

fn has_type(wanted: &Json, node: &Node) -> bool {
    match wanted {
        Json::String(name) => is_a(name, node),
        Json::Array(names) => names.iter().filter_map(Json::as_str).any(|n| is_a(n, node)),
        _ => true,
    }
}

fn is_a(name: &str, node: &Node) -> bool {
    match name {
        "null" => node.is_null(),
        "boolean" => matches!(node.value, Value::Bool(_)),
        "string" => matches!(node.value, Value::Str(_)),
        "array" => matches!(node.value, Value::List(_)),
        "object" => matches!(node.value, Value::Map(_)),
        "number" => number(node).is_some(),
        "integer" => number(node).is_some_and(|n| n.fract() == 0.0),
        _ => true,
    }
}

#[allow(clippy::cast_precision_loss, reason = "bounds are small")]
fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Int(i) => Some(i as f64),
        Value::Uint(u) => Some(u as f64),
        Value::Float(f) => Some(f),
        Value::Float32(f) => Some(f.into()),
        _ => None,
    }
}

fn equals(json: &Json, node: &Node) -> bool {
    match (json, &node.value) {
        (Json::String(a), Value::Str(b)) => a == b,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::Null, Value::Null) => true,
        (Json::Number(a), _) => a.as_f64().is_some() && a.as_f64() == number(node),
        _ => false,
    }
}

fn shown(json: &Json) -> String {
    match json {
        Json::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn type_words(wanted: &Json) -> String {
    let word = |name: &str| if name == "object" { "mapping".to_owned() } else { name.to_owned() };
    match wanted {
        Json::Array(names) => {
            let mut words: Vec<String> = names.iter().filter_map(Json::as_str).map(word).collect();
            words.sort();
            words.dedup();
            match words.split_last() {
                Some((last, [])) => last.clone(),
                Some((last, first)) => format!("{} or {last}", first.join(", ")),
                None => String::new(),
            }
        }
        other => word(other.as_str().unwrap_or_default()),
    }
}

/// The name most like a misspelt one, if one is like it.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|k| (distance(name, k), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k.clone())
}

/// How many characters must be added, removed, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(64).collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::yaml;

    fn error(text: &str) -> Error {
        let root = yaml::parse(text, 0).unwrap().remove(0).root;
        validate(&root, "f").unwrap_err()
    }

    fn told(text: &str) -> (String, u32, u32) {
        let e = error(text);
        let at = e.pos().unwrap();
        (e.kind().to_string(), at.line, at.column)
    }

    #[test]
    fn unknown_names_have_near_ones() {
        let e = error("services:\n  web:\n    image: x\n    prots: ['80']\n");
        assert_eq!(
            e.kind().to_string(),
            "validating f: services.web additional properties 'prots' not allowed"
        );
        assert!(matches!(e.kind(), Kind::Schema { near: Some(near), .. } if near == "ports"));
        assert_eq!((e.pos().unwrap().line, e.pos().unwrap().column), (4, 5));
        assert_eq!(
            nearest("enviroment", ["environment".to_owned(), "env_file".to_owned()].iter()).unwrap(),
            "environment"
        );
        assert_eq!(nearest("zzz", ["image".to_owned()].iter()), None);
    }

    #[test]
    fn types_are_told_with_their_place() {
        assert_eq!(
            told("services:\n  web:\n    image: [a]\n"),
            ("validating f: services.web.image must be a string".into(), 3, 12)
        );
        assert_eq!(told("services: []\n").0, "validating f: services must be a mapping");
        assert_eq!(
            told("services:\n  a:\n    cap_add: x\n").0,
            "validating f: services.a.cap_add must be a array"
        );
    }

    #[test]
    fn good_files_pass() {
        let text = "name: x\nservices:\n  a:\n    image: i\n    command: [a, b]\n    x-own: 1\n    ports: ['80:80', 81, {target: 1}]\n";
        let root = yaml::parse(text, 0).unwrap().remove(0).root;
        validate(&root, "f").unwrap();
    }
}
