//! The network namespace that a daemon serves: that of the thread which opened [`crate::Network`].
//!
//! A daemon's threads are all in it. Tests make a namespace of their own play the host; then a call may come from a
//! thread that is somewhere else, and is run on one that is not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use dray_sys::netns;

use crate::error::{Error, Result};

/// The host's network namespace.
#[derive(Debug)]
pub struct Host {
    namespace: OwnedFd,
}

impl Host {
    /// The namespace of the calling thread.
    pub fn here() -> Result<Self> {
        let namespace = netns::current()
            .map_err(|source| Error::System { operation: "open the network namespace", source })?;
        Ok(Self { namespace })
    }

    /// Runs something in the host's namespace.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T> {
        if netns::is_current(&self.namespace).unwrap_or(false) {
            return Ok(task());
        }
        inside(&self.namespace, task)
            .map_err(|source| Error::System { operation: "enter the host's network namespace", source })
    }
}

/// Runs something in a network namespace, on a thread that ends with it.
pub fn inside<T: Send>(namespace: impl AsFd + Sync, task: impl FnOnce() -> T + Send) -> io::Result<T> {
    let run = || {
        netns::enter(&namespace)?;
        Ok(task())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, run)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
