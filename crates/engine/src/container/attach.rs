//! Attaching to a container: now, or before it is started, so that not a byte is missed.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use dray_runtime::AttachStreams;
use futures_util::StreamExt;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::Error;
use super::live::Container;
use super::service::Service;
use super::stream::{Ended, Wiring, carry, parse_keys};
use crate::log::{LogOptions, LogStream};

/// What an attach asks for.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Write to the program.
    pub stdin: bool,
    /// Read its standard output.
    pub stdout: bool,
    /// Read its standard error.
    pub stderr: bool,
    /// Stay joined; else only the log is given.
    pub stream: bool,
    /// Begin with what the log holds.
    pub logs: bool,
    /// Keys that detach; empty is the default.
    pub detach_keys: String,
}

/// An attachment that waits for its connection.
#[derive(Debug)]
pub struct Attachment {
    service: Arc<Service>,
    container: Arc<Container>,
    wiring: Wiring,
    /// Our end of the streams; none when only the log is wanted.
    stream: Option<StdStream>,
    log: Option<LogStream>,
}

impl Service {
    /// Attaches to a container. From now on nothing that its program writes is missed; it is delivered
    /// by [`Attachment::serve`].
    ///
    /// # Errors
    /// When it is frozen or waits for its restart, and for keys that are none.
    pub async fn attach(self: &Arc<Self>, called: &str, options: AttachOptions) -> Result<Attachment, Error> {
        let keys = parse_keys(&options.detach_keys)?;
        let container = self.registry.find(called)?;
        let record = container.record();
        if record.state.paused {
            return Err(Error::Paused(called.to_owned(), "attach"));
        }
        if record.state.restarting {
            return Err(Error::Restarting(called.to_owned()));
        }
        let log = if options.logs { Some(self.replay(&container, &options)?) } else { None };
        let wiring = Wiring {
            tty: record.config.tty,
            stdin: options.stdin && record.config.open_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            close_stdin: record.config.stdin_once,
            keys,
        };
        let stream = if options.stream {
            let joining = Arc::clone(&container);
            let streams = AttachStreams { stdin: wiring.stdin, stdout: wiring.stdout, stderr: wiring.stderr };
            Some(self.blocking(move |service| service.join_streams(&joining, streams)).await?)
        } else {
            None
        };
        self.announce(&container, "attach", &[]);
        Ok(Attachment { service: Arc::clone(self), container, wiring, stream, log })
    }

    fn replay(&self, container: &Container, options: &AttachOptions) -> Result<LogStream, Error> {
        let wanted = LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
        Ok(LogStream::open(self.log_source(container)?, wanted)?)
    }

    /// Joins the streams of a running container, or leaves our end to its next start.
    fn join_streams(&self, container: &Container, streams: AttachStreams) -> Result<StdStream, Error> {
        let _order = container.lifecycle.blocking_lock();
        if container.is_up() {
            return Ok(self.shim(container)?.attach_streams(streams)?);
        }
        let (ours, theirs) = StdStream::pair().map_err(Error::io("make a socket pair for", &container.id))?;
        let mut live = container.live();
        // Who has gone since waits for nothing any more.
        live.pending.retain(|waiting| !has_hung_up(waiting));
        live.pending.push(OwnedFd::from(theirs));
        Ok(ours)
    }
}

/// Whether nobody is at the other end of a socket.
fn has_hung_up(socket: &OwnedFd) -> bool {
    let mut ends = [PollFd::new(socket, PollFlags::HUP)];
    let looked = rustix::event::poll(&mut ends, Some(&Timespec::default()));
    looked.is_ok() && ends[0].revents().contains(PollFlags::HUP)
}

impl Attachment {
    /// Whether the bytes for the client are frames.
    pub fn multiplexed(&self) -> bool {
        !self.wiring.tty
    }

    /// Serves the client's connection until one side ends.
    pub async fn serve<S: AsyncRead + AsyncWrite>(self, connection: S) {
        let mut halves = tokio::io::split(connection);
        if let Some(mut log) = self.log {
            while let Some(Ok(piece)) = log.next().await {
                if halves.1.write_all(&piece).await.is_err() {
                    return;
                }
            }
        }
        let stream = self.stream.and_then(|stream| {
            stream.set_nonblocking(true).ok()?;
            UnixStream::from_std(stream).ok()
        });
        if let Some(stream) = stream
            && carry(&mut halves, stream, &self.wiring).await == Ended::Detached
        {
            self.service.announce(&self.container, "detach", &[]);
        }
        // The client may be gone already.
        let _ = halves.1.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_known() {
        let (ours, theirs) = StdStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        assert!(!has_hung_up(&theirs));
        drop(ours);
        assert!(has_hung_up(&theirs));
    }
}
