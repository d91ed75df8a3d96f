//! Another registry, as the configuration names it: one that is copied from, or one that is copied to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dray_registry::{Auth, Client, ClientConfig, RetryPolicy};
use dray_spec::Reference;
use serde::Deserialize;

/// How long another registry may take to answer a connection, and to say nothing in the middle of an answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(60);
/// Docker's own registry by the names that people know it by; its official images are in a folder that they leave away.
const HUB: [&str; 3] = ["registry-1.docker.io", "docker.io", "index.docker.io"];

/// A registry in the configuration.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RemoteRule {
    /// Its address, `https://host[:port]` or `http://host[:port]`.
    pub(crate) url: String,
    /// Who we are there.
    #[serde(default)]
    user: Option<String>,
    /// The password or access token.
    #[serde(default)]
    password: Option<String>,
    /// A file that holds it.
    #[serde(default)]
    password_file: Option<PathBuf>,
    /// A file of authorities (PEM) that are trusted there besides the host's.
    #[serde(default)]
    ca: Option<PathBuf>,
}

impl RemoteRule {
    /// The registry at an address, as anybody.
    pub(crate) fn at(url: String) -> Self {
        Self { url, user: None, password: None, password_file: None, ca: None }
    }
}

impl fmt::Debug for RemoteRule {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteRule").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why a registry cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// An address that is none.
    #[error("registry {0:?} is not https://host[:port] or http://host[:port]")]
    Address(String),
    /// Half of an account.
    #[error("registry {0}: user and password (or password-file) go together")]
    HalfAccount(String),
    /// A file that cannot be read.
    #[error("registry {url}: {}: {source}", path.display())]
    File {
        /// The registry.
        url: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client refuses it.
    #[error("registry {url}: {source}")]
    Client {
        /// The registry.
        url: String,
        /// Why.
        source: Box<dray_registry::Error>,
    },
}

/// A registry that can be spoken to.
pub(crate) struct Remote {
    client: Client,
    domain: String,
    auth: Auth,
}

impl Remote {
    /// Reads what the rule names. Nothing is asked of the registry.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(crate) fn open(rule: &RemoteRule, attempts: u32) -> Result<Self, RemoteError> {
        let (scheme, domain) = address(&rule.url).ok_or_else(|| RemoteError::Address(rule.url.clone()))?;
        let file = |path: &PathBuf| {
            let failed = |source| RemoteError::File { url: rule.url.clone(), path: path.clone(), source };
            std::fs::read(path).map_err(failed)
        };
        let from_file = rule.password_file.as_ref().map(file).transpose()?;
        let from_file = from_file.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
        let auth = match (rule.user.clone(), rule.password.clone().or(from_file)) {
            (Some(user), Some(password)) => Auth::Basic { user, password },
            (None, None) => Auth::Anonymous,
            _ => return Err(RemoteError::HalfAccount(rule.url.clone())),
        };
        let refused = |source| RemoteError::Client { url: rule.url.clone(), source: Box::new(source) };
        let mut config = ClientConfig {
            ca_certs: rule.ca.as_ref().map(file).transpose()?.into_iter().collect(),
            connect_timeout: CONNECT_LIMIT,
            idle_timeout: SILENCE,
            retry: RetryPolicy { attempts, ..RetryPolicy::default() },
            ..ClientConfig::from_env()
        };
        if scheme == "http" {
            let plain = domain.parse().map_err(|_| RemoteError::Address(rule.url.clone()))?;
            config.insecure.push(plain);
        }
        let client = Client::new(config).map_err(refused)?;
        Ok(Self { client, domain, auth })
    }

    /// A repository there.
    ///
    /// # Errors
    /// The name is none that a registry could have.
    pub(crate) fn repository(&self, path: &str) -> Result<dray_registry::Repository, dray_registry::Error> {
        let official = HUB.contains(&self.domain.as_str()) && !path.contains('/');
        let library = if official { "library/" } else { "" };
        let name = format!("{}/{library}{path}", self.domain);
        let reference = Reference::parse(&name).map_err(|error| dray_registry::Error::InvalidEndpoint {
            endpoint: name,
            problem: error.to_string(),
        })?;
        self.client.repository(&reference, &self.auth)
    }

    /// Its host, for messages.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }
}

/// Scheme and host of an address that has nothing else.
fn address(text: &str) -> Option<(&str, String)> {
    let url = url::Url::parse(text).ok()?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let scheme = ["https", "http"].into_iter().find(|scheme| *scheme == url.scheme())?;
    let host = url.host_str().filter(|host| !host.is_empty() && bare)?;
    // A name without a dot or a port would be read as a part of a path.
    let port = match url.port() {
        Some(port) => format!(":{port}"),
        None if !host.contains(['.', ':']) && host != "localhost" => {
            format!(":{}", if scheme == "https" { 443 } else { 80 })
        }
        None => String::new(),
    };
    Some((scheme, format!("{host}{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_host_and_nothing_else() {
        for (text, expected) in [
            ("https://registry.example", Some(("https", "registry.example"))),
            ("http://localhost:5000/", Some(("http", "localhost:5000"))),
            ("https://registry", Some(("https", "registry:443"))),
            ("http://[::1]:5000", Some(("http", "[::1]:5000"))),
            ("https://registry.example/v2", None),
            ("https://ann:secret@registry.example", None),
            ("registry.example", None),
            ("ftp://registry.example", None),
        ] {
            assert_eq!(address(text), expected.map(|(scheme, host)| (scheme, host.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        let error = |text: &str| {
            let rule: RemoteRule = serde_json::from_str(text).unwrap();
            assert!(!format!("{rule:?}").contains("secret"));
            Remote::open(&rule, 1).err().expect("it is wrong").to_string()
        };
        assert!(error(r#"{"url":"x"}"#).contains("\"x\" is not https://"));
        assert!(error(r#"{"url":"https://x.test","user":"ann"}"#).contains("go together"));
        assert!(error(r#"{"url":"https://x.test","password":"secret"}"#).contains("go together"));
        let missing = error(r#"{"url":"https://x.test","user":"ann","password-file":"/none/secret"}"#);
        assert!(missing.contains("/none/secret"), "{missing}");
        assert!(serde_json::from_str::<RemoteRule>(r#"{"url":"https://x.test","pass":"x"}"#).is_err());
    }

    #[test]
    fn official_images_have_their_folder() {
        let hub = Remote::open(&RemoteRule::at("https://registry-1.docker.io".into()), 1).unwrap();
        assert_eq!(hub.repository("busybox").unwrap().path(), "library/busybox");
        assert_eq!(hub.repository("ann/app").unwrap().path(), "ann/app");
        let other = Remote::open(&RemoteRule::at("https://ghcr.test".into()), 1).unwrap();
        assert_eq!(other.repository("busybox").unwrap().path(), "busybox");
        assert!(other.repository("Upper").is_err());
    }
}
