//! Which layers are on their way: clients that want the same one share it.
//!
//! A transfer lives as long as somebody waits for it. When the last one goes (the client hung up), it is
//! stopped, and only its resumable ingest stays.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dray_spec::Digest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, watch};
use tokio::task::AbortHandle;

use super::landing::Cut;
use super::state::{Reporter, TransferState};

/// What is brought in. The same blob promised to hold different content is not the same transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A layer, by its blob and its diff ID.
    Layer(Digest, Digest),
    /// A blob that is kept as it is.
    Blob(Digest),
}

impl Key {
    /// The blob.
    pub(crate) fn blob(&self) -> &Digest {
        match self {
            Key::Layer(blob, _) | Key::Blob(blob) => blob,
        }
    }
}

/// All transfers of a daemon.
pub(crate) struct Transfers {
    running: Mutex<HashMap<Key, Weak<Transfer>>>,
    writers: Mutex<HashMap<Digest, Weak<AsyncMutex<()>>>>,
    /// Bounds how many layers are downloaded at once.
    pub(crate) downloads: Arc<Semaphore>,
    /// Bounds how many layers are unpacked at once.
    pub(crate) unpacks: Arc<Semaphore>,
    /// How large blobs are cut.
    pub(crate) cut: Cut,
    /// Bounds the streams beside each blob's first one.
    pub(crate) streams: Arc<Semaphore>,
}

/// One layer's transfer; it is stopped with the last owner.
pub(crate) struct Transfer {
    pub(crate) state: watch::Receiver<TransferState>,
    task: AbortHandle,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Transfers {
    pub(crate) fn new(downloads: usize, unpacks: usize, cut: Cut) -> Self {
        Transfers {
            running: Mutex::default(),
            writers: Mutex::default(),
            downloads: Arc::new(Semaphore::new(downloads.max(1))),
            unpacks: Arc::new(Semaphore::new(unpacks.max(1))),
            streams: Arc::new(Semaphore::new(downloads.max(1) * cut.streams.saturating_sub(1))),
            cut,
        }
    }

    /// Joins the transfer `key`, or starts it with `work`. Says whether it was started here.
    pub(crate) fn join<W, F>(&self, key: &Key, total: u64, work: W) -> (Arc<Transfer>, bool)
    where
        W: FnOnce(Reporter) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = lock(&self.running);
        if let Some(transfer) = running.get(key).and_then(Weak::upgrade)
            && !transfer.state.borrow().failed()
        {
            return (transfer, false);
        }
        running.retain(|_, transfer| transfer.strong_count() > 0);
        let (reporter, state) = Reporter::new(total);
        let task = tokio::spawn(work(reporter)).abort_handle();
        let transfer = Arc::new(Transfer { state, task });
        running.insert(key.clone(), Arc::downgrade(&transfer));
        (transfer, true)
    }

    /// The right to write the ingest of `digest`: a transfer that was just stopped may still hold it for the
    /// moment its thread needs to see that.
    pub(crate) async fn writer(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let mutex = {
            let mut writers = lock(&self.writers);
            writers.retain(|_, mutex| mutex.strong_count() > 0);
            let known = writers.get(digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let mutex = Arc::new(AsyncMutex::new(()));
                writers.insert(digest.clone(), Arc::downgrade(&mutex));
                mutex
            })
        };
        mutex.lock_owned().await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    const CUT: Cut = Cut { least: 100, part: 10, streams: 2 };

    fn key(name: &[u8]) -> Key {
        Key::Layer(Digest::sha256_of(name), Digest::sha256_of(name))
    }

    #[tokio::test]
    async fn one_transfer_for_many_and_none_for_nobody() {
        let transfers = Transfers::new(3, 3, CUT);
        let alive = Arc::new(AtomicUsize::new(0));
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let start = |_| {
            alive.fetch_add(1, Ordering::SeqCst);
            let count = Count(alive.clone());
            async move {
                let _count = count;
                std::future::pending::<()>().await;
            }
        };
        let (one, started) = transfers.join(&key(b"a"), 1, start);
        assert!(started);
        let (two, started) = transfers.join(&key(b"a"), 1, start);
        assert!(!started && Arc::ptr_eq(&one, &two));
        drop(one);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop(two);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        assert!(transfers.join(&key(b"a"), 1, start).1);
    }

    #[tokio::test]
    async fn one_writer_at_a_time() {
        let transfers = Transfers::new(1, 1, CUT);
        let digest = Digest::sha256_of(b"x");
        let first = transfers.writer(&digest).await;
        let waited = tokio::time::timeout(Duration::from_millis(20), transfers.writer(&digest)).await;
        assert!(waited.is_err());
        drop(first);
        transfers.writer(&digest).await;
    }
}
