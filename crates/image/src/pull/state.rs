//! What one layer's transfer is doing, for everybody who waits for it.
//!
//! The stages it went through are kept, so that no listener misses one however slowly it looks; of the byte
//! counts only the newest are, which is what bounds the number of events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dray_spec::Digest;
use dray_store::LayerId;
use tokio::sync::watch;

use super::error::PullError;
use crate::progress::{Progress, ProgressEvent};

/// Shortest time between two events which only move a bar.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// A step of a layer's way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    Waiting,
    Downloading,
    Retrying(u64),
    VerifyingChecksum,
    DownloadComplete,
    Extracting,
    PullComplete,
    AlreadyExists,
}

impl Stage {
    fn text(&self) -> String {
        match self {
            Stage::Waiting => "Waiting".into(),
            Stage::Downloading => "Downloading".into(),
            Stage::Retrying(1) => "Retrying in 1 second".into(),
            Stage::Retrying(seconds) => format!("Retrying in {seconds} seconds"),
            Stage::VerifyingChecksum => "Verifying Checksum".into(),
            Stage::DownloadComplete => "Download complete".into(),
            Stage::Extracting => "Extracting".into(),
            Stage::PullComplete => "Pull complete".into(),
            Stage::AlreadyExists => "Already exists".into(),
        }
    }

    fn has_bar(&self) -> bool {
        matches!(self, Stage::Downloading | Stage::Extracting)
    }
}

/// Where a transfer stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct TransferState {
    stages: Vec<Stage>,
    downloaded: u64,
    extracted: u64,
    total: u64,
    /// How it ended; a blob that is kept as it is makes no layer.
    outcome: Option<Result<Option<LayerId>, Arc<PullError>>>,
}

impl TransferState {
    /// Whether it has ended without a layer.
    pub(crate) fn failed(&self) -> bool {
        matches!(self.outcome, Some(Err(_)))
    }
}

/// The side of the transfer.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<watch::Sender<TransferState>>);

impl Reporter {
    pub(crate) fn new(total: u64) -> (Self, watch::Receiver<TransferState>) {
        let (sender, receiver) = watch::channel(TransferState { total, ..Default::default() });
        (Reporter(Arc::new(sender)), receiver)
    }

    pub(crate) fn stage(&self, stage: Stage) {
        self.0.send_modify(|state| {
            if state.stages.last() != Some(&stage) {
                state.stages.push(stage);
            }
        });
    }

    pub(crate) fn downloaded(&self, bytes: u64) {
        self.0.send_modify(|state| state.downloaded = bytes);
    }

    pub(crate) fn extracted(&self, bytes: u64) {
        self.0.send_modify(|state| state.extracted = bytes);
    }

    pub(crate) fn finish(&self, outcome: Result<Option<LayerId>, PullError>) {
        self.0.send_modify(|state| state.outcome = Some(outcome.map_err(Arc::new)));
    }
}

/// Tells `progress` what happens to the layer `digest` until it is done, and how it ended.
pub(crate) async fn watch_layer(
    mut state: watch::Receiver<TransferState>,
    digest: &Digest,
    progress: &dyn Progress,
) -> Result<Option<LayerId>, PullError> {
    let id = digest.short();
    let mut told = 0;
    let mut bar = (0, Instant::now());
    loop {
        let now = state.borrow_and_update().clone();
        for stage in &now.stages[told..] {
            if !stage.has_bar() {
                progress.event(ProgressEvent::status(id, stage.text()));
            }
        }
        let last = now.stages.last().filter(|stage| stage.has_bar());
        if let Some(stage) = last {
            let bytes = if *stage == Stage::Downloading { now.downloaded } else { now.extracted };
            let entered = told < now.stages.len();
            if bytes > 0 && (entered || bytes != bar.0 && bar.1.elapsed() >= BAR_EVERY) {
                progress.event(ProgressEvent::bar(id, stage.text(), bytes, Some(now.total)));
                bar = (bytes, Instant::now());
            }
        }
        told = now.stages.len();
        match now.outcome {
            Some(Ok(layer)) => return Ok(layer),
            Some(Err(error)) => {
                return Err(Arc::try_unwrap(error).unwrap_or_else(PullError::Shared));
            }
            None => {}
        }
        let news = state.wait_for(|s| s.stages.len() > told || s.outcome.is_some());
        match tokio::time::timeout(BAR_EVERY, news).await {
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(_)) => return Err(PullError::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn every_stage_is_told_once_and_bars_are_bounded() {
        let digest = Digest::sha256_of(b"layer");
        let (reporter, state) = Reporter::new(1_000_000);
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        let watching = tokio::spawn(async move {
            let hear = move |event: ProgressEvent| heard.lock().unwrap().push(event);
            watch_layer(state, &digest, &hear).await
        });
        reporter.stage(Stage::Waiting);
        reporter.stage(Stage::Downloading);
        let start = Instant::now();
        for n in 1..=1000 {
            reporter.downloaded(n * 1000);
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        let took = start.elapsed();
        reporter.stage(Stage::VerifyingChecksum);
        reporter.stage(Stage::DownloadComplete);
        reporter.stage(Stage::PullComplete);
        reporter.finish(Err(PullError::LayerCount));
        assert!(watching.await.unwrap().is_err());
        let events = events.lock().unwrap();
        let of = |status: &str| events.iter().filter(|e| e.status == status).count();
        for status in ["Waiting", "Verifying Checksum", "Download complete", "Pull complete"] {
            assert_eq!(of(status), 1, "{status}");
        }
        let most = usize::try_from(took.as_millis() / 100 + 2).unwrap();
        assert!((1..=most).contains(&of("Downloading")), "{} in {took:?}", of("Downloading"));
    }

    #[tokio::test]
    async fn a_transfer_that_vanishes_is_an_error() {
        let (reporter, state) = Reporter::new(1);
        drop(reporter);
        let ended = watch_layer(state, &Digest::sha256_of(b""), &|_| {}).await;
        assert!(matches!(ended, Err(PullError::Stopped)));
    }
}
