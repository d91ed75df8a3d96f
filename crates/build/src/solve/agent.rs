//! The socket that a step finds its SSH agent at.
//!
//! ```text
//! step ── connect ─► socket in a scratch directory ── accept (a thread, while the step runs) ─► AgentSource
//! ```

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::agent::AgentSource;

/// The socket's name in its directory.
const NAME: &str = "agent";

/// A socket that answers as the client's agent does, until it is dropped.
pub(super) struct AgentSocket {
    path: PathBuf,
    listener: UnixListener,
    accepting: Option<JoinHandle<()>>,
}

impl AgentSocket {
    /// Listens in `dir`, which has to be empty.
    pub(super) fn open(
        dir: &Path,
        source: Arc<dyn AgentSource>,
        id: String,
        (uid, gid): (u32, u32),
        mode: u32,
    ) -> io::Result<AgentSocket> {
        // A socket's address is short, the directory's path may be long.
        let opened = File::open(dir)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd()))?;
        let path = dir.join(NAME);
        chown(&path, Some(uid), Some(gid))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        let accepted = listener.try_clone()?;
        let accepting = std::thread::spawn(move || {
            // Ends when the listener is shut down.
            while let Ok((connection, _)) = accepted.accept() {
                source.connect(&id, connection);
            }
        });
        Ok(AgentSocket { path, listener, accepting: Some(accepting) })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        let down = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let (Ok(()), Some(thread)) = (down, self.accepting.take()) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentError;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    struct Echo;

    impl AgentSource for Echo {
        fn check(&self, _: &str) -> Result<(), AgentError> {
            Ok(())
        }

        fn connect(&self, id: &str, mut connection: UnixStream) {
            connection.write_all(id.as_bytes()).expect("written");
        }
    }

    #[test]
    fn who_connects_is_joined_with_the_agent_until_the_socket_goes() {
        let dir = tempfile::tempdir().expect("directory");
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).expect("directory");
        let socket = AgentSocket::open(&deep, Arc::new(Echo), "main".into(), (0, 0), 0o600).expect("socket");
        assert_eq!(fs::metadata(socket.path()).expect("socket").permissions().mode() & 0o777, 0o600);
        let short = dir.path().join("s");
        std::os::unix::fs::symlink(&deep, &short).expect("link");
        let mut text = String::new();
        let mut connection = UnixStream::connect(short.join(NAME)).expect("connected");
        connection.read_to_string(&mut text).expect("read");
        assert_eq!(text, "main");
        drop(socket);
        assert!(UnixStream::connect(short.join(NAME)).is_err());
    }
}
