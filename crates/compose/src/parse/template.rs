//! Variables in text: `$NAME`, `${NAME}`, and the operators `:-` `-` `:?` `?` `:+` `+`; `$$` is a dollar.
//!
//! The rules, corner cases included, are those by which Docker Compose replaces variables: an expression ends at the
//! first brace that closes it, and what an operator brings may hold variables itself.

use std::collections::BTreeMap;

use super::allowance::{Allowance, EXPANDED};

/// Why text cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `${` that nothing closes, or that names nothing.
    #[error("Invalid template: {0:?}")]
    Invalid(String),
    /// `${NAME:?reason}` of a variable that has no value.
    #[error("required variable {name} is missing a value{}{reason}", if .reason.is_empty() { "" } else { ": " })]
    Required {
        /// The variable.
        name: String,
        /// What the text says about it.
        reason: String,
    },
    /// Variables that hold others, many times over.
    #[error("variables bring more than {} MiB into values", EXPANDED >> 20)]
    TooLong,
}

/// Where values come from, and who hears of variables that have none.
pub trait Lookup {
    /// How much values may bring.
    fn allowance(&self) -> &Allowance;
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<String>;
    /// A variable without a value became an empty text.
    fn missing(&self, name: &str);
}

/// How deep variables may stand in what operators bring.
const MAX_DEPTH: usize = 100;

/// Replaces the variables of a text.
///
/// # Errors
/// An expression is none, expressions nest too deep, or a required variable has no value.
pub fn substitute(text: &str, lookup: &dyn Lookup) -> Result<String, Error> {
    nested(text, lookup, 0)
}

fn nested(text: &str, lookup: &dyn Lookup, depth: usize) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // What stands between the end of an expression and the last brace of its line is a text of its own for errors: it
    // ends where so many bytes are left.
    let (mut template, mut left) = (text, 0);
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        if rest.len() <= left {
            (template, left) = (text, 0);
        }
        match expression(rest) {
            Found::Literal => {
                out.push('$');
                rest = &rest[1..];
            }
            Found::Dollar => {
                out.push('$');
                rest = &rest[2..];
            }
            Found::Named(name) => {
                out.push_str(&plain(name, lookup)?);
                rest = &rest[1 + name.len()..];
            }
            Found::Braced(whole) => {
                let (inside, after) = split_braced(whole);
                out.push_str(&braced(inside, template, lookup, depth)?);
                rest = &rest[whole.len() - after.len()..];
                if !after.is_empty() {
                    (template, left) = (after, rest.len() - after.len());
                }
            }
            Found::Invalid => return Err(Error::Invalid(template.to_owned())),
        }
    }
    out.push_str(rest);
    Ok(out)
}

enum Found<'a> {
    /// A dollar that begins nothing.
    Literal,
    /// `$$`
    Dollar,
    /// `$NAME`
    Named(&'a str),
    /// From `${` to the last brace of its line, if it has an operator.
    Braced(&'a str),
    Invalid,
}

/// What begins at a dollar.
fn expression(text: &str) -> Found<'_> {
    let after = &text[1..];
    if after.starts_with('$') {
        return Found::Dollar;
    }
    let name = name_of(after);
    if !name.is_empty() {
        return Found::Named(name);
    }
    let Some(inside) = after.strip_prefix('{') else { return Found::Literal };
    let name = name_of(inside);
    if name.is_empty() {
        return Found::Invalid;
    }
    let tail = &inside[name.len()..];
    let begin = 2 + name.len();
    if operator(tail).is_some() {
        let line = tail.split('\n').next().unwrap_or(tail);
        if let Some(end) = line.rfind('}') {
            return Found::Braced(&text[..=begin + end]);
        }
    }
    if tail.starts_with('}') { Found::Braced(&text[..=begin]) } else { Found::Invalid }
}

fn name_of(text: &str) -> &str {
    let first = |c: char| c == '_' || c.is_ascii_alphabetic();
    if !text.starts_with(first) {
        return "";
    }
    let end = text.find(|c: char| !(first(c) || c.is_ascii_digit())).unwrap_or(text.len());
    &text[..end]
}

fn operator(text: &str) -> Option<&'static str> {
    [":?", "?", ":-", "-", ":+", "+"].into_iter().find(|o| text.starts_with(o))
}

fn plain(name: &str, lookup: &dyn Lookup) -> Result<String, Error> {
    let Some(value) = lookup.get(name) else {
        lookup.missing(name);
        return Ok(String::new());
    };
    paid(value, lookup)
}

/// A value that goes into a text.
fn paid(value: String, lookup: &dyn Lookup) -> Result<String, Error> {
    if lookup.allowance().take(value.len()) { Ok(value) } else { Err(Error::TooLong) }
}

/// What is between the braces of `${…}`.
fn braced(inside: &str, template: &str, lookup: &dyn Lookup, depth: usize) -> Result<String, Error> {
    let name = name_of(inside);
    let tail = &inside[name.len()..];
    let Some(operator) = operator(tail) else {
        return if tail.is_empty() { plain(name, lookup) } else { Err(Error::Invalid(template.to_owned())) };
    };
    if depth == MAX_DEPTH {
        return Err(Error::Invalid(template.to_owned()));
    }
    let word = nested(&tail[operator.len()..], lookup, depth + 1)?;
    let value = lookup.get(name);
    let filled = value.as_ref().is_some_and(|v| !operator.starts_with(':') || !v.is_empty());
    Ok(match operator.trim_start_matches(':') {
        "?" if !filled => return Err(Error::Required { name: name.to_owned(), reason: word }),
        "-" if !filled => word,
        "+" if filled => word,
        _ => paid(value.unwrap_or_default(), lookup)?,
    })
}

/// What is between the braces, and what comes after them.
fn split_braced(whole: &str) -> (&str, &str) {
    match closing(whole) {
        Some(end) => (&whole[2..end], &whole[end + 1..]),
        None => (&whole[2..whole.len() - 1], ""),
    }
}

/// The brace that closes the first one. The byte after an opening brace is passed over, as Compose does.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(i);
                }
            }
            b'{' => {
                open += 1;
                i += 1;
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// A variable that a file uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variable {
    /// Its value when it has none.
    pub default: String,
    /// What stands instead of its value when it has one.
    pub alternate: String,
    /// Whether it must have a value.
    pub required: bool,
}

/// Adds the variables of a text.
pub fn variables(text: &str, into: &mut BTreeMap<String, Variable>) {
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        rest = &rest[start..];
        match expression(rest) {
            Found::Literal => rest = &rest[1..],
            Found::Dollar | Found::Invalid => rest = &rest[2..],
            Found::Named(name) => {
                into.insert(name.to_owned(), Variable::default());
                rest = &rest[1 + name.len()..];
            }
            Found::Braced(whole) => {
                let (inside, after) = split_braced(whole);
                variables(after, into);
                braced_variable(inside, into);
                rest = &rest[whole.len()..];
            }
        }
    }
}

fn braced_variable(inside: &str, into: &mut BTreeMap<String, Variable>) {
    let name = name_of(inside);
    let tail = &inside[name.len()..];
    let operator = operator(tail).unwrap_or_default();
    let word = &tail[operator.len()..];
    let mut variable = Variable::default();
    match operator.trim_start_matches(':') {
        "?" => variable.required = true,
        "-" => variable.default = word.to_owned(),
        "+" => variable.alternate = word.to_owned(),
        _ => {}
    }
    let nested = !variable.required;
    into.insert(name.to_owned(), variable);
    if nested {
        variables(word, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Values(RefCell<Vec<String>>, Allowance);

    impl Lookup for Values {
        fn allowance(&self) -> &Allowance {
            &self.1
        }
        fn get(&self, name: &str) -> Option<String> {
            match name {
                "FOO" => Some("foo".into()),
                "EMPTY" => Some(String::new()),
                "_2" => Some("two".into()),
                _ => None,
            }
        }
        fn missing(&self, name: &str) {
            self.0.borrow_mut().push(name.to_owned());
        }
    }

    fn values() -> Values {
        Values(RefCell::default(), Allowance::new(EXPANDED))
    }

    #[test]
    fn all_operators() {
        let cases = [
            ("plain", "plain"),
            ("$FOO ${FOO} ${_2}", "foo foo two"),
            ("$$FOO $5 $ a$", "$FOO $5 $ a$"),
            ("${NONE}-$NONE", "-"),
            ("${NONE:-d}${EMPTY:-d}${FOO:-d}", "ddfoo"),
            ("${NONE-d}${EMPTY-d}${FOO-d}", "dfoo"),
            ("${NONE:+a}${EMPTY:+a}${FOO:+a}", "a"),
            ("${NONE+a}${EMPTY+a}${FOO+a}", "aa"),
            ("${FOO:?x}${EMPTY?x}", "foo"),
            ("${NONE:-${FOO}}/${NONE:-${EMPTY:-deep}}", "foo/deep"),
            ("${NONE:-a} and }", "a and }"),
            ("${NONE:-http://x:80/?a=b}", "http://x:80/?a=b"),
            ("${NONE:-a\nb}", "never"),
        ];
        for (text, wanted) in cases {
            match substitute(text, &values()) {
                Ok(got) => assert_eq!(got, wanted, "{text}"),
                Err(e) => assert!(wanted == "never", "{text}: {e}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in ["${", "${}", "${FOO", "${1}", "${FOO!}", "a ${ b"] {
            assert_eq!(substitute(text, &values()), Err(Error::Invalid(text.into())), "{text}");
        }
        let error = substitute("${NONE:?set $FOO}", &values()).unwrap_err();
        assert_eq!(error.to_string(), "required variable NONE is missing a value: set foo");
        assert_eq!(
            substitute("${NONE?}", &values()).unwrap_err().to_string(),
            "required variable NONE is missing a value"
        );
    }

    #[test]
    fn neither_many_nor_deep_ones_exhaust_the_stack() {
        let many = "${NONE:-a}".repeat(50_000);
        assert_eq!(substitute(&many, &values()).unwrap(), "a".repeat(50_000));
        let deep = |depth| format!("{}a{}", "${NONE:-".repeat(depth), "}".repeat(depth));
        assert_eq!(substitute(&deep(100), &values()).unwrap(), "a");
        assert!(matches!(substitute(&deep(50_000), &values()), Err(Error::Invalid(_))));
    }

    #[test]
    fn the_text_that_is_wrong_is_told_of_as_compose_does() {
        for (text, wrong) in [
            ("a ${FOO:-b} ${} c", " ${}"),
            ("${FOO:-b} ${} ${FOO:-c}", " ${} ${FOO:-c}"),
            ("${FOO:-b} } ${1}\n${", " } ${1}"),
            ("${FOO:-b} }\n${", "${FOO:-b} }\n${"),
        ] {
            let error = substitute(text, &values()).unwrap_err();
            assert!(matches!(&error, Error::Invalid(told) if told == wrong), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn variables_bring_so_much_and_no_more() {
        let values = Values(RefCell::default(), Allowance::new(7));
        assert_eq!(substitute("$FOO ${FOO}", &values).unwrap(), "foo foo");
        assert_eq!(substitute("${FOO:-x}", &values), Err(Error::TooLong));
    }

    #[test]
    fn missing_variables_are_told_once_each_use() {
        let values = values();
        substitute("$A ${B} ${C:-x}", &values).unwrap();
        assert_eq!(*values.0.borrow(), ["A", "B"]);
    }

    #[test]
    fn variables_are_found_in_words_too() {
        let mut found = BTreeMap::new();
        variables("$A ${B:-${C:+d}} ${D?no} $$E", &mut found);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
        assert_eq!(found["B"].default, "${C:+d}");
        assert_eq!(found["C"].alternate, "d");
        assert!(found["D"].required);
    }
}
