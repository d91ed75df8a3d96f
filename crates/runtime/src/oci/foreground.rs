//! Staying with a program in the foreground: signals are passed on, a terminal is relayed.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use dray_sys::process as proc;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::{OciError, io_error};
use crate::shim::server::exit_code;

const CHILD: i32 = 17;
const WINDOW: i32 = 28;

/// Blocks the signals that are passed on, and the end of children. Before the program is started, so that none
/// is missed.
pub fn signals() -> Result<OwnedFd, OciError> {
    // HUP INT QUIT USR1 USR2 ALRM TERM CHLD CONT TSTP TTIN TTOU WINCH
    let signals = [1, 2, 3, 10, 12, 14, 15, CHILD, 18, 20, 21, 22, WINDOW];
    proc::signal_fd(&signals).map_err(io_error("watch", "signals"))
}

/// Stays until the program has ended; its exit code.
pub fn attend(
    signals: &OwnedFd,
    program: BorrowedFd<'_>,
    pid: i32,
    console: Option<OwnedFd>,
) -> Result<u8, OciError> {
    let _raw = console.as_ref().and_then(Raw::enter);
    let mut relay = console.as_ref().map(|master| Relay { master, stdin_open: true });
    loop {
        if wait_for_something(signals, relay.as_ref())?
            && let Some(code) = handle_signals(signals, program, pid, console.as_ref())
        {
            if let Some(relay) = &mut relay {
                relay.drain();
            }
            return Ok(u8::try_from(code).unwrap_or(255));
        }
        if let Some(relay) = &mut relay {
            relay.turn();
        }
    }
}

/// Sleeps; whether a signal has come.
fn wait_for_something(signals: &OwnedFd, relay: Option<&Relay<'_>>) -> Result<bool, OciError> {
    let stdin = io::stdin();
    let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
    if let Some(relay) = relay {
        fds.push(PollFd::new(relay.master, PollFlags::IN));
        if relay.stdin_open {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
    }
    match poll(&mut fds, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(errno) => Err(io_error("wait for", "the program")(errno.into())),
    }
}

fn handle_signals(
    signals: &OwnedFd,
    program: BorrowedFd<'_>,
    pid: i32,
    console: Option<&OwnedFd>,
) -> Option<i32> {
    while let Some(signal) = proc::take_signal(signals.as_fd()) {
        match signal {
            CHILD => {}
            WINDOW => {
                if let Some(master) = console {
                    copy_size(master);
                }
            }
            other => {
                // It may have ended: the loop below tells.
                let _ = proc::signal(program, other);
            }
        }
    }
    let mut code = None;
    while let Ok(Some((ended, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Pid::from_raw(pid) == Some(ended) {
            code = Some(exit_code(status));
        }
    }
    code
}

fn copy_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        // Sizes are cosmetic.
        let _ = tcsetwinsize(master, size);
    }
}

/// The caller's terminal in raw mode, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter(master: &OwnedFd) -> Option<Raw> {
        let before = tcgetattr(io::stdin()).ok()?;
        copy_size(master);
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

struct Relay<'a> {
    master: &'a OwnedFd,
    stdin_open: bool,
}

impl Relay<'_> {
    /// Copies what is there, both ways.
    fn turn(&mut self) {
        let readable = |fd: BorrowedFd<'_>| {
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
        };
        if readable(self.master.as_fd()) {
            self.output();
        }
        if self.stdin_open && readable(io::stdin().as_fd()) {
            let mut buffer = [0; 4096];
            match io::stdin().lock().read(&mut buffer) {
                Ok(len) if len > 0 => {
                    let _ = rustix::io::write(self.master, &buffer[..len]);
                }
                _ => self.stdin_open = false,
            }
        }
    }

    /// Copies one piece of output; `false` at its end.
    fn output(&self) -> bool {
        let mut buffer = [0; 8192];
        match rustix::io::read(self.master, &mut buffer) {
            Ok(len) if len > 0 => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&buffer[..len]).and_then(|()| stdout.flush()).is_ok()
            }
            _ => false,
        }
    }

    /// The program has ended: what it said last is still in the terminal.
    fn drain(&self) {
        let mut fds = [PollFd::new(self.master, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        while poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0) && self.output() {}
    }
}
