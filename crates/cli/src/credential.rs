//! Credentials of registries: in `config.json`, with a `docker-credential-…` program, or in `DOCKER_AUTH_CONFIG`.
//!
//! ```text
//! get    DOCKER_AUTH_CONFIG, else credHelpers[registry], else credsStore, else auths
//! store  credHelpers[registry], else credsStore (auths then has an empty entry), else auths
//! ```

mod helper;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use dray_client::api::auth::{AuthConfig, AuthConfigs};
use serde_json::{Map, Value, json};

use crate::command_error::Error;
use crate::config_file::{ConfigFile, HUB};

/// The variable with credentials that go before all others.
pub const VARIABLE: &str = "DOCKER_AUTH_CONFIG";

/// How a helper names the user of an identity token.
const TOKEN_USER: &str = "<token>";

impl ConfigFile {
    /// The helper that keeps a registry's credentials, if one is configured.
    pub fn helper(&self, server: &str) -> Option<&str> {
        let own = self.entry("credHelpers", server).and_then(Value::as_str);
        own.or_else(|| Some(self.text("credsStore"))).filter(|h| !h.is_empty())
    }

    /// The credentials for a registry; empty ones if there are none.
    ///
    /// # Errors
    /// The helper fails.
    pub fn auth(&self, server: &str) -> Result<AuthConfig, Error> {
        let server = if matches!(server, "docker.io" | "index.docker.io") { HUB } else { server };
        if let Some(auth) = from_environment().remove(server) {
            return Ok(auth);
        }
        let kept = || {
            let exact = self.auths().find(|(key, _)| *key == server);
            exact.or_else(|| self.auths().find(|(key, _)| hostname(key) == server))
        };
        match self.helper(server) {
            Some(helper) => from_helper(helper, server),
            None => Ok(kept().map(|(key, entry)| decode(key, entry)).unwrap_or_default()),
        }
    }

    /// The credentials for all registries.
    ///
    /// # Errors
    /// A helper fails.
    pub fn all_auths(&self) -> Result<AuthConfigs, Error> {
        let mut all = AuthConfigs::new();
        match self.text("credsStore") {
            "" => {
                all.extend(self.auths().map(|(server, entry)| (server.clone(), decode(server, entry))));
            }
            helper => {
                for server in helper::list(helper)? {
                    let auth = from_helper(helper, &server)?;
                    all.insert(server, auth);
                }
            }
        }
        for server in self.helpers() {
            match self.auth(server) {
                Ok(auth) => drop(all.insert(server.clone(), auth)),
                Err(error) => {
                    eprintln!("WARNING: Failed to get credentials for registry: {server}: {error}");
                }
            }
        }
        all.extend(from_environment());
        all.retain(|_, auth| !auth.username.is_empty() || !auth.password.is_empty() || has_token(auth));
        Ok(all)
    }

    /// All credentials as a file of the configuration that has nothing else in it, helpers' too.
    ///
    /// # Errors
    /// A helper fails.
    pub fn as_file_of_credentials(&self) -> Result<String, Error> {
        let all = self.all_auths()?;
        let auths: Map<String, Value> =
            all.iter().map(|(server, auth)| (server.clone(), encode(auth))).collect();
        let mut out = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut writer = serde_json::Serializer::with_formatter(&mut out, tabs);
        serde::Serialize::serialize(&json!({ "auths": auths }), &mut writer)
            .map_err(|source| Error::Json { what: "credentials".into(), source })?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Keeps credentials under `auth.serveraddress`. Says whether a password has come to lie in the file as it is.
    ///
    /// # Errors
    /// The helper fails or the file cannot be written.
    pub fn store(&mut self, auth: &AuthConfig) -> Result<bool, Error> {
        let server = auth.serveraddress.as_str();
        if let Some(helper) = self.helper(server) {
            let (user, secret) = match auth.identitytoken.as_str() {
                "" => (auth.username.as_str(), auth.password.as_str()),
                token => (TOKEN_USER, token),
            };
            helper::store(helper, server, user, secret)?;
            self.set_auth(server, Some(json!({})))?;
            return Ok(false);
        }
        let changed = self.set_auth(server, Some(encode(auth)))?;
        Ok(changed && !auth.password.is_empty())
    }

    /// Forgets credentials.
    ///
    /// # Errors
    /// The helper fails or the file cannot be written.
    pub fn erase(&mut self, server: &str) -> Result<(), Error> {
        if let Some(helper) = self.helper(server) {
            helper::erase(helper, server)?;
        }
        self.set_auth(server, None).map(drop)
    }
}

fn has_token(auth: &AuthConfig) -> bool {
    !auth.identitytoken.is_empty() || !auth.registrytoken.is_empty()
}

fn from_helper(helper: &str, server: &str) -> Result<AuthConfig, Error> {
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    match helper::get(helper, server)? {
        None => return Ok(AuthConfig::default()),
        Some((user, secret)) if user == TOKEN_USER => auth.identitytoken = secret,
        Some((user, secret)) => (auth.username, auth.password) = (user, secret),
    }
    Ok(auth)
}

/// The registries of [`VARIABLE`]; a value that cannot be read is told of and counts as none.
fn from_environment() -> AuthConfigs {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    if text.is_empty() {
        return AuthConfigs::new();
    }
    parse_variable(&text).unwrap_or_else(|problem| {
        eprintln!("Failed to create credential store from {VARIABLE}: {problem}");
        AuthConfigs::new()
    })
}

fn parse_variable(text: &str) -> Result<AuthConfigs, String> {
    let content: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if let Some(unknown) = content.keys().find(|key| *key != "auths") {
        return Err(format!("json: unknown field {unknown:?}"));
    }
    let mut all = AuthConfigs::new();
    for (server, entry) in content.get("auths").and_then(Value::as_object).into_iter().flatten() {
        if entry.get("auth").and_then(Value::as_str).unwrap_or_default().is_empty() {
            return Err(format!("{VARIABLE} environment variable is missing key `auth` for {server}"));
        }
        all.insert(server.clone(), decode(server, entry));
    }
    Ok(all)
}

/// The header that carries credentials.
pub fn auth_header<T: serde::Serialize>(auth: &T) -> String {
    URL_SAFE.encode(serde_json::to_vec(auth).unwrap_or_default())
}

/// A registry's host in a name that may be a URL.
pub fn hostname(server: &str) -> &str {
    let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    rest.split('/').next().unwrap_or(rest)
}

fn encode(auth: &AuthConfig) -> Value {
    let mut entry = Map::new();
    if !auth.username.is_empty() || !auth.password.is_empty() {
        let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
        entry.insert("auth".into(), pair.into());
    }
    for (key, value) in [("identitytoken", &auth.identitytoken), ("registrytoken", &auth.registrytoken)] {
        if !value.is_empty() {
            entry.insert(key.into(), value.clone().into());
        }
    }
    Value::Object(entry)
}

fn decode(server: &str, entry: &Value) -> AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut auth = AuthConfig {
        username: text("username"),
        password: text("password"),
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        serveraddress: server.to_owned(),
        ..AuthConfig::default()
    };
    let pair = STANDARD.decode(text("auth")).ok().and_then(|pair| String::from_utf8(pair).ok());
    if let Some((user, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
        auth.username = user.to_owned();
        auth.password = password.trim_matches('\0').to_owned();
    }
    auth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, ConfigFile) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let file = ConfigFile::load(dir.path().to_owned());
        (dir, file)
    }

    fn auth(server: &str, user: &str, password: &str) -> AuthConfig {
        AuthConfig {
            serveraddress: server.into(),
            username: user.into(),
            password: password.into(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn credentials_are_kept_found_and_erased() {
        let (dir, mut config) = file(r#"{"auths":{},"other":{"kept":1}}"#);
        let ann = auth("reg.example:5000", "ann", "p:w");
        assert!(config.store(&ann).unwrap());
        assert!(!config.store(&ann).unwrap(), "nothing changed");
        let mut again = ConfigFile::load(dir.path().to_owned());
        assert_eq!(again.auth("reg.example:5000").unwrap(), ann);
        assert_eq!(again.all_auths().unwrap().len(), 1);
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains("\"auth\": \"YW5uOnA6dw==\"") && text.contains("\"kept\": 1"), "{text}");
        again.erase("reg.example:5000").unwrap();
        assert_eq!(again.auth("reg.example:5000").unwrap(), AuthConfig::default());
    }

    #[test]
    fn an_identity_token_takes_the_place_of_the_password() {
        let (dir, mut config) = file("{}");
        let token = AuthConfig { identitytoken: "refresh".into(), ..auth("r.test", "ann", "") };
        assert!(!config.store(&token).unwrap());
        assert_eq!(ConfigFile::load(dir.path().to_owned()).auth("r.test").unwrap(), token);
    }

    #[test]
    fn hub_and_urls_are_found_by_their_host() {
        let (_dir, config) = file(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"http://old.test/v1/":{"auth":"YzpkAAA="}}}"#,
        );
        assert_eq!(config.auth(HUB).unwrap().username, "a");
        assert_eq!(config.auth("docker.io").unwrap().password, "b");
        assert_eq!(config.auth("old.test").unwrap().password, "d");
    }

    #[test]
    fn the_variable_says_what_is_wrong_with_it() {
        let one = parse_variable(r#"{"auths":{"r.test":{"auth":"YTpi"}}}"#).unwrap();
        assert_eq!(one["r.test"], auth("r.test", "a", "b"));
        let missing = parse_variable(r#"{"auths":{"r.test":{}}}"#).unwrap_err();
        assert_eq!(missing, "DOCKER_AUTH_CONFIG environment variable is missing key `auth` for r.test");
        assert_eq!(
            parse_variable(r#"{"credsStore":"x"}"#).unwrap_err(),
            "json: unknown field \"credsStore\""
        );
    }
}
