//! Where the daemon listens: `unix:///path`, `tcp://host:port`, `fd://` (sockets of systemd).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// An address of `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP address, `host:port`.
    Tcp(String),
    /// Sockets handed over by systemd: all, or the one of this number.
    Fd(Option<usize>),
}

/// A `-H` that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No `://`, and not `host:port`.
    #[error("invalid bind address ({0}): use unix:///path, tcp://host:port or fd://")]
    Syntax(String),
    /// Something else before `://`.
    #[error("invalid bind address ({address}): unsupported proto '{proto}'")]
    Protocol {
        /// As given.
        address: String,
        /// What stands before `://`.
        proto: String,
    },
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(address: &str) -> Result<Self, HostError> {
        let syntax = || HostError::Syntax(address.to_owned());
        let Some((proto, rest)) = address.split_once("://") else { return Err(syntax()) };
        match proto {
            "unix" if rest.starts_with('/') => Ok(Host::Unix(rest.into())),
            "tcp" if rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                Ok(Host::Tcp(rest.to_owned()))
            }
            "fd" if rest.is_empty() || rest == "*" => Ok(Host::Fd(None)),
            "fd" => rest.parse().map(|n| Host::Fd(Some(n))).map_err(|_| syntax()),
            "unix" | "tcp" => Err(syntax()),
            _ => Err(HostError::Protocol { address: address.to_owned(), proto: proto.to_owned() }),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp(address) => write!(f, "tcp://{address}"),
            Host::Fd(None) => f.write_str("fd://"),
            Host::Fd(Some(n)) => write!(f, "fd://{n}"),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The call failed.
    #[error("listen on {host}: {source}")]
    Listen {
        /// The address.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers there.
    #[error("listen on {0}: another daemon is listening there")]
    InUse(String),
    /// Plain TCP reachable from elsewhere.
    #[error(
        "listen on tcp://{0}: refused without mutual TLS (--tlsverify): whoever reaches the API is root on this host; --allow-insecure-tcp allows it on loopback addresses only"
    )]
    Insecure(SocketAddr),
    /// `fd://` without systemd.
    #[error("listen on {0}: no sockets were handed over (LISTEN_FDS, LISTEN_PID)")]
    NoInherited(String),
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket, removed when dropped if it is still ours.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Path and inode, unless it was handed over.
        file: Option<SocketFile>,
    },
    /// A TCP socket.
    Tcp(TcpListener),
}

/// A connection.
#[derive(Debug)]
pub enum Accepted {
    /// From a unix socket.
    Unix(UnixStream),
    /// From a TCP socket.
    Tcp(TcpStream),
}

/// How TCP may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpTrust {
    /// Clients show a certificate: any address.
    MutualTls,
    /// They do not, and a flag says that this is wanted: loopback only.
    Loopback,
    /// They do not: no address at all.
    Refused,
}

impl Listener {
    /// Listens on an address: one socket, or several for `fd://` and for names with several addresses.
    ///
    /// # Errors
    /// [`ListenError`] naming the address.
    pub async fn open(
        host: &Host,
        group: Option<&str>,
        trust: TcpTrust,
    ) -> Result<Vec<Listener>, ListenError> {
        let failed = |source| ListenError::Listen { host: host.to_string(), source };
        match host {
            Host::Unix(path) => {
                refuse_if_answering(path).await?;
                let socket = bind_unix(path, group).map_err(failed)?;
                let file = SocketFile::of(path).map_err(failed)?;
                Ok(vec![Listener::Unix { socket, file: Some(file) }])
            }
            Host::Tcp(address) => {
                let mut listeners = Vec::new();
                for address in tokio::net::lookup_host(address).await.map_err(failed)? {
                    let allowed = match trust {
                        TcpTrust::MutualTls => true,
                        TcpTrust::Loopback => address.ip().is_loopback(),
                        TcpTrust::Refused => false,
                    };
                    if !allowed {
                        return Err(ListenError::Insecure(address));
                    }
                    listeners.push(Listener::Tcp(TcpListener::bind(address).await.map_err(failed)?));
                }
                Ok(listeners)
            }
            Host::Fd(which) => inherited(host, *which, trust),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// What `accept` says.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Unix { socket, .. } => Ok(Accepted::Unix(socket.accept().await?.0)),
            Listener::Tcp(socket) => {
                let stream = socket.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream))
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Unix { file: Some(file), .. } => write!(f, "unix://{}", file.path.display()),
            Listener::Unix { .. } => f.write_str("fd://"),
            Listener::Tcp(socket) => match socket.local_addr() {
                Ok(address) => write!(f, "tcp://{address}"),
                Err(_) => f.write_str("tcp://?"),
            },
        }
    }
}

/// A socket's file. Another daemon may have put its own there since: only ours is removed.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), inode: std::fs::symlink_metadata(path)?.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn refuse_if_answering(path: &Path) -> Result<(), ListenError> {
    match UnixStream::connect(path).await {
        Ok(_) => Err(ListenError::InUse(format!("unix://{}", path.display()))),
        Err(_) => Ok(()),
    }
}

/// Binds in place of a stale socket. It belongs to its owner alone until the group is right: a socket's file
/// takes its mode from the descriptor (unix(7)). The umask would serve too, but it is the whole process's,
/// and this process makes other files meanwhile.
fn bind_unix(path: &Path, group: Option<&str>) -> io::Result<UnixListener> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if let Some(gid) = group.and_then(group_id) {
        std::os::unix::fs::chown(path, None, Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    rustix::net::listen(&socket, 4096)?;
    UnixListener::from_std(socket.into())
}

/// The id of a group by name or number.
fn group_id(name: &str) -> Option<u32> {
    if let Ok(gid) = name.parse() {
        return Some(gid);
    }
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn inherited(host: &Host, which: Option<usize>, trust: TcpTrust) -> Result<Vec<Listener>, ListenError> {
    let failed = |source| ListenError::Listen { host: host.to_string(), source };
    let mut fds = dray_sys::listen::listen_fds().into_iter().enumerate().collect::<Vec<_>>();
    if let Some(which) = which {
        fds.retain(|(n, _)| n + 3 == which);
    }
    if fds.is_empty() {
        return Err(ListenError::NoInherited(host.to_string()));
    }
    fds.into_iter()
        .map(|(_, fd)| {
            let tcp = matches!(
                rustix::net::sockopt::socket_domain(&fd).map_err(|e| failed(e.into()))?,
                rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6
            );
            if !tcp {
                let socket = std::os::unix::net::UnixListener::from(fd);
                socket.set_nonblocking(true).map_err(failed)?;
                return Ok(Listener::Unix {
                    socket: UnixListener::from_std(socket).map_err(failed)?,
                    file: None,
                });
            }
            let socket = std::net::TcpListener::from(fd);
            let address = socket.local_addr().map_err(failed)?;
            if trust == TcpTrust::Refused || (trust == TcpTrust::Loopback && !address.ip().is_loopback()) {
                return Err(ListenError::Insecure(address));
            }
            socket.set_nonblocking(true).map_err(failed)?;
            Ok(Listener::Tcp(TcpListener::from_std(socket).map_err(failed)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("unix:///run/x".parse(), Ok(Host::Unix("/run/x".into())));
        assert_eq!("tcp://[::1]:2376".parse(), Ok(Host::Tcp("[::1]:2376".into())));
        assert_eq!("fd://".parse(), Ok(Host::Fd(None)));
        assert!(matches!("unix://x".parse::<Host>(), Err(HostError::Syntax(_))));
        assert!(matches!("tcp://host".parse::<Host>(), Err(HostError::Syntax(_))));
        assert_eq!(
            "npipe://x".parse::<Host>().unwrap_err().to_string(),
            "invalid bind address (npipe://x): unsupported proto 'npipe'"
        );
    }

    #[tokio::test]
    async fn unix_sockets_are_for_owner_and_group_and_go_with_the_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d/dray.sock");
        let host = Host::Unix(path.clone());
        let listeners = Listener::open(&host, None, TcpTrust::Refused).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let again = Listener::open(&host, None, TcpTrust::Refused).await.unwrap_err();
        assert!(matches!(again, ListenError::InUse(_)), "{again}");
        drop(listeners);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        Listener::open(&Host::Unix(path), None, TcpTrust::Refused).await.unwrap();
    }

    #[tokio::test]
    async fn plain_tcp_is_for_loopback_and_only_if_wanted() {
        let open = |address: &str, trust| {
            let host = Host::Tcp(address.to_owned());
            async move { Listener::open(&host, None, trust).await }
        };
        assert!(matches!(open("127.0.0.1:0", TcpTrust::Refused).await, Err(ListenError::Insecure(_))));
        assert!(matches!(open("0.0.0.0:0", TcpTrust::Loopback).await, Err(ListenError::Insecure(_))));
        assert!(open("127.0.0.1:0", TcpTrust::Loopback).await.is_ok());
    }
}
