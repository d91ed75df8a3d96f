//! `WWW-Authenticate`: what a registry wants to see before it answers (RFC 9110 §11.6.1, RFC 6750 §3).
//!
//! Pure parsing; nothing here speaks to a registry.

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from the issuer at `realm`.
    Bearer(BearerChallenge),
}

/// Parameters of a bearer challenge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BearerChallenge {
    /// URL of the token issuer.
    pub realm: String,
    /// The registry's name at the issuer.
    pub service: Option<String>,
    /// What the token must allow, where the registry says it.
    pub scope: Option<String>,
    /// `insufficient_scope` or `invalid_token` where a token was sent but didn't do.
    pub error: Option<String>,
}

/// Reads one header value, which may hold several challenges. What isn't understood is left out.
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = header;
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = take_token(rest);
        if word.is_empty() {
            break;
        }
        let after = after.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(value), Some((_, params))) => {
                let (value, tail) = take_value(value.trim_start_matches([' ', '\t']));
                params.push((word.to_ascii_lowercase(), value));
                rest = tail;
            }
            (Some(_), None) => break,
            (None, _) => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    found.into_iter().filter_map(|(scheme, params)| challenge(&scheme, params)).collect()
}

fn challenge(scheme: &str, params: Vec<(String, String)>) -> Option<Challenge> {
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let mut bearer = BearerChallenge::default();
            for (name, value) in params {
                match name.as_str() {
                    "realm" => bearer.realm = value,
                    "service" => bearer.service = Some(value),
                    "scope" => bearer.scope = Some(value),
                    "error" => bearer.error = Some(value),
                    _ => {}
                }
            }
            (!bearer.realm.is_empty()).then_some(Challenge::Bearer(bearer))
        }
        _ => None,
    }
}

fn take_token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string or a bare word up to the next comma or space.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(BearerChallenge {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
            error: None,
        })
    }

    #[test]
    fn bearer_with_all_parameters() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.test/token",service="reg.test",scope="repository:a/b:pull,push""#
            ),
            [bearer("https://auth.test/token", Some("reg.test"), Some("repository:a/b:pull,push"))]
        );
    }

    #[test]
    fn spaces_case_and_bare_words() {
        assert_eq!(
            parse(r#"  bearer Realm = "https://a.test/t" , SERVICE=reg.test"#),
            [bearer("https://a.test/t", Some("reg.test"), None)]
        );
    }

    #[test]
    fn several_challenges_in_one_header() {
        assert_eq!(
            parse(r#"Negotiate, Basic realm="x, y", Bearer realm="https://a.test/t""#),
            [Challenge::Basic, bearer("https://a.test/t", None, None)]
        );
    }

    #[test]
    fn insufficient_scope_is_kept() {
        let challenges = parse(r#"Bearer realm="https://a.test/t",error="insufficient_scope""#);
        let [Challenge::Bearer(b)] = challenges.as_slice() else { panic!("{challenges:?}") };
        assert_eq!(b.error.as_deref(), Some("insufficient_scope"));
    }

    #[test]
    fn nonsense_gives_nothing_and_ends() {
        for text in ["", ",,,", "=", "Bearer", r#"Bearer realm="unterminated"#, "\"", "Bearer realm=", "é"] {
            for c in parse(text) {
                assert!(
                    matches!(c, Challenge::Bearer(ref b) if b.realm.starts_with("unterminated")),
                    "{text}: {c:?}"
                );
            }
        }
    }

    #[test]
    fn escapes_in_quotes() {
        assert_eq!(
            parse(r#"Bearer realm="https://a.test/\"q\"""#),
            [bearer("https://a.test/\"q\"", None, None)]
        );
    }
}
