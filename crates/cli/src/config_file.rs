//! Docker's `config.json`: credentials, helpers, default formats. What this program does not know in it is kept.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use dray_client::api::auth::{AuthConfig, AuthConfigs};
use serde_json::{Map, Value, json};

use crate::command_error::{Error, Sys};

/// Docker Hub's name in the file.
pub const HUB: &str = "https://index.docker.io/v1/";

/// The file.
#[derive(Debug)]
pub struct ConfigFile {
    dir: PathBuf,
    content: Map<String, Value>,
}

/// The folder of the file: `--config`, `DOCKER_CONFIG`, or `~/.docker`.
pub fn dir(flag: Option<&str>) -> PathBuf {
    if let Some(dir) = flag.filter(|d| !d.is_empty()) {
        return dir.into();
    }
    if let Some(dir) = std::env::var_os("DOCKER_CONFIG").filter(|d| !d.is_empty()) {
        return dir.into();
    }
    let home = std::env::var_os("HOME").filter(|h| !h.is_empty()).unwrap_or_else(|| "/".into());
    PathBuf::from(home).join(".docker")
}

impl ConfigFile {
    /// Reads the file; one that is missing is empty, one that cannot be read is told of and counts as empty.
    pub fn load(dir: PathBuf) -> ConfigFile {
        let path = dir.join("config.json");
        let content = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(content) => content,
                Err(e) => {
                    eprintln!("WARNING: Error loading config file: {}: {e}", path.display());
                    Map::new()
                }
            },
            Err(e) => {
                if e.kind() != std::io::ErrorKind::NotFound {
                    eprintln!("WARNING: Error loading config file: open {}: {}", path.display(), Sys(e));
                }
                Map::new()
            }
        };
        ConfigFile { dir, content }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A text setting, such as `psFormat`.
    pub fn text(&self, key: &str) -> &str {
        self.content.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The proxy variables that `proxies` sets for containers and builds of a daemon, in both spellings.
    pub fn proxies(&self, host: &str) -> Vec<(String, String)> {
        let Some(all) = self.content.get("proxies").and_then(Value::as_object) else { return Vec::new() };
        let Some(own) = all.get(host).or_else(|| all.get("default")).and_then(Value::as_object) else {
            return Vec::new();
        };
        let kinds = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let set = |(key, name): (&str, &str)| {
            let value = own.get(key).and_then(Value::as_str).filter(|v| !v.is_empty())?.to_owned();
            Some([(name.to_owned(), value.clone()), (name.to_lowercase(), value)])
        };
        kinds.into_iter().filter_map(set).flatten().collect()
    }

    /// The helper that keeps a registry's credentials, if one is configured.
    pub fn helper(&self, server: &str) -> Option<&str> {
        let own = self.content.get("credHelpers").and_then(|h| h.get(server)).and_then(Value::as_str);
        own.or_else(|| Some(self.text("credsStore"))).filter(|h| !h.is_empty())
    }

    /// The credentials for a registry; empty ones if there are none.
    ///
    /// # Errors
    /// The helper fails.
    pub fn auth(&self, server: &str) -> Result<AuthConfig, Error> {
        if let Some(helper) = self.helper(server) {
            return helper_get(helper, server);
        }
        let auths = self.content.get("auths").and_then(Value::as_object);
        let entry = auths.and_then(|a| {
            a.get(server).or_else(|| a.iter().find(|(k, _)| host_of(k) == host_of(server)).map(|(_, v)| v))
        });
        Ok(entry.map(|e| decode(server, e)).unwrap_or_default())
    }

    /// The credentials for all registries.
    ///
    /// # Errors
    /// A helper fails.
    pub fn all_auths(&self) -> Result<AuthConfigs, Error> {
        let mut all = AuthConfigs::new();
        if let Some(auths) = self.content.get("auths").and_then(Value::as_object) {
            for (server, entry) in auths {
                let auth = match self.helper(server) {
                    Some(helper) => helper_get(helper, server)?,
                    None => decode(server, entry),
                };
                all.insert(server.clone(), auth);
            }
        }
        if let Some(helpers) = self.content.get("credHelpers").and_then(Value::as_object) {
            for (server, helper) in helpers {
                if let (false, Some(helper)) = (all.contains_key(server), helper.as_str()) {
                    all.insert(server.clone(), helper_get(helper, server)?);
                }
            }
        }
        all.retain(|_, auth| *auth != AuthConfig::default());
        Ok(all)
    }

    /// Keeps credentials.
    ///
    /// # Errors
    /// The helper fails or the file cannot be written.
    pub fn store(&mut self, server: &str, auth: &AuthConfig) -> Result<(), Error> {
        let mut entry = Map::new();
        if let Some(helper) = self.helper(server).map(str::to_owned) {
            let (user, secret) = if auth.identitytoken.is_empty() {
                (auth.username.as_str(), auth.password.as_str())
            } else {
                ("<token>", auth.identitytoken.as_str())
            };
            let input = json!({"ServerURL": server, "Username": user, "Secret": secret}).to_string();
            call_helper(&helper, "store", &input)?;
        } else {
            let pair = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
            entry.insert("auth".into(), pair.into());
            if !auth.identitytoken.is_empty() {
                entry.insert("auth".into(), STANDARD.encode(format!("{}:", auth.username)).into());
                entry.insert("identitytoken".into(), auth.identitytoken.clone().into());
            }
        }
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(server.to_owned(), Value::Object(entry));
        }
        self.save()
    }

    /// Forgets credentials; says whether there were any.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn erase(&mut self, server: &str) -> Result<bool, Error> {
        let helper = self.helper(server).map(str::to_owned);
        let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) else {
            return Ok(false);
        };
        let names: Vec<String> = auths.keys().filter(|k| host_of(k) == host_of(server)).cloned().collect();
        for name in &names {
            auths.remove(name);
        }
        if let Some(helper) = helper {
            call_helper(&helper, "erase", server)?;
        }
        if !names.is_empty() {
            self.save()?;
        }
        Ok(!names.is_empty())
    }

    /// Writes the file anew beside the old one and renames it, so that it is never half written.
    fn save(&self) -> Result<(), Error> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.dir.join("config.json");
        std::fs::create_dir_all(&self.dir).map_err(Error::file("mkdir", &self.dir))?;
        // A link stays a link: what it points to is replaced.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let draft = path.with_extension(format!("json{}", std::process::id()));
        let text = crate::json::indent_with(Value::Object(self.content.clone()).to_string().as_bytes(), "\t");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)
            .map_err(Error::file("open", &draft))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(Error::file("write", &draft))?;
        std::fs::rename(&draft, &path).map_err(Error::file("rename", &path))
    }
}

/// The header that carries credentials.
pub fn auth_header<T: serde::Serialize>(auth: &T) -> String {
    URL_SAFE.encode(serde_json::to_vec(auth).unwrap_or_default())
}

/// A registry's host in a key of the file, which may be a URL.
fn host_of(server: &str) -> &str {
    let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    rest.split('/').next().unwrap_or(rest)
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
    let pair = STANDARD.decode(text("auth")).ok().and_then(|p| String::from_utf8(p).ok());
    if let Some((user, password)) = pair.as_deref().and_then(|p| p.split_once(':')) {
        auth.username = user.to_owned();
        auth.password = password.trim_end_matches('\0').to_owned();
    }
    auth
}

fn helper_get(helper: &str, server: &str) -> Result<AuthConfig, Error> {
    let out = match call_helper(helper, "get", server) {
        Ok(out) => out,
        Err(Error::Refused(text)) if text.contains("credentials not found") => {
            return Ok(AuthConfig::default());
        }
        Err(e) => return Err(e),
    };
    let answer: Value = serde_json::from_str(&out)
        .map_err(|source| Error::Json { what: format!("docker-credential-{helper}"), source })?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    if text("Username") == "<token>" {
        auth.identitytoken = text("Secret");
    } else {
        (auth.username, auth.password) = (text("Username"), text("Secret"));
    }
    Ok(auth)
}

/// Runs `docker-credential-NAME`, which reads its input and prints its answer, also errors, on standard output.
fn call_helper(helper: &str, action: &str, input: &str) -> Result<String, Error> {
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::file("exec", &program))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says in its answer what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.wait_with_output().map_err(Error::file("wait", &program))?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if out.status.success() {
        return Ok(text);
    }
    Err(Error::Refused(format!(
        "error getting credentials - err: exit status {}, out: `{text}`",
        out.status.code().unwrap_or(1)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_kept_found_and_erased() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), r#"{"auths":{},"other":{"kept":1}}"#).unwrap();
        let mut file = ConfigFile::load(dir.path().to_owned());
        let auth = AuthConfig { username: "u".into(), password: "p:w".into(), ..AuthConfig::default() };
        file.store("reg.example:5000", &auth).unwrap();
        let again = ConfigFile::load(dir.path().to_owned());
        let found = again.auth("reg.example:5000").unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("u", "p:w"));
        assert_eq!(again.all_auths().unwrap().len(), 1);
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains("\"auth\": \"dTpwOnc=\"") && text.contains("\"kept\": 1"), "{text}");
        let mut again = again;
        assert!(again.erase("reg.example:5000").unwrap());
        assert!(!again.erase("reg.example:5000").unwrap());
    }

    #[test]
    fn proxies_come_in_both_spellings() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":""}}}"#;
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let set = ConfigFile::load(dir.path().to_owned()).proxies("unix:///x");
        let pair = |k: &str| (k.to_owned(), "http://p:1".to_owned());
        assert_eq!(set, [pair("HTTP_PROXY"), pair("http_proxy")]);
    }

    #[test]
    fn hub_is_found_by_its_host() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("config.json"),
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"}}}"#,
        )
        .unwrap();
        let file = ConfigFile::load(dir.path().to_owned());
        assert_eq!(file.auth(HUB).unwrap().username, "a");
        assert_eq!(file.auth("index.docker.io").unwrap().password, "b");
    }
}
