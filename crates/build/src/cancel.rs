//! Stopping a build: one flag that every part of a build looks at, and callbacks for those that wait.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Says that a build shall stop. Clones share the flag.
///
/// Code that works in a loop asks [`Cancel::is_cancelled`]; code that waits for something else (a container's
/// exit, a download) registers with [`Cancel::on_cancel`] what ends its wait.
#[derive(Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    callbacks: Mutex<Callbacks>,
}

#[derive(Default)]
struct Callbacks {
    next: u64,
    waiting: BTreeMap<u64, Callback>,
}

impl Cancel {
    /// A flag that nobody has raised yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag and runs every registered callback, each once.
    pub fn cancel(&self) {
        self.inner.cancelled.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut self.lock().waiting);
        for callback in waiting.into_values() {
            callback();
        }
    }

    /// Whether the build shall stop.
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.load(Ordering::SeqCst)
    }

    /// Runs `callback` when the flag is raised (at once if it already is), unless the guard is dropped before.
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> CancelGuard {
        let mut callbacks = self.lock();
        // The flag is read under the lock: `cancel` raises it before it takes the callbacks, so that none is lost.
        if self.is_cancelled() {
            drop(callbacks);
            callback();
            return CancelGuard { cancel: self.clone(), id: None };
        }
        let id = callbacks.next;
        callbacks.next += 1;
        callbacks.waiting.insert(id, Box::new(callback));
        CancelGuard { cancel: self.clone(), id: Some(id) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Callbacks> {
        self.inner.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// Keeps a callback of [`Cancel::on_cancel`] registered; dropping it takes the callback back.
#[must_use = "dropping the guard takes the callback back"]
#[derive(Debug)]
pub struct CancelGuard {
    cancel: Cancel,
    id: Option<u64>,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.cancel.lock().waiting.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn callbacks_run_once_and_guards_take_them_back() {
        let cancel = Cancel::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let count = |by: usize| {
            let runs = runs.clone();
            move || {
                runs.fetch_add(by, Ordering::SeqCst);
            }
        };
        let kept = cancel.on_cancel(count(1));
        drop(cancel.on_cancel(count(10)));
        cancel.clone().cancel();
        cancel.cancel();
        let late = cancel.on_cancel(count(100));
        assert_eq!(runs.load(Ordering::SeqCst), 101);
        drop((kept, late));
    }
}
