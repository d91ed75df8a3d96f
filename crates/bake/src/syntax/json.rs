//! HCL's JSON form: objects are bodies, strings are templates. The same nesting as in HCL's own syntax is allowed.

use super::expr::{Expr, Kind};
use super::{Attribute, Block, Body, native};
use crate::error::{Failure, Result};
use crate::source::Place;
use crate::value::Number;

/// As deep as hcl-edit lets HCL be.
const MAX_DEPTH: usize = 64;

/// Blocks of a file, with one label each.
const BLOCKS: &[&str] = &["variable", "function", "group", "target"];

enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<(Value, Place)>),
    Object(Vec<Member>),
}

struct Member {
    name: String,
    name_place: Place,
    value: Value,
    place: Place,
}

/// Whether a text could be an object, so that its mistakes are those of JSON.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Reads a file.
pub(crate) fn body(text: &str, file: usize) -> Result<Body> {
    let mut reader = Reader { text, at: 0, file, depth: 0 };
    let (value, place) = reader.value()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.wrong("Extraneous data after the value."));
    }
    let Value::Object(members) = value else {
        return Err(Failure::at(
            place,
            "Root value must be object",
            "The root value in a JSON-based configuration must be a JSON object.",
        ));
    };
    let mut body = Body { place, ..Body::default() };
    for member in members {
        if BLOCKS.contains(&member.name.as_str()) {
            labelled(&member, &mut body.blocks, file)?;
        } else {
            body.attributes.push(attribute(member, file)?);
        }
    }
    Ok(body)
}

/// `"target": {"label": {…}}`, each of the two also as a list.
fn labelled(member: &Member, blocks: &mut Vec<Block>, file: usize) -> Result<()> {
    for (value, place) in each(&member.value, member.place) {
        let Value::Object(labels) = value else {
            let detail = format!(
                "A JSON object is required, whose keys represent the {} block's labels.",
                member.name
            );
            return Err(Failure::at(place, "Incorrect JSON value type", detail));
        };
        for label in labels {
            for (contents, place) in each(&label.value, label.place) {
                if matches!(contents, Value::Null) {
                    continue;
                }
                let labels = vec![(label.name.clone(), label.name_place)];
                let body = contents_of(&member.name, contents, place, file)?;
                blocks.push(Block { kind: member.name.clone(), labels, body, place: label.name_place });
            }
        }
    }
    Ok(())
}

fn contents_of(kind: &str, value: &Value, place: Place, file: usize) -> Result<Body> {
    let Value::Object(members) = value else {
        let detail = format!(
            "Either a JSON object or a JSON array is required, representing the contents of one or more {kind:?} blocks."
        );
        return Err(Failure::at(place, "Incorrect JSON value type", detail));
    };
    let mut body = Body { place, ..Body::default() };
    for member in members {
        if kind == "variable" && member.name == "validation" {
            for (value, place) in each(&member.value, member.place) {
                let inner = contents_of("validation", value, place, file)?;
                let (kind, place) = (member.name.clone(), member.name_place);
                body.blocks.push(Block { kind, labels: Vec::new(), body: inner, place });
            }
        } else {
            let value = expr(&member.value, member.place, file)?;
            let place = member.name_place.to(member.place);
            body.attributes.push(Attribute { name: member.name.clone(), value, place });
        }
    }
    Ok(body)
}

/// A value, or each of a list.
fn each(value: &Value, place: Place) -> Vec<(&Value, Place)> {
    match value {
        Value::List(items) => items.iter().map(|(item, place)| (item, *place)).collect(),
        one => vec![(one, place)],
    }
}

fn attribute(member: Member, file: usize) -> Result<Attribute> {
    let value = expr(&member.value, member.place, file)?;
    Ok(Attribute { name: member.name, value, place: member.name_place.to(member.place) })
}

fn expr(value: &Value, place: Place, file: usize) -> Result<Expr> {
    let kind = match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(*value),
        Value::Number(text) => Kind::Number(Number::read(text)),
        Value::Text(text) => return Ok(Expr { place, ..native::template(text, file, place.start + 1)? }),
        Value::List(items) => {
            Kind::List(items.iter().map(|(item, place)| expr(item, *place, file)).collect::<Result<_>>()?)
        }
        Value::Object(members) => {
            let one = |member: &Member| {
                let key = native::template(&member.name, file, member.name_place.start + 1)?;
                Ok((Expr { place: member.name_place, ..key }, expr(&member.value, member.place, file)?))
            };
            Kind::Object(members.iter().map(one).collect::<Result<_>>()?)
        }
    };
    Ok(Expr { kind, place })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    file: usize,
    depth: usize,
}

impl Reader<'_> {
    fn wrong(&self, detail: &str) -> Failure {
        let place = Place { file: self.file, start: self.at, end: self.at + 1 };
        Failure::at(place, "Invalid JSON", detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, detail: &str) -> Result<()> {
        self.blanks();
        if self.peek() != Some(byte) {
            return Err(self.wrong(detail));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<(Value, Place)> {
        self.blanks();
        let start = self.at;
        if self.depth >= MAX_DEPTH {
            return Err(self.wrong("Values are nested too deeply."));
        }
        self.depth += 1;
        let value = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.list()?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            _ => return Err(self.wrong("Expected the start of a JSON value.")),
        };
        self.depth -= 1;
        Ok((value, Place { file: self.file, start, end: self.at }))
    }

    fn word(&mut self) -> Result<Value> {
        for (word, value) in
            [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
        {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong(
            "A JSON value may be null, true or false, a number, a string in quotes, a list or an object.",
        ))
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        match serde_json::from_str::<serde_json::Number>(text) {
            Ok(_) => Ok(Value::Number(text.to_owned())),
            Err(_) => Err(self.wrong("This is no JSON number.")),
        }
    }

    fn string(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(b'\n') | None => return Err(self.wrong("The string has no end on its line.")),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let text = self.text.get(start..self.at).unwrap_or_default();
        let read = serde_json::from_str(text);
        read.map_err(|error| self.wrong(&format!("This is no JSON string: {error}.")))
    }

    fn list(&mut self) -> Result<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        while self.peek() != Some(b']') {
            items.push(self.value()?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.wrong("A comma or the end of the list is missing.")),
            }
            self.blanks();
            if self.peek() == Some(b']') {
                return Err(self.wrong("JSON has no comma before the end of a list."));
            }
        }
        self.at += 1;
        Ok(Value::List(items))
    }

    fn object(&mut self) -> Result<Value> {
        self.at += 1;
        let mut members = Vec::new();
        self.blanks();
        while self.peek() != Some(b'}') {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("A JSON object's property name must be a string in quotes."));
            }
            let start = self.at;
            let name = self.string()?;
            let name_place = Place { file: self.file, start, end: self.at };
            self.expect(b':', "A colon must follow the property's name.")?;
            let (value, place) = self.value()?;
            members.push(Member { name, name_place, value, place });
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.wrong("A comma or the end of the object is missing.")),
            }
            self.blanks();
            if self.peek() == Some(b'}') {
                return Err(self.wrong("JSON has no comma before the end of an object."));
            }
        }
        self.at += 1;
        Ok(Value::Object(members))
    }
}
