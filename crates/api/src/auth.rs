//! Registry credentials: `POST /auth`, `X-Registry-Auth` and `X-Registry-Config`.

use std::collections::BTreeMap;

use crate::json::empty;

/// Header with the base64url-encoded JSON of an [`AuthConfig`].
pub const AUTH_HEADER: &str = "X-Registry-Auth";
/// Header with the base64url-encoded JSON of [`AuthConfigs`] (build).
pub const CONFIG_HEADER: &str = "X-Registry-Config";

/// Credentials by registry.
pub type AuthConfigs = BTreeMap<String, AuthConfig>;

wire! {
    /// Credentials for one registry.
    pub struct AuthConfig {
        #[serde(skip_serializing_if = "empty")]
        pub username: String,
        #[serde(skip_serializing_if = "empty")]
        pub password: String,
        #[serde(skip_serializing_if = "empty")]
        pub auth: String,
        #[serde(skip_serializing_if = "empty")]
        pub email: String,
        #[serde(skip_serializing_if = "empty")]
        pub serveraddress: String,
        #[serde(skip_serializing_if = "empty")]
        pub identitytoken: String,
        #[serde(skip_serializing_if = "empty")]
        pub registrytoken: String,
    }

    /// Answer of `POST /auth`.
    #[serde(rename_all = "PascalCase")]
    pub struct AuthResponse {
        pub identity_token: String,
        pub status: String,
    }
}
