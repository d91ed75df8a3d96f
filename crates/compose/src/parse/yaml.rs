//! YAML text to a tree: documents, anchors, merge keys, tags, and scalars as Go's YAML library resolves them, which
//! is what Compose files are written for (booleans of YAML 1.2, `0777` octal as in 1.1).
//!
//! `!reset` and `!override` leave their paths beside the tree. Hostile text is bounded: aliases may not blow the tree
//! up, nesting has a limit, and a name may stand once only in a mapping.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::node::{Map, Node, Path, Pos, TEXT, Value};
use super::scalar;
use crate::error::{Error, Kind};

/// How deep values may nest.
const MAX_DEPTH: usize = 100;
/// How many values aliases may add to a document.
const MAX_ALIASED: usize = 200_000;

/// One document of a file.
#[derive(Debug, Default)]
pub struct Document {
    /// Its tree.
    pub root: Node,
    /// Paths that `!reset` and `!override` name: what earlier files say there does not hold.
    pub cleared: Vec<Path>,
}

/// Reads all documents of a text.
///
/// # Errors
/// It is no YAML, an alias has no anchor or blows up, a name stands twice.
pub fn parse(text: &str, source: u32) -> Result<Vec<Document>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { events: Parser::new_from_str(text), source, anchors: HashMap::new(), aliased: 0, depth: 0 };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        if matches!(event, Event::DocumentStart(_)) {
            documents.push(reader.document(span)?);
        }
    }
    Ok(documents)
}

/// A value as read, before aliases are followed and merge keys are applied.
#[derive(Clone)]
struct Raw {
    kind: RawKind,
    at: Pos,
    mark: Mark,
    /// How many values it holds, itself included, long texts as several.
    size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Reset,
    Override,
}

#[derive(Clone)]
enum RawKind {
    Scalar(Value),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
    /// `<<` as a name.
    Merge,
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    source: u32,
    anchors: HashMap<usize, Raw>,
    aliased: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Error> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(e)) => {
                let at = self.pos_of(e.marker().line(), e.marker().col());
                Err(Error::at(at, Kind::Yaml(e.info().to_owned())))
            }
        }
    }

    fn pos_of(&self, line: usize, column: usize) -> Pos {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos { source: self.source, line: number(line).max(1), column: number(column) + 1 }
    }

    fn pos(&self, span: &Span) -> Pos {
        self.pos_of(span.start.line(), span.start.col())
    }

    fn document(&mut self, span: Span) -> Result<Document, Error> {
        self.anchors.clear();
        self.aliased = 0;
        let raw = match self.next()? {
            Some((Event::DocumentEnd, _)) | None => {
                Raw { kind: RawKind::Scalar(Value::Null), at: self.pos(&span), mark: Mark::None, size: 1 }
            }
            Some((event, span)) => self.value(event, &span)?,
        };
        let mut cleared = Vec::new();
        let root = build(raw, &Path::default(), &mut cleared)?.unwrap_or_default();
        Ok(Document { root, cleared })
    }

    fn value(&mut self, event: Event<'a>, span: &Span) -> Result<Raw, Error> {
        let at = self.pos(span);
        let (raw, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (self.scalar(&text, plain, tag.as_deref(), at)?, anchor)
            }
            Event::SequenceStart(anchor, tag) => (self.list(tag.as_deref(), at)?, anchor),
            Event::MappingStart(anchor, tag) => (self.map(tag.as_deref(), at)?, anchor),
            Event::Alias(anchor) => return self.alias(anchor, at),
            _ => return Err(Error::at(at, Kind::Yaml("a value is missing".into()))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, raw.clone());
        }
        Ok(raw)
    }

    fn alias(&mut self, anchor: usize, at: Pos) -> Result<Raw, Error> {
        let Some(raw) = self.anchors.get(&anchor) else {
            return Err(Error::at(at, Kind::Yaml("anchor contains itself".into())));
        };
        self.aliased += raw.size;
        if self.aliased > MAX_ALIASED {
            return Err(Error::at(at, Kind::Aliases));
        }
        Ok(raw.clone())
    }

    fn scalar(&self, text: &str, plain: bool, tag: Option<&Tag>, at: Pos) -> Result<Raw, Error> {
        let tag = tag.map(name_of).unwrap_or_default();
        let value = match tag.as_str() {
            "" if plain && text == "<<" => {
                return Ok(Raw { kind: RawKind::Merge, at, mark: Mark::None, size: 1 });
            }
            "" | "!reset" | "!override" if plain => scalar::resolve(text),
            "!!int" | "!!float" | "!!bool" | "!!null" => scalar::resolve(text),
            _ => Value::Str(text.to_owned()),
        };
        let size = 1 + text.len() / TEXT;
        Ok(Raw { kind: RawKind::Scalar(value), at, mark: mark_of(&tag), size })
    }

    fn deeper(&mut self, at: Pos) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::at(at, Kind::Depth(MAX_DEPTH)));
        }
        Ok(())
    }

    fn list(&mut self, tag: Option<&Tag>, at: Pos) -> Result<Raw, Error> {
        self.deeper(at)?;
        let mut entries = Vec::new();
        let mut size = 1;
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, _)) | None => break,
                Some((event, span)) => {
                    let entry = self.value(event, &span)?;
                    size += entry.size;
                    entries.push(entry);
                }
            }
        }
        self.depth -= 1;
        Ok(Raw {
            kind: RawKind::List(entries),
            at,
            mark: tag.map_or(Mark::None, |t| mark_of(&name_of(t))),
            size,
        })
    }

    fn map(&mut self, tag: Option<&Tag>, at: Pos) -> Result<Raw, Error> {
        self.deeper(at)?;
        let mut entries: Vec<(Raw, Raw)> = Vec::new();
        let mut size = 1;
        loop {
            let key = match self.next()? {
                Some((Event::MappingEnd, _)) | None => break,
                Some((event, span)) => self.value(event, &span)?,
            };
            let Some((event, span)) = self.next()? else { break };
            let value = self.value(event, &span)?;
            size += key.size + value.size;
            entries.push((key, value));
        }
        self.depth -= 1;
        Ok(Raw {
            kind: RawKind::Map(entries),
            at,
            mark: tag.map_or(Mark::None, |t| mark_of(&name_of(t))),
            size,
        })
    }
}

/// `!reset`, `!!str`, …
fn name_of(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        format!("{}{}", tag.handle, tag.suffix)
    }
}

fn mark_of(tag: &str) -> Mark {
    match tag {
        "!reset" => Mark::Reset,
        "!override" => Mark::Override,
        _ => Mark::None,
    }
}

/// Makes the tree; what `!reset` marks is left out.
fn build(raw: Raw, path: &Path, cleared: &mut Vec<Path>) -> Result<Option<Node>, Error> {
    match raw.mark {
        Mark::Reset => {
            cleared.push(path.clone());
            return Ok(None);
        }
        Mark::Override => cleared.push(path.clone()),
        Mark::None => {}
    }
    let value = match raw.kind {
        RawKind::Scalar(value) => value,
        RawKind::Merge => Value::Str("<<".to_owned()),
        RawKind::List(entries) => {
            let mut list = Vec::with_capacity(entries.len());
            for (i, entry) in entries.into_iter().enumerate() {
                list.extend(build(entry, &path.next(&i.to_string()), cleared)?);
            }
            Value::List(list)
        }
        RawKind::Map(entries) => Value::Map(build_map(entries, path, cleared)?),
    };
    Ok(Some(Node { value, at: raw.at, key: raw.at }))
}

fn build_map(entries: Vec<(Raw, Raw)>, path: &Path, cleared: &mut Vec<Path>) -> Result<Map, Error> {
    let mut map = Map::new();
    let mut merged = Vec::new();
    let mut seen: HashMap<String, Pos> = HashMap::new();
    for (key, value) in entries {
        if matches!(key.kind, RawKind::Merge) {
            merged.push(value);
            continue;
        }
        let name = key_name(&key, path)?;
        if let Some(first) = seen.insert(name.clone(), key.at) {
            return Err(Error::at(key.at, Kind::Twice { name, line: first.line }));
        }
        if let Some(mut node) = build(value, &path.next(&name), cleared)? {
            node.key = key.at;
            map.insert(name, node);
        }
    }
    for value in merged {
        merge(value, path, &mut map, &seen, cleared)?;
    }
    Ok(map)
}

/// Takes in what `<<` names: names of the mapping itself win, then those of earlier entries.
fn merge(
    value: Raw,
    path: &Path,
    map: &mut Map,
    own: &HashMap<String, Pos>,
    cleared: &mut Vec<Path>,
) -> Result<(), Error> {
    let at = value.at;
    match value.kind {
        RawKind::Map(entries) => {
            for (name, node) in build_map(entries, path, cleared)? {
                if !own.contains_key(&name) {
                    map.entry(name).or_insert(node);
                }
            }
            Ok(())
        }
        RawKind::List(entries) => {
            for entry in entries {
                if !matches!(entry.kind, RawKind::Map(_)) {
                    return Err(Error::at(
                        entry.at,
                        Kind::Yaml("map merge requires map or sequence of maps as the value".into()),
                    ));
                }
                merge(entry, path, map, own, cleared)?;
            }
            Ok(())
        }
        _ => Err(Error::at(at, Kind::Yaml("map merge requires map or sequence of maps as the value".into()))),
    }
}

fn key_name(key: &Raw, path: &Path) -> Result<String, Error> {
    match &key.kind {
        RawKind::Scalar(Value::Str(text)) => Ok(text.clone()),
        RawKind::Scalar(other) => {
            let name = Node::from(other.clone()).text().unwrap_or_default();
            let place =
                if path.parts().is_empty() { "at top level".to_owned() } else { format!("in {path}") };
            Err(Error::at(key.at, Kind::NonStringKey { place, key: name }))
        }
        _ => Err(Error::at(key.at, Kind::Yaml("invalid map key".into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Document {
        parse(text, 0).unwrap().remove(0)
    }

    fn fails(text: &str) -> Error {
        parse(text, 0).unwrap_err()
    }

    #[test]
    fn places_are_those_of_the_text() {
        let doc = one("services:\n  web:\n    image: nginx\n");
        let image = doc.root.get("services").unwrap().get("web").unwrap().get("image").unwrap();
        assert_eq!((image.at.line, image.at.column), (3, 12));
        assert_eq!((image.key.line, image.key.column), (3, 5));
    }

    #[test]
    fn merge_keys_give_way_to_own_names_and_earlier_maps() {
        let doc = one("a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc:\n  <<: [*a, *b]\n  y: 3\n");
        let c = doc.root.get("c").unwrap();
        let text = |n: &str| c.get(n).unwrap().text().unwrap();
        assert_eq!((text("x"), text("y"), text("z")), ("1".into(), "3".into(), "2".into()));
    }

    #[test]
    fn reset_and_override_leave_their_paths() {
        let doc = one("s:\n  a: !reset null\n  b: !override [1]\n");
        assert!(doc.root.get("s").unwrap().get("a").is_none());
        assert!(doc.root.get("s").unwrap().get("b").is_some());
        assert_eq!(doc.cleared, [Path::of("s.a"), Path::of("s.b")]);
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        assert!(matches!(fails(&text).kind(), Kind::Aliases));
    }

    #[test]
    fn aliases_of_long_texts_cannot_either() {
        let text = |times: usize| {
            let aliases = vec!["*t"; times].join(", ");
            format!("t: &t {}\nlist: [{aliases}]\n", "x".repeat(100_000))
        };
        assert_eq!(one(&text(100)).root.get("list").unwrap().list().unwrap().len(), 100);
        assert!(matches!(fails(&text(1_000)).kind(), Kind::Aliases));
    }

    #[test]
    fn an_anchor_may_not_hold_itself() {
        assert!(parse("a: &a [*a]\n", 0).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"[".repeat(5_000), 0).is_err());
        let deep = format!("{}x{}", "[".repeat(110), "]".repeat(110));
        assert!(matches!(fails(&deep).kind(), Kind::Depth(_)));
    }

    #[test]
    fn a_name_stands_once() {
        let error = fails("a: 1\nb: 2\na: 3\n");
        assert!(matches!(error.kind(), Kind::Twice { line: 1, .. }));
        assert_eq!(error.pos().unwrap().line, 3);
    }

    #[test]
    fn names_are_text() {
        assert!(matches!(fails("1: x\n").kind(), Kind::NonStringKey { .. }));
    }
}
