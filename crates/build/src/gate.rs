//! A bound on how much is done at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Cancel;
use crate::error::BuildError;

/// Lets so many through at once; the others wait.
#[derive(Debug)]
pub(crate) struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

/// Holds a place until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(crate) fn new(places: usize) -> Self {
        Gate { free: Mutex::new(places), changed: Condvar::new() }
    }

    /// Waits for a place.
    pub(crate) fn enter(&self, cancel: &Cancel) -> Result<Pass<'_>, BuildError> {
        let mut free = self.lock();
        while *free == 0 {
            let wait = self.changed.wait_timeout(free, Duration::from_millis(100));
            free = wait.unwrap_or_else(PoisonError::into_inner).0;
            if cancel.is_cancelled() {
                return Err(BuildError::Cancelled);
            }
        }
        *free -= 1;
        Ok(Pass(self))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.lock() += 1;
        self.0.changed.notify_one();
    }
}
