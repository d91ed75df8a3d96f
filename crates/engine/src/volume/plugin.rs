//! Volume drivers that are programs of their own: Docker's protocol of volume plugins, JSON over HTTP on a unix socket
//! or TCP (docs.docker.com: "Docker Plugin API", "Docker volume plugins").
//!
//! ```text
//! <folder>/NAME.sock, <folder>/NAME/NAME.sock     a socket
//! <folder>/NAME.spec                              a text with its address: unix:///…, tcp://…
//! <folder>/NAME.json                              {"Name": …, "Addr": …}
//! ```
//! Plugins are looked for at each use: one that is started later is found, one that is gone is missed only by its own
//! volumes. Requests are HTTP/1.0, so an answer ends with its connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dray_api::Labels;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How long a plugin may take to answer: mounts over networks are slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest answer.
const MAX_ANSWER: u64 = 16 << 20;
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.1+json";

/// A call of a plugin that failed. What the plugin says is passed on as it is.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is none of this name.
    #[error("error looking up volume plugin {0}: plugin \"{0}\" not found")]
    NotFound(String),
    /// It is there and is no volume driver.
    #[error("error looking up volume plugin {0}: plugin \"{0}\" does not implement the requested interface")]
    NotVolume(String),
    /// Its file says something that is no address.
    #[error("error looking up volume plugin {name}: {path}: {problem}", path = path.display())]
    Address {
        /// The plugin.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be reached, or breaks off.
    #[error("volume plugin {name}: {method}: {source}")]
    Io {
        /// The plugin.
        name: String,
        /// The method.
        method: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It refused.
    #[error("{0}")]
    Refused(String),
}

/// Where plugins are looked for.
#[derive(Debug, Clone, Default)]
pub struct Plugins {
    folders: Vec<PathBuf>,
}

/// A plugin that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    name: String,
    address: Address,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Unix(PathBuf),
    Tcp(String),
}

/// What a plugin says of a volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PluginVolume {
    /// Its name.
    pub name: String,
    /// Where it is mounted, if it is.
    pub mountpoint: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// Whatever else.
    pub status: Option<Map<String, Value>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Call<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty", rename = "ID")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<&'a Labels>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Answer {
    err: Option<String>,
    implements: Option<Vec<String>>,
    mountpoint: Option<String>,
    volume: Option<PluginVolume>,
    volumes: Option<Vec<PluginVolume>>,
    capabilities: Option<Capabilities>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Capabilities {
    scope: String,
}

impl Plugins {
    /// Those of these folders, the first one with a name has it.
    #[must_use]
    pub fn at(folders: Vec<PathBuf>) -> Self {
        Plugins { folders }
    }

    /// The plugin of this name, if it is a volume driver.
    ///
    /// # Errors
    /// If there is none, or it cannot be asked.
    pub fn find(&self, name: &str) -> Result<Plugin, PluginError> {
        let missing = || PluginError::NotFound(name.to_owned());
        // A name is a file's, never a path.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(missing());
        }
        let address = self.folders.iter().find_map(|folder| address_in(folder, name).transpose());
        let plugin = Plugin { name: name.to_owned(), address: address.ok_or_else(missing)?? };
        let implements = plugin.call("Plugin.Activate", "", "", None)?.implements.unwrap_or_default();
        if implements.iter().any(|interface| interface == "VolumeDriver") {
            Ok(plugin)
        } else {
            Err(PluginError::NotVolume(name.to_owned()))
        }
    }

    /// The names of all plugins, whatever they are.
    pub fn names(&self) -> Vec<String> {
        let entries = self.folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| name_of(&entry.path())).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = ["sock", "spec", "json"].iter().find_map(|end| name.strip_suffix(end)?.strip_suffix('.'));
    match stem {
        Some(stem) => Some(stem.to_owned()),
        None if path.join(format!("{name}.sock")).exists() => Some(name.to_owned()),
        None => None,
    }
}

fn address_in(folder: &Path, name: &str) -> Result<Option<Address>, PluginError> {
    let is_socket = |path: &PathBuf| path.metadata().is_ok_and(|found| found.file_type().is_socket());
    let sockets = [folder.join(format!("{name}.sock")), folder.join(name).join(format!("{name}.sock"))];
    if let Some(socket) = sockets.into_iter().find(is_socket) {
        return Ok(Some(Address::Unix(socket)));
    }
    for kind in ["spec", "json"] {
        let path = folder.join(format!("{name}.{kind}"));
        let wrong =
            |problem: String| PluginError::Address { name: name.to_owned(), path: path.clone(), problem };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(wrong(error.to_string())),
        };
        let address = if kind == "json" { json_address(&text).map_err(wrong)? } else { text };
        return parse_address(address.trim()).map(Some).map_err(wrong);
    }
    Ok(None)
}

fn json_address(text: &str) -> Result<String, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.get("TLSConfig").is_some_and(|tls| !tls.is_null()) {
        return Err("plugins over TLS are not supported".into());
    }
    let address = document.get("Addr").and_then(Value::as_str);
    address.map(str::to_owned).ok_or_else(|| "it has no Addr".into())
}

fn parse_address(text: &str) -> Result<Address, String> {
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Address::Unix(path.into())),
        Some(("tcp" | "http", rest)) if !rest.is_empty() => {
            Ok(Address::Tcp(rest.trim_end_matches('/').to_owned()))
        }
        _ => Err(format!("{text:?} is no address of a plugin (unix:///path or tcp://host:port)")),
    }
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a volume.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn create(&self, name: &str, options: &Labels) -> Result<(), PluginError> {
        self.call("VolumeDriver.Create", name, "", Some(options)).map(drop)
    }

    /// Removes a volume.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn remove(&self, name: &str) -> Result<(), PluginError> {
        self.call("VolumeDriver.Remove", name, "", None).map(drop)
    }

    /// Mounts a volume for one user of it; gives where it is.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn mount(&self, name: &str, user: &str) -> Result<PathBuf, PluginError> {
        let answer = self.call("VolumeDriver.Mount", name, user, None)?;
        let path = answer.mountpoint.filter(|path| path.starts_with('/'));
        path.map(PathBuf::from).ok_or_else(|| PluginError::Refused(format!("{}: no mountpoint", self.name)))
    }

    /// This user needs the volume no more.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn unmount(&self, name: &str, user: &str) -> Result<(), PluginError> {
        self.call("VolumeDriver.Unmount", name, user, None).map(drop)
    }

    /// What the plugin knows of a volume.
    ///
    /// # Errors
    /// What the plugin says, which is how it tells that there is none.
    pub fn get(&self, name: &str) -> Result<PluginVolume, PluginError> {
        let volume = self.call("VolumeDriver.Get", name, "", None)?.volume;
        volume
            .filter(|volume| volume.name == name)
            .ok_or_else(|| PluginError::Refused("no such volume".into()))
    }

    /// All its volumes.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn list(&self) -> Result<Vec<PluginVolume>, PluginError> {
        Ok(self.call("VolumeDriver.List", "", "", None)?.volumes.unwrap_or_default())
    }

    /// `local` or `global`; plugins that do not know the question are local.
    pub fn scope(&self) -> String {
        let answer = self.call("VolumeDriver.Capabilities", "", "", None).ok();
        let scope = answer.and_then(|answer| answer.capabilities).map(|known| known.scope.to_lowercase());
        scope.filter(|scope| scope == "global").unwrap_or_else(|| "local".to_owned())
    }

    fn call(
        &self,
        method: &'static str,
        name: &str,
        id: &str,
        opts: Option<&Labels>,
    ) -> Result<Answer, PluginError> {
        let failed = |source: io::Error| PluginError::Io { name: self.name.clone(), method, source };
        let body = serde_json::to_vec(&Call { name, id, opts }).map_err(|error| failed(error.into()))?;
        let (status, text) = self.post(method, &body).map_err(failed)?;
        let read = serde_json::from_slice::<Answer>(&text);
        if status != 200 {
            let why = read.ok().and_then(|answer| answer.err);
            let why = why.unwrap_or_else(|| String::from_utf8_lossy(&text).trim().to_owned());
            return Err(PluginError::Refused(format!("{method}: {why}")));
        }
        let answer = match text.is_empty() {
            true => Answer::default(),
            false => read.map_err(|error| failed(error.into()))?,
        };
        match answer.err.as_deref() {
            None | Some("") => Ok(answer),
            Some(why) => Err(PluginError::Refused(why.to_owned())),
        }
    }

    fn post(&self, method: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        match &self.address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, method, body)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                exchange(stream, method, body)
            }
        }
    }
}

fn exchange(mut stream: impl Read + Write, method: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let head = format!(
        "POST /{method} HTTP/1.0\r\nHost: plugin\r\nAccept: {MEDIA_TYPE}\r\nContent-Type: {MEDIA_TYPE}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    parse_answer(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

/// Status and body of an answer that ends with its connection.
fn parse_answer(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    let body = &bytes[length..];
    let announced = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let announced = match announced {
        Some(header) => std::str::from_utf8(header.value).ok()?.trim().parse().ok()?,
        None => body.len(),
    };
    // What is shorter than it says was broken off.
    Some((head.code?, body.get(..announced)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_where_docker_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let _socket = std::os::unix::net::UnixListener::bind(path("one.sock")).unwrap();
        std::fs::create_dir(path("two")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(path("two/two.sock")).unwrap();
        std::fs::write(path("three.spec"), "tcp://127.0.0.1:9\n").unwrap();
        std::fs::write(path("four.json"), r#"{"Name":"four","Addr":"unix:///run/four.sock"}"#).unwrap();
        std::fs::write(path("bad.spec"), "nowhere").unwrap();
        std::fs::write(path("tls.json"), r#"{"Addr":"tcp://h:1","TLSConfig":{}}"#).unwrap();
        let address = |name: &str| address_in(dir.path(), name).map_err(|error| error.to_string());
        assert_eq!(address("one"), Ok(Some(Address::Unix(path("one.sock")))));
        assert_eq!(address("two"), Ok(Some(Address::Unix(path("two/two.sock")))));
        assert_eq!(address("three"), Ok(Some(Address::Tcp("127.0.0.1:9".into()))));
        assert_eq!(address("four"), Ok(Some(Address::Unix("/run/four.sock".into()))));
        assert_eq!(address("five"), Ok(None));
        assert!(address("bad").unwrap_err().contains("is no address of a plugin"));
        assert!(address("tls").unwrap_err().contains("over TLS"));
        let plugins = Plugins::at(vec![dir.path().to_owned()]);
        assert_eq!(plugins.names(), ["bad", "four", "one", "three", "tls", "two"]);
        let message = |name: &str| plugins.find(name).unwrap_err().to_string();
        assert_eq!(message("../one"), "error looking up volume plugin ../one: plugin \"../one\" not found");
    }

    #[test]
    fn answers_end_where_they_say() {
        let parse = |text: &str| parse_answer(text.as_bytes());
        assert_eq!(parse("HTTP/1.0 200 OK\r\n\r\n{}"), Some((200, b"{}".to_vec())));
        assert_eq!(parse("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}xx"), Some((500, b"{}".to_vec())));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}"), None, "broken off");
        assert_eq!(parse("hello"), None);
    }
}
