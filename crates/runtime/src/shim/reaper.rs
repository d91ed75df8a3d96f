//! Reaps ended shims in the process that started them.
//!
//! A shim is the daemon's child as long as this daemon lives. One thread with a small stack sleeps in epoll on
//! their pidfds, so that no zombie waits for the next request.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

struct Reaper {
    epoll: OwnedFd,
    children: Mutex<HashMap<u64, OwnedFd>>,
}

static REAPER: OnceLock<Option<Reaper>> = OnceLock::new();

/// Has `pid`, a child of this process, reaped when it ends.
pub fn watch(pid: i32) {
    let Some(child) = Pid::from_raw(pid) else { return };
    let Some(reaper) = REAPER.get_or_init(Reaper::start) else { return };
    let Ok(pidfd) = pidfd_open(child, PidfdFlags::empty()) else { return };
    let key = u64::from(pid.unsigned_abs());
    let mut children = reaper.children.lock().unwrap_or_else(PoisonError::into_inner);
    if epoll::add(&reaper.epoll, &pidfd, epoll::EventData::new_u64(key), epoll::EventFlags::IN).is_ok() {
        children.insert(key, pidfd);
    }
}

impl Reaper {
    fn start() -> Option<Reaper> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        let thread = std::thread::Builder::new().name("shim-reaper".to_owned()).stack_size(64 << 10);
        thread.spawn(|| REAPER.wait().as_ref().map(Reaper::run)).ok()?;
        Some(Reaper { epoll, children: Mutex::default() })
    }

    fn run(&self) {
        let mut events = Vec::with_capacity(16);
        loop {
            events.clear();
            let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None);
            for event in &events {
                self.reap(event.data.u64());
            }
        }
    }

    fn reap(&self, key: u64) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pidfd) = children.get(&key) else { return };
        let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        // ECHILD: somebody else has reaped it.
        if !matches!(ended, Ok(None)) {
            children.remove(&key);
        }
    }
}
