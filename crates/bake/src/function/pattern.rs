//! Regular expressions, in Go's syntax but for classes of Unicode.

use std::collections::BTreeMap;

use regex_lite::{Captures, Regex};

use super::Takes::Text;
use super::{Function, fixed, str};
use crate::error::Result;
use crate::value::{Mapping, Sequence, Value};

pub(super) static ALL: &[Function] = &[
    fixed("regex", &[("pattern", Text), ("string", Text)], |_, a| {
        let regex = compile(str(&a[0]))?;
        let found = regex.captures(str(&a[1]));
        let found = found.ok_or("pattern did not match any part of the given string")?;
        Ok(captured(&regex, &found))
    }),
    fixed("regexall", &[("pattern", Text), ("string", Text)], |_, a| {
        let regex = compile(str(&a[0]))?;
        let all = regex.captures_iter(str(&a[1])).map(|found| captured(&regex, &found)).collect();
        Ok(Value::list(Sequence::List, all))
    }),
    fixed("regex_replace", &[("str", Text), ("pattern", Text), ("replace", Text)], |m, a| {
        let regex = compile(str(&a[1]))?;
        let text = str(&a[0]);
        // A replacement may repeat what was found, once for each `$`.
        let times = str(&a[2]).matches('$').count() as u64 + 1;
        let added = (str(&a[2]).len() as u64).saturating_mul(regex.find_iter(text).count() as u64);
        m.check_size((text.len() as u64).saturating_mul(times).saturating_add(added))?;
        Ok(regex.replace_all(text, str(&a[2])).into_owned().into())
    }),
];

fn compile(pattern: &str) -> Result<Regex> {
    let built = regex_lite::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    built.map_err(|error| format!("invalid regexp pattern: {error}").into())
}

/// What groups have found: the whole without groups, a list of those without names, an object of those with.
fn captured(regex: &Regex, found: &Captures<'_>) -> Value {
    let group = |at: usize| found.get(at).map_or(Value::Null, |part| Value::from(part.as_str()));
    let names: Vec<Option<&str>> = regex.capture_names().collect();
    match names.len() {
        0 | 1 => group(0),
        _ if names.iter().any(Option::is_some) => {
            let named =
                names.iter().enumerate().filter_map(|(at, name)| Some(((*name)?.to_owned(), group(at))));
            Value::object(Mapping::Object, named.collect::<BTreeMap<_, _>>())
        }
        count => Value::tuple((1..count).map(group).collect()),
    }
}
