//! Registry credentials in headers: base64url of JSON. What cannot be read counts as none, as in Docker.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use dray_api::auth::{AUTH_HEADER, AuthConfig, AuthConfigs, CONFIG_HEADER};
use http::HeaderMap;
use serde::de::DeserializeOwned;

/// `X-Registry-Auth`.
pub(crate) fn of_registry(headers: &HeaderMap) -> AuthConfig {
    read(headers, AUTH_HEADER).unwrap_or_default()
}

/// `X-Registry-Config`.
pub(crate) fn of_registries(headers: &HeaderMap) -> AuthConfigs {
    read(headers, CONFIG_HEADER).unwrap_or_default()
}

fn read<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> Option<T> {
    let text = headers.get(name)?.as_bytes();
    let either = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.iter().any(|byte| b"+/".contains(byte)) { STANDARD } else { URL_SAFE };
    let decoded = GeneralPurpose::new(&alphabet, either).decode(text).ok()?;
    serde_json::from_slice(&decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_with_and_without_padding() {
        let json = br#"{"username":"u?>","password":"p"}"#;
        let engines = [
            base64::engine::general_purpose::URL_SAFE,
            base64::engine::general_purpose::STANDARD,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
        ];
        for engine in engines {
            let mut headers = HeaderMap::new();
            headers.insert("x-registry-auth", engine.encode(json).parse().unwrap());
            assert_eq!(of_registry(&headers).username, "u?>");
        }
    }

    #[test]
    fn nonsense_is_nobody() {
        let mut headers = HeaderMap::new();
        assert_eq!(of_registry(&headers), AuthConfig::default());
        headers.insert("x-registry-auth", "!!".parse().unwrap());
        headers.insert("x-registry-config", "bm9uc2Vuc2U=".parse().unwrap());
        assert_eq!(of_registry(&headers), AuthConfig::default());
        assert!(of_registries(&headers).is_empty());
    }
}
