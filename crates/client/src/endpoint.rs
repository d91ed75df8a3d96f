//! Where the daemon is: `unix:///var/run/docker.sock`, `tcp://host:2376`, as `DOCKER_HOST` and `-H` name it.

use std::path::PathBuf;

use crate::connect::Tls;
use crate::error::Error;
use crate::ssh::Ssh;

/// Port of the API without and with TLS.
const PORTS: (u16, u16) = (2375, 2376);

/// A daemon's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// A host name or address and a port; a path prefix before the API's.
    Tcp {
        /// Name or address.
        name: String,
        /// Port.
        port: u16,
    },
    /// Another machine, through the program `ssh`.
    Ssh(Ssh),
}

/// A daemon's address with how to speak to it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address.
    pub host: Host,
    /// The address as the user wrote it, for messages.
    pub text: String,
    /// TLS settings, if it is spoken.
    pub tls: Option<Tls>,
}

impl Endpoint {
    /// Reads an address.
    ///
    /// # Errors
    /// It is no address, or of a protocol that is not spoken.
    pub fn parse(text: &str, tls: Option<Tls>) -> Result<Endpoint, Error> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| Error::Host(text.to_owned()))?;
        let host = match scheme {
            "unix" if rest.is_empty() => return Err(Error::Host(text.to_owned())),
            "unix" => Host::Unix(PathBuf::from(rest)),
            "ssh" => Host::Ssh(Ssh::parse(text, rest)?),
            "tcp" | "http" | "https" => tcp(text, rest, tls.is_some())?,
            other => return Err(Error::Protocol(other.to_owned())),
        };
        Ok(Endpoint { host, text: text.to_owned(), tls })
    }

    /// The endpoint of a unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Endpoint {
        let path = path.into();
        Endpoint { text: format!("unix://{}", path.display()), host: Host::Unix(path), tls: None }
    }
}

fn tcp(text: &str, rest: &str, tls: bool) -> Result<Host, Error> {
    let wrong = || Error::Host(text.to_owned());
    let authority = rest.split('/').next().unwrap_or_default();
    let default = if tls { PORTS.1 } else { PORTS.0 };
    let (name, port) = if let Some(v6) = authority.strip_prefix('[') {
        let (name, after) = v6.split_once(']').ok_or_else(wrong)?;
        (name, after.strip_prefix(':'))
    } else {
        match authority.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        None | Some("") => default,
        Some(p) => p.parse().map_err(|_| wrong())?,
    };
    let name = if name.is_empty() { "localhost" } else { name };
    Ok(Host::Tcp { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let host = |t: &str| Endpoint::parse(t, None).map(|e| e.host);
        assert_eq!(host("unix:///run/x.sock").unwrap(), Host::Unix("/run/x.sock".into()));
        assert_eq!(host("tcp://h:1").unwrap(), Host::Tcp { name: "h".into(), port: 1 });
        assert_eq!(host("tcp://h").unwrap(), Host::Tcp { name: "h".into(), port: 2375 });
        assert_eq!(host("tcp://[::1]:7").unwrap(), Host::Tcp { name: "::1".into(), port: 7 });
        assert!(host("h:1").is_err() && host("tcp://h:x").is_err() && host("foo://x").is_err());
        assert_eq!(host("h").unwrap_err().to_string(), "unable to parse docker host `h`");
    }
}
