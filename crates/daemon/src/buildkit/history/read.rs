//! The log of a build, read from its beginning; while the build runs, what comes to it as well.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dray_buildkit::log::next_message;
use dray_engine::build::History;
use dray_engine::build::history::HistoryError;

/// A log being read.
pub(crate) struct LogReader {
    history: Arc<History>,
    id: String,
    file: File,
    /// The beginning of a message that is not there completely.
    rest: Vec<u8>,
}

impl LogReader {
    /// How often the log of a build that runs is looked at.
    pub(crate) const PAUSE: Duration = Duration::from_millis(100);

    /// Begins at the beginning.
    pub(crate) fn open(history: Arc<History>, id: &str) -> Result<Self, HistoryError> {
        let file = history.log(id)?;
        Ok(LogReader { history, id: id.to_owned(), file, rest: Vec::new() })
    }

    /// The whole messages that have come, and whether they were the last. Blocks.
    pub(crate) fn next(&mut self) -> Result<(Vec<u8>, bool), HistoryError> {
        // Looked at before the file is read: what is written later is seen the next time.
        let running = self.history.recording(&self.id).filter(|running| running.record().is_some());
        if let Some(running) = &running {
            running.flush();
        }
        let failed = |source| HistoryError::Log { path: PathBuf::from(&self.id), source };
        self.file.read_to_end(&mut self.rest).map_err(failed)?;
        let mut left = self.rest.as_slice();
        while next_message(&mut left).is_some() {}
        let whole = self.rest.len() - left.len();
        let rest = self.rest.split_off(whole);
        Ok((std::mem::replace(&mut self.rest, rest), running.is_none()))
    }
}
