//! The terminal: raw mode that is always undone, its size, keys that detach, signals.

mod ask;
mod detach;
mod raw;

use std::os::fd::{AsFd, BorrowedFd};

pub use ask::{ask, ask_secret};
pub use detach::DetachKeys;
pub use raw::{Keys, RawMode, Silence, restore_now};

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// Height and width of a terminal, if it is one and says so.
pub fn size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 || size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Whether live displays with cursor movement make sense on standard output.
pub fn is_live(fd: impl AsFd) -> bool {
    is_terminal(fd) && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Whether colours are wanted.
pub fn is_coloured(fd: impl AsFd) -> bool {
    is_live(fd) && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
