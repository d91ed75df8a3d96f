//! The network thread: one runtime for the embedded resolver, the forwarders and the watch over the firewall.
//!
//! It inherits the network namespace of the thread that starts it, the host's.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::netlink::{Family, Socket};

/// NFNLGRP_NFTABLES, as a bit.
const NFTABLES: u32 = 1 << 6;
/// How long changes of the firewall are collected: tools change it in many steps.
const SETTLE: Duration = Duration::from_millis(50);

/// The running thread.
#[derive(Debug)]
pub struct Service {
    handle: Handle,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Service {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let failed = |source| Error::System { operation: "start the network thread", source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            let _ = runtime.block_on(stopped);
        };
        let thread = std::thread::Builder::new().name("network".into()).spawn(serve).map_err(failed)?;
        Ok(Self { handle, stop: Mutex::new(Some(stop)), thread: Mutex::new(Some(thread)) })
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Calls `changed` after changes of nftables which `concerns` picks; ends when `changed` says so.
    pub fn watch(
        &self,
        concerns: impl Fn(&crate::netlink::wire::Message<'_>) -> bool + Send + 'static,
        changed: impl Fn() -> bool + Send + 'static,
    ) -> Result<()> {
        let socket = Socket::subscribe(Family::Netfilter, NFTABLES)
            .map_err(|source| Error::System { operation: "watch nftables", source })?;
        self.handle.spawn(async move {
            #[expect(
                deprecated,
                reason = "sound here: the socket owns its descriptor; `register` would be unsafe"
            )]
            let registered = tokio::io::unix::AsyncFd::new(socket);
            let Ok(socket) = registered else { return };
            loop {
                let Ok(mut ready) = socket.readable().await else { return };
                let mut relevant = false;
                let lost = socket.get_ref().drain(|message| relevant |= concerns(message));
                relevant |= lost;
                ready.clear_ready();
                drop(ready);
                if relevant {
                    tokio::time::sleep(SETTLE).await;
                    socket.get_ref().drain(|_| {});
                    if !changed() {
                        return;
                    }
                }
            }
        });
        Ok(())
    }

    /// Ends the thread and all tasks on it.
    pub fn stop(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}
