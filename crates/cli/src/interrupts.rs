//! What asks a command to end while it has something to put in order first.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command_error::Error;

/// The exit code of a command that was interrupted, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// Ctrl+C and termination, caught as long as this lives.
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// Catches both from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> Result<Interrupts, Error> {
        let catch = |kind| signal(kind).map_err(Error::io("catch signals"));
        Ok(Interrupts { int: catch(SignalKind::interrupt())?, term: catch(SignalKind::terminate())? })
    }

    /// Waits for the next of either.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }
}
