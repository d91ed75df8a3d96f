//! What the host says of single registries: `certs.d` folders in containerd's and in Docker's form.
//!
//! ```text
//! <dir>/<host[:port]>/hosts.toml        mirrors, authorities, client certificates, headers   toml.rs
//!                     *.crt             authorities                                          legacy.rs
//!                     *.cert, *.key     client certificates
//! <dir>/_default/…                      for registries without a folder
//! ```
//!
//! The folders are read anew for each pull, push and login, as containerd and Docker do: what is put there
//! counts at once. Of several `<dir>`s the first that has a folder for the registry decides alone.

mod legacy;
mod toml;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::error::Error;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Manifests and blobs by digest.
    pub(crate) pull: bool,
    /// Tags.
    pub(crate) resolve: bool,
    /// Uploads.
    pub(crate) push: bool,
}

impl Capabilities {
    pub(crate) const ALL: Self = Capabilities { pull: true, resolve: true, push: true };
    /// A mirror of the daemon's configuration: nothing is pushed to it.
    pub(crate) const MIRROR: Self = Capabilities { pull: true, resolve: true, push: false };
}

/// How one host is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct HostSettings {
    pub(crate) tls: TlsSettings,
    /// Sent with each request to the host itself, never along a redirect to another.
    pub(crate) headers: Vec<(String, String)>,
    /// The registry a mirror stands for, told as `?ns=`.
    pub(crate) namespace: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
}

/// The content of a PEM file.
pub(crate) type Pem = Arc<[u8]>;

/// Authorities and client certificates of a host, PEM each.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsSettings {
    pub(crate) authorities: Vec<Pem>,
    /// Certificate chain and key.
    pub(crate) client: Vec<(Pem, Pem)>,
    pub(crate) skip_verify: bool,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.len())
            .field("skip_verify", &self.skip_verify)
            .finish()
    }
}

/// A host that serves a registry's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The root of its API; ends in a slash.
    pub(crate) root: Url,
    pub(crate) capabilities: Capabilities,
    pub(crate) settings: HostSettings,
}

/// What is known of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Asked before the registry itself, in this order.
    pub(crate) mirrors: Vec<Entry>,
    /// Where the registry itself is, if it is said.
    pub(crate) server: Option<Entry>,
    /// How the registry itself is spoken to where `server` does not say it.
    pub(crate) settings: HostSettings,
}

/// Reads what `dirs` say of `host` (`name[:port]`).
pub(crate) fn read(dirs: &[PathBuf], host: &str) -> Result<Known, Error> {
    for dir in dirs {
        for name in folder_names(host) {
            let folder = dir.join(name);
            if folder.is_dir() {
                return read_folder(&folder, host);
            }
        }
    }
    Ok(Known::default())
}

/// Whether this is a `hosts.toml`.
#[cfg(fuzzing)]
pub(crate) fn parse(text: &str, file: &Path, host: &str) -> bool {
    toml::parse(text, file, host).is_ok()
}

fn read_folder(folder: &Path, host: &str) -> Result<Known, Error> {
    let file = folder.join("hosts.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) => toml::parse(&text, &file, host),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let settings = HostSettings { tls: legacy::read(folder)?, ..HostSettings::default() };
            Ok(Known { settings, ..Known::default() })
        }
        Err(error) => Err(invalid(&file, error)),
    }
}

/// The folders a registry may have, the most fitting one first: file systems without colons in names have
/// `reg.test_5000_`.
fn folder_names(host: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((name, port)) = host.rsplit_once(':') {
        names.push(format!("{name}_{port}_"));
    }
    names.push(host.to_owned());
    names.push("_default".to_owned());
    names
}

/// A file of a `certs.d` folder that can't be used.
fn invalid(file: &Path, problem: impl fmt::Display) -> Error {
    Error::HostFile { path: file.to_owned(), problem: problem.to_string() }
}

fn pem(file: &Path) -> Result<Pem, Error> {
    std::fs::read(file).map(Arc::from).map_err(|error| invalid(file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_decides() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = [one.path().to_owned(), two.path().to_owned()];
        let write = |dir: &Path, name: &str, text: &str| {
            std::fs::create_dir_all(dir.join(name)).unwrap();
            std::fs::write(dir.join(name).join("hosts.toml"), text).unwrap();
        };
        let server = |host: &str| {
            let known = read(&dirs, host).unwrap();
            known.server.map(|server| server.root.to_string()).unwrap_or_default()
        };
        assert_eq!(server("reg.test:5000"), "");
        write(two.path(), "_default", "server = 'https://default.test'");
        assert_eq!(server("reg.test:5000"), "https://default.test/v2/");
        write(two.path(), "reg.test:5000", "server = 'https://colon.test'");
        assert_eq!(server("reg.test:5000"), "https://colon.test/v2/");
        write(two.path(), "reg.test_5000_", "server = 'https://underscore.test'");
        assert_eq!(server("reg.test:5000"), "https://underscore.test/v2/");
        write(one.path(), "reg.test:5000", "server = 'https://first.test'");
        assert_eq!(server("reg.test:5000"), "https://first.test/v2/");
        assert_eq!(server("other.test"), "https://default.test/v2/");
    }

    #[test]
    fn keys_do_not_show() {
        let client = vec![(Arc::from(b"CERT".as_slice()), Arc::from(b"SECRET".as_slice()))];
        let settings = TlsSettings { client, ..TlsSettings::default() };
        assert!(!format!("{settings:?}").contains("SECRET"));
    }
}
