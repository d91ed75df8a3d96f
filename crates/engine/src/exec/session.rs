//! An exec on a client's connection.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Watched;
use crate::container::{Ended, Wiring, carry};

/// An exec that is started when its connection is served.
#[derive(Debug)]
pub struct Session {
    exec: Watched,
    size: Option<[u32; 2]>,
}

impl Session {
    pub(super) fn new(exec: Watched, size: Option<[u32; 2]>) -> Self {
        Self { exec, size }
    }

    /// Whether the bytes for the client are frames.
    pub fn multiplexed(&self) -> bool {
        !self.exec.exec().request.tty
    }

    /// Starts the program and carries its streams. When it cannot be started the client reads why, as
    /// Docker has it.
    pub async fn serve<S: AsyncRead + AsyncWrite>(self, connection: S) {
        let mut halves = tokio::io::split(connection);
        let streams = self.exec.exec().streams();
        match self.exec.run(self.size, streams, false).await {
            Err(error) => {
                let text = self.last_word(&format!("{error}\r\n"));
                // A client that is gone does not read it.
                let _ = halves.1.write_all(&text).await;
            }
            Ok(started) => {
                let ended = match started.stream.map(to_tokio) {
                    Some(Ok(stream)) => carry(&mut halves, stream, &self.wiring()).await,
                    _ => Ended::Gone,
                };
                match ended {
                    Ended::Exited(code) => self.exec.ended(code),
                    Ended::Detached => self.exec.announce("exec_detach"),
                    Ended::Gone => {}
                }
            }
        }
        // After the exit code is recorded: clients ask for it when the stream ends.
        let _ = halves.1.shutdown().await;
    }

    fn wiring(&self) -> Wiring {
        let request = &self.exec.exec().request;
        Wiring {
            tty: request.tty,
            stdin: request.attach_stdin,
            stdout: request.attach_stdout,
            stderr: request.attach_stderr,
            close_stdin: true,
            keys: self.exec.exec().keys.clone(),
        }
    }

    fn last_word(&self, text: &str) -> Vec<u8> {
        if !self.multiplexed() {
            return text.as_bytes().to_vec();
        }
        let frame = dray_runtime::Frame { stream: dray_runtime::StreamKind::Stdout, len: text.len() };
        [&frame.encode()[..], text.as_bytes()].concat()
    }
}

fn to_tokio(stream: std::os::unix::net::UnixStream) -> std::io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
