//! Extended headers: POSIX pax records, `<length> <key>=<value>\n`.

use super::sparse::Segment;
use super::{Attribute, Problem};

/// What an extended header says of the next entry.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    /// Extended attributes by name, in order.
    pub(super) attributes: Vec<Attribute>,
    pub(super) sparse: PaxSparse,
}

/// GNU's sparse files in pax form: versions 0.0, 0.1 and 1.0.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// 0.0 and 0.1: the map; an offset without its length yet is last.
    pub(super) map: Vec<Segment>,
    pub(super) offset: Option<u64>,
    pub(super) present: bool,
}

impl Pax {
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, Problem> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data)?;
            pax.take(key, value)?;
            data = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        // An empty value takes back what was said before.
        let given = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = given.map(<[u8]>::to_vec),
            b"linkpath" => self.link = given.map(<[u8]>::to_vec),
            b"size" => self.size = given.map(|value| number(value, "size")).transpose()?,
            b"uid" => self.uid = given.map(|value| number(value, "user ID")).transpose()?,
            b"gid" => self.gid = given.map(|value| number(value, "group ID")).transpose()?,
            b"mtime" => self.mtime = given.map(time).transpose()?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attribute(name, value);
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn attribute(&mut self, name: &[u8], value: &[u8]) {
        self.attributes.retain(|(known, _)| known != name);
        self.attributes.push((name.to_vec(), value.to_vec()));
    }
}

impl PaxSparse {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        self.present = true;
        let parsed = || number(value, "sparse map").map_err(|_| Problem::Sparse);
        match key {
            b"major" => self.major = Some(parsed()?),
            b"minor" => self.minor = Some(parsed()?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(parsed()?),
            b"offset" => self.offset = Some(parsed()?),
            b"numbytes" => {
                let offset = self.offset.take().ok_or(Problem::Sparse)?;
                self.map.push(Segment { offset, length: parsed()? });
            }
            b"map" => self.map = map(value)?,
            _ => {}
        }
        Ok(())
    }
}

fn map(value: &[u8]) -> Result<Vec<Segment>, Problem> {
    let mut numbers = value.split(|byte| *byte == b',');
    let mut segments = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or(Problem::Sparse)?;
        let parse = |text| number(text, "sparse map").map_err(|_| Problem::Sparse);
        segments.push(Segment { offset: parse(offset)?, length: parse(length)? });
    }
    Ok(segments)
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The first record: key, value, and what follows.
fn record(data: &[u8]) -> Result<Record<'_>, Problem> {
    let space = data.iter().take(21).position(|byte| *byte == b' ').ok_or(Problem::Pax)?;
    let length = number(&data[..space], "").map_err(|_| Problem::Pax)?;
    let length = usize::try_from(length).map_err(|_| Problem::Pax)?;
    if length > data.len() || length < space + 2 || data[length - 1] != b'\n' {
        return Err(Problem::Pax);
    }
    let body = &data[space + 1..length - 1];
    let equals = body.iter().position(|byte| *byte == b'=').ok_or(Problem::Pax)?;
    if equals == 0 {
        return Err(Problem::Pax);
    }
    Ok((&body[..equals], &body[equals + 1..], &data[length..]))
}

/// A decimal number without sign.
pub(super) fn number(text: &[u8], what: &'static str) -> Result<u64, Problem> {
    let valid = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| valid);
    text.and_then(|text| text.parse().ok()).ok_or(Problem::Number(what))
}

/// Seconds with a fraction of any length, possibly before 1970.
fn time(text: &[u8]) -> Result<(i64, u32), Problem> {
    const WRONG: Problem = Problem::Number("time");
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(number(&text[..dot], "time")?).map_err(|_| WRONG)?;
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    let nanos = (0..9).fold(0u32, |nanos, index| {
        nanos * 10 + u32::from(fraction.get(index).map_or(0, |digit| digit - b'0'))
    });
    Ok(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        // The last path wins.
        let good = [record_of("path", b"a"), record_of("path", b"b\xff"), record_of("uid", b"5000000000")];
        let pax = Pax::parse(&good.concat()).unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b\xff"[..]));
        assert_eq!(pax.uid, Some(5_000_000_000));
        let empty = [record_of("path", b"a"), record_of("path", b"")].concat();
        assert_eq!(Pax::parse(&empty).unwrap().path, None);
    }

    #[test]
    fn attributes_keep_any_bytes() {
        let value = b"a=b\nc\0d";
        let pax = Pax::parse(&record_of("SCHILY.xattr.user.x", value)).unwrap();
        assert_eq!(pax.attributes, [(b"user.x".to_vec(), value.to_vec())]);
    }

    #[test]
    fn malformed_records() {
        for data in [
            &b"x"[..],
            b"5 a=b",
            b"999 a=b\n",
            b"0 a=b\n",
            b"3 a\n",
            b"5 ab\n",
            b"5 =b\n",
            b"99999999999999999999999 a=b\n",
            b"-6 a=b\n",
        ] {
            assert_eq!(Pax::parse(data), Err(Problem::Pax), "{data:?}");
        }
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("0", (0, 0)),
            ("1700000000.123456789", (1_700_000_000, 123_456_789)),
            ("1.5", (1, 500_000_000)),
            ("1.1234567899", (1, 123_456_789)),
            ("-1.25", (-2, 750_000_000)),
            ("-3", (-3, 0)),
        ] {
            assert_eq!(time(text.as_bytes()), Ok(expected), "{text}");
        }
        assert!(time(b"1.x").is_err() && time(b"").is_err() && time(b"--1").is_err());
    }

    fn record_of(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length.to_string().len() + body != length {
            length = length.to_string().len() + body;
        }
        let mut record = format!("{length} {key}=").into_bytes();
        record.extend_from_slice(value);
        record.push(b'\n');
        record
    }
}
