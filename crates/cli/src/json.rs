//! Re-indents JSON text as it came over the wire: order of keys and spelling of numbers stay as they are.

/// Indents JSON with four spaces, as `inspect` prints it.
pub fn indent(raw: &[u8]) -> Vec<u8> {
    indent_with(raw, "    ")
}

/// Indents JSON with the given step.
pub fn indent_with(raw: &[u8], step: &str) -> Vec<u8> {
    reflow(raw, Some(step))
}

/// JSON on one line.
pub fn compact(raw: &[u8]) -> Vec<u8> {
    reflow(raw, None)
}

fn newline(out: &mut Vec<u8>, depth: usize, step: &str) {
    out.push(b'\n');
    for _ in 0..depth {
        out.extend_from_slice(step.as_bytes());
    }
}

fn reflow(raw: &[u8], pretty: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() * 2);
    let (mut depth, mut in_string, mut escaped, mut just_opened) = (0usize, false, false, false);
    for &b in raw {
        if in_string {
            out.push(b);
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        if b.is_ascii_whitespace() {
            continue;
        }
        if just_opened && b != b']' && b != b'}' {
            depth += 1;
            if let Some(step) = pretty {
                newline(&mut out, depth, step);
            }
            just_opened = false;
        }
        match b {
            b'"' => {
                in_string = true;
                out.push(b);
            }
            b'{' | b'[' => {
                just_opened = true;
                out.push(b);
            }
            b'}' | b']' => {
                if just_opened {
                    just_opened = false;
                } else {
                    depth = depth.saturating_sub(1);
                    if let Some(step) = pretty {
                        newline(&mut out, depth, step);
                    }
                }
                out.push(b);
            }
            b',' => {
                out.push(b);
                if let Some(step) = pretty {
                    newline(&mut out, depth, step);
                }
            }
            b':' => out.extend_from_slice(if pretty.is_some() { b": " } else { b":" }),
            _ => out.push(b),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_like_inspect() {
        let text = indent(br#"[{"a":1,"b":[],"c":{},"d":["x,{","y\""]}]"#);
        let want = "[\n    {\n        \"a\": 1,\n        \"b\": [],\n        \"c\": {},\n        \"d\": [\n            \"x,{\",\n            \"y\\\"\"\n        ]\n    }\n]";
        assert_eq!(String::from_utf8(text).unwrap(), want);
    }

    #[test]
    fn compacts() {
        assert_eq!(compact(b"{ \"a\" : [ 1 , 2 ] }\n"), br#"{"a":[1,2]}"#);
    }
}
