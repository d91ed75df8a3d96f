//! Tokens: JSON web tokens (RFC 7519) signed with HMAC-SHA-256. Only this registry reads them, so one key that never
//! leaves its metadata is enough, and a token with any other algorithm in its head is none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::grant::Grant;
use crate::metadata::Millis;

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const ISSUER: &str = "dray-registry";
/// The longest token that is looked at.
const LONGEST: usize = 16 * 1024;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    /// Requests of the registry.
    Access,
    /// More tokens: what a client keeps instead of the password.
    Refresh,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    /// Who has it; empty for nobody.
    pub(super) sub: String,
    /// Until when and since when, in seconds since 1970.
    pub(super) exp: i64,
    pub(super) iat: i64,
    pub(super) purpose: Purpose,
    /// What it allows.
    pub(super) access: Vec<Grant>,
    /// Whether who has it is a robot account, which may be called like a user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) robot: bool,
    /// [`Signer::mark`] of the password that a refresh token stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
}

impl Claims {
    /// A token's content that begins now.
    pub(super) fn new(
        subject: &str,
        purpose: Purpose,
        access: Vec<Grant>,
        now: Millis,
        seconds: i64,
    ) -> Self {
        let iat = now / 1000;
        Self {
            iss: ISSUER.into(),
            sub: subject.into(),
            exp: iat + seconds,
            iat,
            purpose,
            access,
            robot: false,
            password: None,
        }
    }
}

/// Signs and checks.
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    pub(super) fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let text = format!("{}.{}", BASE64.encode(HEAD), BASE64.encode(claims));
        let signature = hmac::sign(&self.0, text.as_bytes());
        format!("{text}.{}", BASE64.encode(signature))
    }

    /// A text that only this registry can make of a secret.
    pub(super) fn mark(&self, secret: &str) -> String {
        BASE64.encode(hmac::sign(&self.0, format!("password {secret}").as_bytes()))
    }

    /// What a token says, if it is ours, for this purpose, and has not ended.
    pub(super) fn verify(&self, token: &str, purpose: Purpose, now: Millis) -> Option<Claims> {
        let (text, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
        let signature = BASE64.decode(signature).ok()?;
        hmac::verify(&self.0, text.as_bytes(), &signature).ok()?;
        let (head, claims) = text.split_once('.')?;
        if BASE64.decode(head).ok()? != HEAD.as_bytes() {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let valid = claims.iss == ISSUER && claims.purpose == purpose && now / 1000 < claims.exp;
        valid.then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(key: u8) -> Signer {
        Signer::new(hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]))
    }

    #[test]
    fn only_our_tokens_are_ours() {
        let claims = Claims::new("ann", Purpose::Access, Grant::list("repository:a:pull"), 1_000_000, 60);
        let token = signer(1).sign(&claims);
        assert_eq!(signer(1).verify(&token, Purpose::Access, 1_000_000), Some(claims.clone()));
        assert_eq!(signer(2).verify(&token, Purpose::Access, 1_000_000), None, "another's key");
        assert_eq!(signer(1).verify(&token, Purpose::Refresh, 1_000_000), None, "another purpose");
        assert_eq!(signer(1).verify(&token, Purpose::Access, 1_060_000), None, "too late");
        let forged = format!("{}.", token.rsplit_once('.').unwrap().0);
        for bad in ["", "a.b.c", "..", &forged, &token.replace('.', "")] {
            assert_eq!(signer(1).verify(bad, Purpose::Access, 1_000_000), None, "{bad}");
        }
    }

    #[test]
    fn a_token_without_a_signature_is_none() {
        let claims = Claims::new("ann", Purpose::Access, Vec::new(), 0, 60);
        let head = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let text = format!("{head}.{}", BASE64.encode(serde_json::to_vec(&claims).unwrap()));
        assert_eq!(signer(1).verify(&format!("{text}."), Purpose::Access, 0), None);
        let signed = hmac::sign(&signer(1).0, text.as_bytes());
        let token = format!("{text}.{}", BASE64.encode(signed));
        assert_eq!(signer(1).verify(&token, Purpose::Access, 0), None, "signed, but says that it is not");
    }
}
