//! Raw mode: bytes pass as they are typed. Undone on drop, on panic, and by [`restore_now`] before an exit.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, Once};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The settings to go back to, while raw mode is on.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

fn saved() -> std::sync::MutexGuard<'static, Option<Termios>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Standard input in raw mode as long as this lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches standard input to raw mode, if it is a terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> std::io::Result<Option<RawMode>> {
        let stdin: BorrowedFd<'static> = rustix::stdio::stdin();
        if !super::is_terminal(stdin) {
            return Ok(None);
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore_now();
                next(info);
            }));
        });
        *saved() = Some(before);
        if let Err(e) = tcsetattr(stdin, OptionalActions::Drain, &raw) {
            saved().take();
            return Err(e.into());
        }
        Ok(Some(RawMode(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore_now();
    }
}

/// Puts standard input back as it was; does nothing if it was not changed.
pub fn restore_now() {
    if let Some(before) = saved().take() {
        // Nothing can be done about a terminal that has gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
    }
}
