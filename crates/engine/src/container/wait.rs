//! Waiting for a container to end.

use std::sync::Arc;

use tokio::sync::watch;

use super::live::Progress;
use super::service::Service;
use super::{Error, live::Container};

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// It does not run: at once if it does not.
    #[default]
    NotRunning,
    /// It ends the next time, even if it does not run yet.
    NextExit,
    /// It is gone.
    Removed,
}

impl WaitCondition {
    /// Reads the query parameter; empty is `not-running`.
    ///
    /// # Errors
    /// `invalid condition: "x"`.
    pub fn parse(raw: &str) -> Result<Self, Error> {
        match raw {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(Error::WaitCondition(raw.to_owned())),
        }
    }
}

/// A wait that has begun: nothing that happens from now on is missed.
#[derive(Debug)]
pub struct Wait {
    condition: WaitCondition,
    exits: u64,
    progress: watch::Receiver<Progress>,
}

impl Wait {
    pub(super) fn on(container: &Container, condition: WaitCondition) -> Self {
        let mut progress = container.watch();
        let exits = progress.borrow_and_update().exits;
        Self { condition, exits, progress }
    }

    /// Waits, and gives the exit code and an error text, mostly empty.
    pub async fn finish(mut self) -> (i32, String) {
        let (condition, exits) = (self.condition, self.exits);
        let met = |progress: &Progress| {
            progress.removed
                || match condition {
                    WaitCondition::NotRunning => !progress.running || progress.exits > exits,
                    WaitCondition::NextExit => progress.exits > exits,
                    WaitCondition::Removed => false,
                }
        };
        match self.progress.wait_for(met).await {
            Ok(progress) => (progress.exit_code, progress.error.clone()),
            // The container was dropped without a word: the daemon goes.
            Err(_) => (-1, "the daemon is shutting down".into()),
        }
    }
}

impl Service {
    /// Begins to wait for a container.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn wait(self: &Arc<Self>, called: &str, condition: WaitCondition) -> Result<Wait, Error> {
        Ok(Wait::on(&*self.registry.find(called)?, condition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::Record;
    use jiff::Timestamp;

    fn ended(container: &Container, code: i32) {
        container.live().record.state.set_stopped(code, false, Timestamp::now());
        container.announce(true);
    }

    #[tokio::test]
    async fn each_condition() {
        let container = Container::new(Record { id: "a".into(), ..Record::default() });
        assert_eq!(Wait::on(&container, WaitCondition::NotRunning).finish().await.0, 0);
        let next = Wait::on(&container, WaitCondition::NextExit);
        let removed = Wait::on(&container, WaitCondition::Removed);
        container.live().record.state.set_running(1, 1, Timestamp::now());
        container.announce(false);
        let not_running = Wait::on(&container, WaitCondition::NotRunning);
        ended(&container, 3);
        assert_eq!(next.finish().await.0, 3);
        assert_eq!(not_running.finish().await.0, 3);
        container.announce_removed(String::new());
        assert_eq!(removed.finish().await, (3, String::new()));
    }

    #[test]
    fn conditions() {
        assert_eq!(WaitCondition::parse("").unwrap(), WaitCondition::NotRunning);
        assert_eq!(WaitCondition::parse("soon").unwrap_err().to_string(), "invalid condition: \"soon\"");
    }
}
