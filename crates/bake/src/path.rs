//! Paths as Go cleans and joins them.

/// The shortest form: no `.`, no `//`, `..` only at the beginning.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => drop(parts.pop()),
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Whether a name fits a pattern of `*`, `?` and `[…]`; none if the pattern is wrong.
pub fn matches(pattern: &str, name: &str) -> Option<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check(&pattern)?;
    // The places in the name that the pattern so far leads to.
    let mut at = vec![false; name.len() + 1];
    at[0] = true;
    let mut i = 0;
    while i < pattern.len() {
        let mut next = vec![false; name.len() + 1];
        if pattern[i] == '*' {
            let mut reached = false;
            for (place, next) in next.iter_mut().enumerate() {
                reached =
                    (reached && place.checked_sub(1).is_some_and(|before| name[before] != '/')) || at[place];
                *next = reached;
            }
            i += 1;
        } else {
            let (end, fits) = one(&pattern, i);
            for place in 0..name.len() {
                next[place + 1] = at[place] && fits(name[place]);
            }
            i = end;
        }
        at = next;
    }
    Some(at[name.len()])
}

/// What stands at a place for one character: where it ends, and what fits.
fn one(pattern: &[char], at: usize) -> (usize, Box<dyn Fn(char) -> bool + '_>) {
    match pattern[at] {
        '?' => (at + 1, Box::new(|c| c != '/')),
        '\\' => (at + 2, Box::new(move |c| pattern.get(at + 1) == Some(&c))),
        '[' => {
            let end = at + 1 + pattern[at + 1..].iter().position(|c| *c == ']').unwrap_or(0);
            let inner = &pattern[at + 1..end];
            let (negated, inner) = match inner.first() {
                Some('^') => (true, &inner[1..]),
                _ => (false, inner),
            };
            let fits = move |c: char| {
                let mut found = false;
                let mut i = 0;
                while i < inner.len() {
                    if inner.get(i + 1) == Some(&'-') && i + 2 < inner.len() {
                        found |= (inner[i]..=inner[i + 2]).contains(&c);
                        i += 3;
                    } else {
                        found |= inner[i] == c;
                        i += 1;
                    }
                }
                found != negated
            };
            (end + 1, Box::new(fits))
        }
        literal => (at + 1, Box::new(move |c| c == literal)),
    }
}

fn check(pattern: &[char]) -> Option<()> {
    let mut i = 0;
    while i < pattern.len() {
        match pattern[i] {
            '[' => {
                let length = pattern[i + 1..].iter().position(|c| *c == ']')?;
                if length == 0 {
                    return None;
                }
                i += length + 1;
            }
            '\\' if i + 1 == pattern.len() => return None,
            '\\' => i += 1,
            _ => {}
        }
        i += 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("./a//b/../c/", "a/c"),
            ("../../x", "../../x"),
            ("/..", "/"),
            ("a/..", "."),
            ("/a/./b", "/a/b"),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn patterns_match_as_go_s() {
        let fits = |pattern: &str, name: &str| matches(pattern, name).expect(pattern);
        assert!(fits("*", "app") && fits("app*", "app-1") && fits("a?p", "app") && fits("[a-c]x", "bx"));
        assert!(!fits("app", "app1") && !fits("[^a]x", "ax") && !fits("?", "") && fits("**", "x"));
        assert_eq!(matches("[", "x"), None);
        assert!(fits(&"*a".repeat(200), &"a".repeat(400)));
    }
}
