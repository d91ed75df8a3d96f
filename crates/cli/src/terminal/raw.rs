//! Raw mode: bytes pass as they are typed. Undone on drop, on panic, and by [`restore_now`] before an exit.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, Once};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

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
        Ok(change(Termios::make_raw)?.then_some(RawMode(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore_now();
    }
}

/// Keys come one by one and are not shown as long as this lives; those that interrupt and stop do so.
#[derive(Debug)]
pub struct Keys(());

impl Keys {
    /// Changes standard input so, if it is a terminal and this program is the one that may read from it.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> std::io::Result<Option<Keys>> {
        let foreground = rustix::termios::tcgetpgrp(rustix::stdio::stdin());
        if foreground.ok() != Some(rustix::process::getpgrp()) {
            return Ok(None);
        }
        let by_key = |s: &mut Termios| s.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
        Ok(change(by_key)?.then_some(Keys(())))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        restore_now();
    }
}

/// What is typed is not shown as long as this lives.
#[derive(Debug)]
pub struct Silence(());

impl Silence {
    /// Stops standard input's echo, if it is a terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> std::io::Result<Option<Silence>> {
        let silent = |settings: &mut Termios| settings.local_modes.remove(LocalModes::ECHO);
        Ok(change(silent)?.then_some(Silence(())))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore_now();
    }
}

/// Changes standard input's settings and remembers what they were; says whether it is a terminal at all.
fn change(how: impl FnOnce(&mut Termios)) -> std::io::Result<bool> {
    let stdin: BorrowedFd<'static> = rustix::stdio::stdin();
    if !super::is_terminal(stdin) {
        return Ok(false);
    }
    let before = tcgetattr(stdin)?;
    let mut changed = before.clone();
    how(&mut changed);
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore_now();
            next(info);
        }));
    });
    *saved() = Some(before);
    if let Err(e) = tcsetattr(stdin, OptionalActions::Drain, &changed) {
        saved().take();
        return Err(e.into());
    }
    Ok(true)
}

/// Puts standard input back as it was; does nothing if it was not changed.
pub fn restore_now() {
    if let Some(before) = saved().take() {
        // Nothing can be done about a terminal that has gone.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
    }
}
