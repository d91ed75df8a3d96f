//! Docker's `config.json`: default formats, proxies, and where `credential` keeps its entries. What this program does
//! not know in it is kept.

use std::path::{Path, PathBuf};

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

    /// Sets a text setting, or removes it where it is empty, and writes the file where that changes something.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_text(&mut self, key: &str, text: &str) -> Result<(), Error> {
        if self.text(key) == text {
            return Ok(());
        }
        match text {
            "" => drop(self.content.remove(key)),
            text => drop(self.content.insert(key.to_owned(), text.into())),
        }
        self.save()
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

    /// A setting of a table, such as a plugin's.
    pub fn entry(&self, table: &str, key: &str) -> Option<&Value> {
        self.content.get(table)?.get(key)
    }

    /// The entries of `auths`.
    pub(crate) fn auths(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.content.get("auths").and_then(Value::as_object).into_iter().flatten()
    }

    /// The registries with a helper of their own.
    pub(crate) fn helpers(&self) -> impl Iterator<Item = &String> {
        self.content.get("credHelpers").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name)
    }

    /// Sets or removes an entry of `auths`, and writes the file where that changes something.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn set_auth(&mut self, server: &str, entry: Option<Value>) -> Result<bool, Error> {
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        let Some(auths) = auths.as_object_mut() else { return Ok(false) };
        if auths.get(server) == entry.as_ref() {
            return Ok(false);
        }
        match entry {
            Some(entry) => drop(auths.insert(server.to_owned(), entry)),
            None => drop(auths.remove(server)),
        }
        self.save().map(|()| true)
    }

    /// Writes the file anew.
    fn save(&self) -> Result<(), Error> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        let path = self.dir.join("config.json");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(Error::file("mkdir", &self.dir))?;
        // A link stays a link: what it points to is replaced.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let mode = std::fs::metadata(&path).map_or(0o600, |before| before.permissions().mode() & 0o777);
        let text = crate::json::indent_with(Value::Object(self.content.clone()).to_string().as_bytes(), "\t");
        crate::whole_file::write(&path, &text, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_in_both_spellings() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":""}}}"#;
        std::fs::write(dir.path().join("config.json"), text).unwrap();
        let set = ConfigFile::load(dir.path().to_owned()).proxies("unix:///x");
        let pair = |k: &str| (k.to_owned(), "http://p:1".to_owned());
        assert_eq!(set, [pair("HTTP_PROXY"), pair("http_proxy")]);
    }
}
