//! One writer for each upload. A later request takes the turn from an earlier one: a client that asks again has lost
//! its connection, though the server may not have noticed yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::name::UploadId;

/// The uploads that are being written.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    holders: Mutex<HashMap<UploadId, CancellationToken>>,
    left: Notify,
}

/// The right to write an upload, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    id: UploadId,
    /// Cancelled when somebody else wants the turn.
    pub(super) wanted: CancellationToken,
}

impl Turns {
    /// Takes the turn, asking who has it to stop.
    pub(super) async fn take(&self, id: &UploadId) -> Turn {
        loop {
            let left = self.0.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            {
                let mut holders = self.holders();
                match holders.get(id) {
                    Some(holder) => holder.cancel(),
                    None => {
                        let wanted = CancellationToken::new();
                        holders.insert(id.clone(), wanted.clone());
                        return Turn { turns: self.clone(), id: id.clone(), wanted };
                    }
                }
            }
            left.await;
        }
    }

    /// Asks all to stop, and waits until they have.
    pub(super) async fn stop_all(&self) {
        loop {
            let left = self.0.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            {
                let holders = self.holders();
                if holders.is_empty() {
                    return;
                }
                holders.values().for_each(CancellationToken::cancel);
            }
            left.await;
        }
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<UploadId, CancellationToken>> {
        self.0.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.holders().remove(&self.id);
        self.turns.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_later_one_gets_the_turn() {
        let turns = Turns::default();
        let id = UploadId::random();
        let first = turns.take(&id).await;
        let waiting = tokio::spawn({
            let (turns, id) = (turns.clone(), id.clone());
            async move { turns.take(&id).await }
        });
        first.wanted.cancelled().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap();
        assert!(!second.wanted.is_cancelled());
        drop(turns.take(&UploadId::random()).await);
    }
}
