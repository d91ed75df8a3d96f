//! The history of builds: how they get into it, and BuildKit's calls for it.
//!
//! ```text
//! Control.Solve ─┐                    ┌─► BuildLog: vertexes, output (log.rs)
//! POST /build  ──┴► Asked ► Recorded ─┤
//!                                     └─► Recording: steps and what came in (engine/src/build/history)
//! ListenBuildHistory, UpdateBuildHistory, Status, Content.Info and Read  ◄─ control.rs
//! ```

mod asked;
mod bundle;
mod classic;
mod control;
mod filter;
mod log;
mod read;
mod spans;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_buildkit::grpc::Status;
use dray_engine::build::history::End;
use dray_engine::build::history::record::Failure;
use dray_engine::build::{History, Recording};

pub(crate) use asked::Asked;
pub(in crate::buildkit) use asked::without_userinfo;
pub(crate) use bundle::{BundleError, Exports, LocalState, read as read_bundle, write as write_bundle};
pub(crate) use classic::ClassicBuild;
pub(crate) use filter::filtered;
pub(super) use log::BuildLog;
pub(crate) use read::LogReader;

/// A build in the history. Dropped before its end it was given up.
pub(super) struct Recorded {
    recording: Arc<Recording>,
    log: Arc<BuildLog>,
}

impl Recorded {
    /// Begins to record a build.
    pub fn begin(history: &Arc<History>, asked: Asked) -> Self {
        let no_cache = asked.no_cache();
        let recording = history.begin(asked.record(), no_cache);
        let log = Arc::new(BuildLog::new(Arc::clone(&recording)));
        Recorded { recording, log }
    }

    pub fn log(&self) -> Arc<BuildLog> {
        Arc::clone(&self.log)
    }

    pub fn recording(&self) -> &Arc<Recording> {
        &self.recording
    }

    /// Says where the context comes from, unless that is known.
    pub fn comes_from(&self, shared_key: &str) {
        self.recording.change(|record| {
            if record.thing.context.is_empty() {
                record.thing.context = shared_key.to_owned();
            }
        });
    }

    /// The end of the build: what its client is told, or why it failed.
    pub fn finish(&self, result: Result<&HashMap<String, String>, &Status>) {
        let (failure, told) = match result {
            Ok(told) => (None, told.iter().map(|(name, value)| (name.clone(), value.clone())).collect()),
            Err(status) => (Some(self.failure(status)), BTreeMap::new()),
        };
        let (counts, spans) = self.log.end();
        self.recording.finish(End { failure, told, counts, spans });
    }

    fn failure(&self, status: &Status) -> Failure {
        let hidden = Status { message: self.recording.mask().hide(&status.message), ..status.clone() };
        Failure {
            code: status.code as i32,
            message: hidden.message.clone(),
            status: STANDARD.encode(hidden.to_bytes()),
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.recording.record().is_none() {
            return;
        }
        let (counts, spans) = self.log.end();
        self.recording.finish(End { failure: Some(Failure::cancelled()), counts, spans, ..End::default() });
    }
}
