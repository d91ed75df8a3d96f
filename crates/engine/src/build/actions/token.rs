//! What the token of a workflow says of itself: which scopes it may read and write, and how long (a JWT; that it is
//! genuine is the service's business).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

/// A scope: a branch, as a rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Scope {
    pub(super) scope: String,
    pub(super) permission: u32,
}

const WRITE: u32 = 2;

impl Scope {
    pub(super) fn is_writable(&self) -> bool {
        self.permission & WRITE != 0
    }
}

/// What counts of the token.
#[derive(Deserialize)]
struct Claims {
    /// The scopes, as JSON in a text.
    ac: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Reads the scopes of a token that is valid now.
pub(super) fn scopes(token: &str, now: Timestamp) -> Result<Vec<Scope>, String> {
    let payload = token.split('.').nth(1).filter(|_| token.split('.').count() == 3);
    let payload = payload.ok_or("token contains an invalid number of segments")?;
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map_err(|_| "token is malformed")?;
    let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| "token is malformed")?;
    let access = claims.ac.ok_or("invalid token without access controls")?;
    let time = |seconds: f64| Timestamp::from_second(seconds as i64).unwrap_or(Timestamp::MAX);
    let expires = time(claims.exp.ok_or("invalid token without expiration time")?);
    if now > expires {
        return Err(format!("cache token expired at {expires}"));
    }
    let begins = time(claims.nbf.ok_or("invalid token without expiration time")?);
    if now < begins {
        return Err(format!("invalid token with future issue time time {begins}"));
    }
    serde_json::from_str(&access).map_err(|error| format!("failed to parse token access controls: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn scopes_are_read_from_a_valid_token() {
        let now = Timestamp::from_second(1000).expect("a time");
        let claims = |nbf: u32, exp: u32| {
            let ac = r#"[{\"Scope\":\"refs/heads/a\",\"Permission\":3},{\"Scope\":\"refs/heads/main\",\"Permission\":1}]"#;
            token(&format!(r#"{{"nbf":{nbf},"exp":{exp}.5,"ac":"{ac}"}}"#))
        };
        let read = scopes(&claims(900, 1100), now).expect("scopes");
        assert_eq!(read[0].scope, "refs/heads/a");
        assert_eq!(read.iter().map(Scope::is_writable).collect::<Vec<_>>(), [true, false]);
        let wrong = |token: &str| scopes(token, now).expect_err("refused");
        assert!(wrong(&claims(900, 999)).starts_with("cache token expired at"));
        assert!(wrong(&claims(1001, 1100)).contains("future"));
        assert_eq!(wrong("a.b"), "token contains an invalid number of segments");
        assert_eq!(wrong("a.!.c"), "token is malformed");
        assert_eq!(wrong(&token("{}")), "invalid token without access controls");
    }
}
