//! A command line in words, as Docker Compose splits it: quotes and backslashes, and an end at what a shell would
//! take for its own (`;`, `&`, `|`, `<`, `>`).

/// Splits a command line.
///
/// # Errors
/// A quote is not closed.
pub fn split(line: &str) -> Result<Vec<String>, &'static str> {
    const INVALID: &str = "invalid command line string";
    let mut words = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let (mut escaped, mut single, mut double, mut back, mut dollar) = (false, false, false, false, false);
    for c in line.chars() {
        if escaped {
            word.push(c);
            (escaped, begun) = (false, true);
            continue;
        }
        match c {
            '\\' if single => word.push(c),
            '\\' => escaped = true,
            ' ' | '\t' | '\r' | '\n' if single || double || back || dollar => word.push(c),
            ' ' | '\t' | '\r' | '\n' => {
                if begun {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            '"' if !single && !dollar => {
                begun |= double;
                double = !double;
            }
            '\'' if !double && !dollar => {
                begun |= single;
                single = !single;
            }
            ';' | '&' | '|' | '<' | '>' if !(single || double || back || dollar) => {
                if c == '>' && word.starts_with(|d: char| d.is_ascii_digit()) {
                    begun = false;
                }
                break;
            }
            '(' if !single && !double && !back => {
                if dollar || !word.ends_with('$') {
                    return Err(INVALID);
                }
                dollar = true;
                word.push(c);
            }
            _ => {
                match c {
                    '`' if !single && !double && !dollar => back = !back,
                    ')' if !single && !double && !back => dollar = !dollar,
                    _ => {}
                }
                begun = true;
                word.push(c);
            }
        }
    }
    if begun {
        words.push(word);
    }
    if escaped || single || double || back || dollar { Err(INVALID) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_command_lines() {
        let cases: &[(&str, &[&str])] = &[
            ("a b  c", &["a", "b", "c"]),
            ("sh -c 'echo \"x y\"'", &["sh", "-c", "echo \"x y\""]),
            (r#"a "b \" c" d\ e"#, &["a", "b \" c", "d e"]),
            ("a ''", &["a", ""]),
            ("a && b", &["a"]),
            ("echo $(x y) z", &["echo", "$(x y)", "z"]),
            ("", &[]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), *words, "{line}");
        }
        assert!(split("'open").is_err());
        assert!(split("a (b").is_err());
    }
}
