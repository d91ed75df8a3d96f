//! Texts.

use super::Takes::{Number as Num, Text, Texts};
use super::{Function, fixed, open, str, strs, whole};
use crate::error::Result;
use crate::eval::Machine;
use crate::value::{Number, Value};

pub(super) static ALL: &[Function] = &[
    fixed("upper", &[("str", Text)], |_, a| Ok(str(&a[0]).to_uppercase().into())),
    fixed("lower", &[("str", Text)], |_, a| Ok(str(&a[0]).to_lowercase().into())),
    fixed("title", &[("str", Text)], |_, a| Ok(title(str(&a[0])).into())),
    fixed("trim", &[("str", Text), ("cutset", Text)], |_, a| {
        let cut: Vec<char> = str(&a[1]).chars().collect();
        Ok(str(&a[0]).trim_matches(cut.as_slice()).into())
    }),
    fixed("trimprefix", &[("str", Text), ("prefix", Text)], |_, a| {
        Ok(str(&a[0]).strip_prefix(str(&a[1])).unwrap_or(str(&a[0])).into())
    }),
    fixed("trimsuffix", &[("str", Text), ("suffix", Text)], |_, a| {
        Ok(str(&a[0]).strip_suffix(str(&a[1])).unwrap_or(str(&a[0])).into())
    }),
    fixed("trimspace", &[("str", Text)], |_, a| Ok(str(&a[0]).trim().into())),
    fixed("chomp", &[("str", Text)], |_, a| Ok(str(&a[0]).trim_end_matches(['\n', '\r']).into())),
    fixed("strlen", &[("str", Text)], |_, a| Ok(Number::from(str(&a[0]).chars().count()).into())),
    fixed("reverse", &[("str", Text)], |_, a| Ok(str(&a[0]).chars().rev().collect::<String>().into())),
    fixed("substr", &[("str", Text), ("offset", Num), ("length", Num)], substr),
    fixed("bytesslice", &[("buf", Text), ("offset", Num), ("length", Num)], bytes_slice),
    fixed("replace", &[("str", Text), ("substr", Text), ("replace", Text)], |m, a| {
        let (text, from, to) = (str(&a[0]), str(&a[1]), str(&a[2]));
        let count = if from.is_empty() { text.chars().count() + 1 } else { text.matches(from).count() };
        m.check_size((text.len() + count.saturating_mul(to.len())) as u64)?;
        Ok(text.replace(from, to).into())
    }),
    open("join", &[("separator", Text)], ("lists", Texts), |m, a| {
        let all: Vec<&str> = a[1..].iter().flat_map(strs).collect();
        m.check_size((all.len() as u64).saturating_mul(str(&a[0]).len() as u64))?;
        Ok(all.join(str(&a[0])).into())
    }),
    fixed("split", &[("separator", Text), ("str", Text)], |_, a| {
        let (separator, text) = (str(&a[0]), str(&a[1]));
        Ok(match separator {
            "" => Value::texts(text.chars().map(String::from)),
            _ => Value::texts(text.split(separator).map(str::to_owned)),
        })
    }),
    fixed("indent", &[("spaces", Num), ("str", Text)], |m, a| {
        let (spaces, text) = (whole(&a[0])?, str(&a[1]));
        let spaces =
            u64::try_from(spaces).map_err(|_| "the number of spaces must not be negative".to_owned())?;
        m.check_size(spaces.saturating_mul(text.matches('\n').count() as u64 + 1))?;
        Ok(text.replace('\n', &format!("\n{}", " ".repeat(spaces as usize))).into())
    }),
    fixed("sort", &[("list", Texts)], |_, a| {
        let mut all: Vec<String> = strs(&a[0]).into_iter().map(str::to_owned).collect();
        all.sort();
        Ok(Value::texts(all))
    }),
    fixed("sanitize", &[("name", Text)], |_, a| {
        let fit = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
        Ok(str(&a[0]).chars().map(fit).collect::<String>().into())
    }),
    fixed("basename", &[("path", Text)], |_, a| Ok(base(str(&a[0])).into())),
    fixed("dirname", &[("path", Text)], |_, a| Ok(dir(str(&a[0])).into())),
    fixed("homedir", &[], |_, _| Ok(std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned()).into())),
];

fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if before.is_alphanumeric() || before == '_' || before == '\'' {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        before = c;
    }
    out
}

/// As many characters from a place on; places before 0 count from the end.
fn substr(_: &Machine, a: &[Value]) -> Result<Value> {
    let all: Vec<char> = str(&a[0]).chars().collect();
    let (mut offset, length, count) = (whole(&a[1])?, whole(&a[2])?, all.len() as i128);
    if offset < 0 {
        offset += count;
        offset = offset.max(0);
    }
    if offset >= count || length == 0 {
        return Ok("".into());
    }
    let end = if length < 0 { count } else { offset.saturating_add(length).min(count) };
    Ok(all[offset as usize..end as usize].iter().collect::<String>().into())
}

fn bytes_slice(_: &Machine, a: &[Value]) -> Result<Value> {
    let bytes = str(&a[0]).as_bytes();
    let place = |value: &Value| whole(value).ok().and_then(|n| usize::try_from(n).ok());
    let (Some(offset), Some(length)) = (place(&a[1]), place(&a[2])) else {
        return Err("offset and length must not be negative".into());
    };
    let part = offset.checked_add(length).and_then(|end| bytes.get(offset..end));
    let part = part.ok_or("offset and length must be within the buffer")?;
    Ok(String::from_utf8_lossy(part).into_owned().into())
}

/// The last part of a path, as Go's `path.Base`.
fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// All but the last part of a path, as Go's `path.Dir`.
fn dir(path: &str) -> String {
    dray_spec::glob::clean_path(path.rfind('/').map_or("", |at| &path[..=at]))
}
