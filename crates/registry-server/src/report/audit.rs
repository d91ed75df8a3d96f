//! The audit log: one JSON object a line, appended by a thread of its own. A log that was moved away is opened anew
//! at the next line (`logrotate` needs to tell nobody).
//!
//! ```text
//! request ─ room() ─► does what it does ─► write(line) ─► queue ─► thread ─► file
//!             └ no room: waits, then refuses              └ so many lines at most
//! ```
//! What is not in the file yet lies in a queue of bounded length. A disk that is slow, full or gone fills it, and then
//! it is for the operator to say what goes first: by default the log. A request takes its line's room before it does
//! anything, so nothing happens that could not be written down; who finds no room for a while is refused. Or else the
//! service goes first: such lines are lost, but counted, in the figures and in the log itself as soon as it goes on.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Event;
use crate::duration::Span;

/// Lines that are written at once.
const BATCH: usize = 1000;
/// How long a log that cannot be written rests before it is tried again.
const REST: Duration = Duration::from_millis(200);
/// How long the end of the process waits for the last lines.
const LAST: Duration = Duration::from_secs(10);

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
#[error("audit log {}: {source}", path.display())]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// What happens to requests while the log cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// They wait, and are refused after a while: nothing happens that is not written down.
    #[default]
    Wait,
    /// They are answered; their lines are lost and counted.
    Drop,
}

/// How much may wait to be written, and what then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AuditBounds {
    /// What happens when there is no room.
    pub overflow: Overflow,
    /// Lines that may wait.
    pub queue: u32,
    /// How long a request waits for room before it is refused.
    pub(crate) patience: Span,
}

impl Default for AuditBounds {
    fn default() -> Self {
        let patience = Span(Duration::from_secs(30));
        Self { overflow: Overflow::default(), queue: 8192, patience }
    }
}

/// An open audit log.
pub struct Audit {
    queue: Mutex<Queue>,
    room: Arc<Semaphore>,
    bounds: AuditBounds,
    waiting: AtomicU64,
    lost: AtomicU64,
    closing: Arc<AtomicBool>,
    /// Ends with the thread.
    ended: Mutex<Receiver<()>>,
}

struct Queue {
    lines: Option<Sender<Queued>>,
    /// Lines that were lost since the last one that was not.
    untold: u64,
}

struct Queued {
    text: String,
    /// Given back when the line is in the file.
    _room: Room,
}

/// Room for a line; none where the log is one that loses lines.
#[derive(Debug, Default)]
pub struct Room(Option<OwnedSemaphorePermit>);

/// There was no room for too long.
#[derive(Debug)]
pub struct Full;

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

#[derive(Serialize)]
struct Loss {
    time: String,
    action: &'static str,
    count: u64,
}

impl Audit {
    /// Opens the log.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(path: &Path, bounds: AuditBounds) -> Result<Self, AuditError> {
        let failed = |source| AuditError { path: path.to_path_buf(), source };
        let file = append(path).map_err(failed)?;
        let (lines, queue) = channel();
        let (ends, ended) = channel();
        let closing = Arc::new(AtomicBool::new(false));
        let mut log = Log { file, path: path.to_path_buf(), closing: closing.clone() };
        let thread = std::thread::Builder::new().name("audit".into());
        let work = move || {
            let _ends: Sender<()> = ends;
            log.write_until_closed(&queue);
        };
        thread.spawn(work).map_err(failed)?;
        Ok(Self {
            queue: Mutex::new(Queue { lines: Some(lines), untold: 0 }),
            room: Arc::new(Semaphore::new(bounds.queue.max(1) as usize)),
            bounds,
            waiting: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            closing,
            ended: Mutex::new(ended),
        })
    }

    /// Takes the room of a line.
    ///
    /// # Errors
    /// There is none for too long, and no line may be lost.
    pub(super) async fn room(&self) -> Result<Room, Full> {
        if let Ok(room) = self.room.clone().try_acquire_owned() {
            return Ok(Room(Some(room)));
        }
        if self.bounds.overflow == Overflow::Drop {
            return Ok(Room(None));
        }
        let _waiting = Counted::one_more(&self.waiting);
        match tokio::time::timeout(self.bounds.patience.0, self.room.clone().acquire_owned()).await {
            Ok(Ok(room)) => Ok(Room(Some(room))),
            _ => Err(Full),
        }
    }

    /// Writes a line, soon.
    pub(super) fn write(&self, event: &Event<'_>, room: Room) {
        let mut queue = self.queue();
        if room.0.is_none() {
            if queue.untold == 0 {
                tracing::error!("the audit log takes no more lines: they are lost");
            }
            queue.untold += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.tell_losses();
        queue.push(&Line { time: now(), event }, room);
    }

    /// Requests that wait for room.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lines that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&self, line: &impl Serialize, room: Room) {
        let Ok(mut text) = serde_json::to_string(line) else { return };
        text.push('\n');
        if let Some(lines) = &self.lines {
            // The thread ends only after this.
            let _ = lines.send(Queued { text, _room: room });
        }
    }

    /// One line for all that were lost; it needs no room, since none comes before the next line that has some.
    fn tell_losses(&mut self) {
        let count = std::mem::take(&mut self.untold);
        if count > 0 {
            self.push(&Loss { time: now(), action: "lost", count }, Room(None));
        }
    }
}

impl Drop for Audit {
    /// Waits until all is written, but not for ever.
    fn drop(&mut self) {
        let mut queue = self.queue();
        queue.tell_losses();
        queue.lines.take();
        drop(queue);
        self.closing.store(true, Ordering::Relaxed);
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the audit log's last lines are lost: it takes nothing");
        }
    }
}

/// Counts as long as it is there.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn one_more(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// The thread's side: the file.
struct Log {
    file: File,
    path: PathBuf,
    closing: Arc<AtomicBool>,
}

impl Log {
    fn write_until_closed(&mut self, queue: &Receiver<Queued>) {
        while let Ok(first) = queue.recv() {
            let more = std::iter::from_fn(|| queue.try_recv().ok());
            let batch: Vec<Queued> = std::iter::once(first).chain(more).take(BATCH).collect();
            let text: String = batch.iter().map(|line| line.text.as_str()).collect();
            if let Err(error) = self.write(text.as_bytes()) {
                tracing::error!(%error, lines = batch.len(), "the audit log's last lines are lost");
            }
        }
    }

    /// Writes lines, and does not give up before the process ends. What was written stays written: it goes on in the
    /// middle of a line, or in a file that was opened anew at the line's beginning.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let mut written = 0;
        let mut fails = false;
        while written < text.len() {
            if self.follow() {
                let line = text[..written].iter().rposition(|byte| *byte == b'\n');
                written = line.map_or(0, |end| end + 1);
            }
            match self.file.write(&text[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.closing.load(Ordering::Relaxed) => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut fails, true) {
                        tracing::error!(%error, path = %self.path.display(), "write the audit log");
                    }
                    std::thread::sleep(REST);
                }
            }
        }
        if fails {
            tracing::info!(path = %self.path.display(), "the audit log goes on");
        }
        Ok(())
    }

    /// Opens the file anew if it was moved away; true if it is another now.
    fn follow(&mut self) -> bool {
        if is_at(&self.file, &self.path) {
            return false;
        }
        match append(&self.path) {
            Ok(anew) => self.file = anew,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "open the audit log anew");
                return false;
            }
        }
        true
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
