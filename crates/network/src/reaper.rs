//! Taking interfaces down in the background.
//!
//! Removing a veth pair keeps the kernel's network lock for many milliseconds, whether it is one or fifty, and who
//! starts a container meanwhile waits for it. So pairs of containers that ended are collected until it is quiet, and
//! go together. They were cut off from their bridge before, so nobody misses anything meanwhile. Their namespaces are
//! kept until then: the end of one would take its pair, and the lock, at once.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::netlink::{Family, Socket, route};
use crate::sandbox::Sandbox;

/// How long it must be quiet before pairs go.
const QUIET: Duration = Duration::from_millis(100);
/// How long pairs wait at most.
const LONGEST: Duration = Duration::from_secs(1);

enum Order {
    Remove(String),
    Keep(Sandbox),
    Flush(Sender<()>),
}

/// The background remover.
#[derive(Debug)]
pub struct Reaper {
    orders: Mutex<Option<Sender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reaper {
    /// Starts it in the calling thread's network namespace.
    pub fn start() -> Result<Self> {
        let failed = |source| Error::System { operation: "start the interface remover", source };
        let socket = Socket::open(Family::Route).map_err(failed)?;
        let (orders, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("net-reaper".into())
            .spawn(move || serve(&socket, &inbox))
            .map_err(failed)?;
        Ok(Self { orders: Mutex::new(Some(orders)), thread: Mutex::new(Some(thread)) })
    }

    /// Removes an interface soon.
    pub fn remove(&self, interface: String) {
        self.order(Order::Remove(interface));
    }

    /// Keeps a namespace until the interfaces in it are removed.
    pub fn keep(&self, sandbox: Sandbox) {
        self.order(Order::Keep(sandbox));
    }

    /// Waits until all that was asked for is done.
    pub fn flush(&self) {
        let (done, wait) = channel();
        self.order(Order::Flush(done));
        let _ = wait.recv();
    }

    /// Does what is left and ends.
    pub fn stop(&self) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle on the network may be dropped on this very thread.
        if let Some(thread) = thread.filter(|t| t.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &*self.orders.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = orders.send(order);
        }
    }
}

fn serve(socket: &Socket, inbox: &Receiver<Order>) {
    while let Ok(first) = inbox.recv() {
        let (mut doomed, mut waiting, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let mut sort = |order| {
            let gather = !matches!(order, Order::Flush(_));
            match order {
                Order::Remove(interface) => doomed.push(interface),
                Order::Keep(sandbox) => kept.push(sandbox),
                Order::Flush(done) => waiting.push(done),
            }
            gather
        };
        let begin = Instant::now();
        let mut gather = sort(first);
        while gather
            && begin.elapsed() < LONGEST
            && let Ok(order) = inbox.recv_timeout(QUIET)
        {
            gather = sort(order);
        }
        if !doomed.is_empty() {
            remove(socket, &doomed);
        }
        drop(kept);
        for done in waiting {
            let _ = done.send(());
        }
    }
}

fn remove(socket: &Socket, names: &[String]) {
    // A group of this process's own, away from those that people use.
    let group = 0x6472_0000 | (std::process::id() & 0xffff);
    if let Err(failed) = route::delete_links(socket, names, group) {
        tracing::warn!("remove interfaces {}: {}", names.join(", "), failed.source);
    }
}
