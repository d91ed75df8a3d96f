//! A client joined to a container's streams until one side ends: what `run`, `start -a` and `attach` have in common.

use std::future::Future;

use dray_client::api::container::WaitResponse;
use dray_client::{Client, Hijacked, JsonStream};

use crate::command_error::{Error, REFUSED};
use crate::spec::Done;
use crate::stdio::{self, End, Join, SignalProxy, Sized};
use crate::terminal::{self, DetachKeys, RawMode};

/// A container whose streams are joined.
pub struct Session<'a> {
    /// The daemon.
    pub client: &'a Client,
    /// The container's id.
    pub id: &'a str,
    /// Which streams, and the keys that leave it running.
    pub join: Join,
    /// Signals for the program, if it gets those of the client.
    pub proxy: Option<SignalProxy>,
    /// Whether a full-screen program shall draw itself anew, since it began before.
    pub redraw: bool,
}

impl Session<'_> {
    /// Carries bytes, sizes and signals until the program ends or the client detaches; gives the exit code.
    ///
    /// # Errors
    /// The connection breaks, or the daemon could not wait.
    pub async fn until_end(mut self, connection: Hijacked, waiting: &mut JsonStream<WaitResponse>) -> Done {
        let (client, id, tty) = (self.client, self.id, self.join.tty);
        let shows = self.join.stdout || self.join.stderr;
        let size = async {
            if tty && terminal::is_terminal(rustix::stdio::stdout()) {
                if self.redraw {
                    redraw(client, id).await;
                }
                stdio::follow_size(client, Sized::Container(id)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let signals = async {
            match &mut self.proxy {
                Some(proxy) => proxy.forward(client, id).await,
                None => stdio::end_on_signals().await,
            }
        };
        let streams = stdio::join(connection, self.join);
        beside(outcome(streams, waiting, shows), size, signals).await
    }
}

/// The keys that detach, which are keys only on a terminal.
pub fn keys(tty: bool, keys: DetachKeys) -> Option<DetachKeys> {
    (tty && terminal::is_terminal(rustix::stdio::stdin())).then_some(keys)
}

/// Makes a full-screen program draw itself anew: to it the terminal changes its size and back.
async fn redraw(client: &Client, id: &str) {
    if let Some((height, width)) = terminal::size(rustix::stdio::stdout()) {
        // A program that has just ended has nothing to draw.
        let _ = client.container_resize(id, height.saturating_add(1), width.saturating_add(1)).await;
    }
}

/// Raw mode of standard input.
///
/// # Errors
/// The terminal refuses.
pub fn enter_raw() -> Result<Option<RawMode>, Error> {
    RawMode::enter().map_err(Error::io("set the terminal to raw mode"))
}

/// Runs the first to its end, with two others that never end beside it.
pub async fn beside<T>(
    main: impl Future<Output = T>,
    a: impl Future<Output = ()>,
    b: impl Future<Output = ()>,
) -> T {
    tokio::select! {
        done = main => done,
        () = a => unreachable_end(),
        () = b => unreachable_end(),
    }
}

fn unreachable_end<T>() -> T {
    unreachable!("resizing and passing on signals never end")
}

/// The exit code: the output is read to its end before, unless none is shown.
async fn outcome(
    streams: impl Future<Output = Result<End, Error>>,
    waiting: &mut JsonStream<WaitResponse>,
    shows: bool,
) -> Done {
    tokio::pin!(streams);
    tokio::select! {
        biased;
        ended = &mut streams => match ended? {
            End::Detached => Ok(0),
            End::Closed => exit_code(waiting).await,
        },
        code = exit_code(waiting) => {
            if shows {
                streams.await?;
            }
            code
        }
    }
}

/// The exit code that a wait brings.
pub async fn exit_code(waiting: &mut JsonStream<WaitResponse>) -> Done {
    match waiting.next().await? {
        None => Ok(REFUSED),
        Some(WaitResponse { error: Some(e), .. }) if !e.message.is_empty() => {
            Err(Error::Refused(format!("Error waiting for container: {}", e.message)).with_code(REFUSED))
        }
        Some(response) => Ok(u8::try_from(response.status_code & 0xff).unwrap_or(REFUSED)),
    }
}
