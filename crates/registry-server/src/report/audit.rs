//! The audit log: one JSON object a line, appended by a thread of its own. A log that was moved away is opened anew
//! at the next line (`logrotate` needs to tell nobody).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::Serialize;

use super::Event;

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
#[error("audit log {}: {source}", path.display())]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// An open audit log.
pub struct Audit {
    lines: Mutex<Option<Sender<String>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError { path: path.to_path_buf(), source };
        let file = append(path).map_err(failed)?;
        let (lines, queue) = channel();
        let owned = path.to_path_buf();
        let thread = std::thread::Builder::new().name("audit".into());
        let thread = thread.spawn(move || write_until_closed(file, &owned, &queue)).map_err(failed)?;
        Ok(Self { lines: Mutex::new(Some(lines)), thread: Some(thread) })
    }

    /// Writes a line, soon.
    pub(super) fn write(&self, event: &Event<'_>) {
        let line = Line { time: jiff::Timestamp::now().to_string(), event };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        text.push('\n');
        let lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lines) = &*lines {
            // The thread ends only after this.
            let _ = lines.send(text);
        }
    }
}

impl Drop for Audit {
    /// Waits until all is written.
    fn drop(&mut self) {
        drop(self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

fn write_until_closed(mut file: File, path: &Path, queue: &Receiver<String>) {
    while let Ok(first) = queue.recv() {
        if !is_at(&file, path) {
            match append(path) {
                Ok(anew) => file = anew,
                Err(error) => tracing::error!(%error, path = %path.display(), "open the audit log anew"),
            }
        }
        let mut out = BufWriter::new(&file);
        let lines = std::iter::once(first).chain(std::iter::from_fn(|| queue.try_recv().ok()));
        let written = lines.take(1000).try_for_each(|line| out.write_all(line.as_bytes()));
        if let Err(error) = written.and_then(|()| out.flush()) {
            tracing::error!(%error, path = %path.display(), "write the audit log");
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
