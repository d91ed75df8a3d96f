//! Sockets handed over by a service manager (`LISTEN_FDS`, sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

const FIRST: RawFd = 3;

/// The sockets handed over to this process, from descriptor 3 on; none if they are another's. The
/// first call takes them: later ones return none.
#[must_use]
pub fn listen_fds() -> Vec<OwnedFd> {
    static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id())
        || TAKEN.swap(true, std::sync::atomic::Ordering::SeqCst)
    {
        return Vec::new();
    }
    let count = RawFd::try_from(number("LISTEN_FDS").unwrap_or(0)).unwrap_or(0);
    // SAFETY: LISTEN_PID is this process, so the service manager opened descriptors 3 to 3+count for
    // it to own; TAKEN lets this happen once, so no descriptor gets a second owner.
    (FIRST..FIRST.saturating_add(count)).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}
