//! What a build tells its client: vertexes that begin and end, what they print and how far they are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dray_buildkit::proto::Timestamp;
use dray_buildkit::proto::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use dray_spec::Digest;
use tokio::sync::mpsc;

use super::history::BuildLog;

/// Messages that wait for a slow client.
const QUEUED: usize = 1024;
/// How often a count of bytes is told.
const EVERY: Duration = Duration::from_millis(100);

/// Where the messages of a build go. Clones are the same.
#[derive(Clone)]
pub(super) struct Progress {
    reference: Arc<str>,
    queue: Arc<Queue>,
    /// Whether its messages wait for a slow client; else what does not fit is lost.
    waits: bool,
    /// Where all of it is kept.
    log: Option<Arc<BuildLog>>,
}

struct Queue {
    sender: Mutex<Option<mpsc::Sender<StatusResponse>>>,
    /// Somebody reads; until then nobody waits.
    subscribed: AtomicBool,
}

impl Progress {
    pub fn new(reference: &str) -> (Self, mpsc::Receiver<StatusResponse>) {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let queue = Queue { sender: Mutex::new(Some(sender)), subscribed: AtomicBool::new(false) };
        (Progress { reference: reference.into(), queue: Arc::new(queue), waits: false, log: None }, receiver)
    }

    /// The same, kept in a log as well.
    pub fn logged(self, log: Option<Arc<BuildLog>>) -> Self {
        Progress { log, ..self }
    }

    /// The same, for threads that may wait: a client that reads slowly slows the build down.
    pub fn waiting(&self) -> Self {
        Progress { waits: true, ..self.clone() }
    }

    pub fn subscribed(&self) {
        self.queue.subscribed.store(true, Ordering::Relaxed);
    }

    /// Ends the messages.
    pub fn close(&self) {
        self.queue.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn sender(&self) -> Option<mpsc::Sender<StatusResponse>> {
        self.queue.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, message: StatusResponse) {
        if let Some(log) = &self.log {
            log.take(&message);
        }
        let Some(sender) = self.sender() else { return };
        if self.waits && self.queue.subscribed.load(Ordering::Relaxed) {
            let _ = sender.blocking_send(message);
        } else {
            let _ = sender.try_send(message);
        }
    }

    /// A vertex of this build. Its digest only has to be its own.
    pub fn vertex(&self, name: &str) -> VertexProgress {
        let digest = Digest::sha256_of(format!("{}\n{name}", self.reference).as_bytes()).to_string();
        VertexProgress { progress: self.clone(), digest, name: name.to_owned(), started: Arc::default() }
    }
}

impl super::ExportProgress for VertexProgress {
    fn note(&self, what: &str) {
        VertexProgress::note(self, what);
    }
}

/// One vertex.
#[derive(Clone)]
pub(super) struct VertexProgress {
    progress: Progress,
    digest: String,
    name: String,
    started: Arc<Mutex<Option<Timestamp>>>,
}

impl VertexProgress {
    /// Its name among the vertexes of its build.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    fn started(&self) -> Option<Timestamp> {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn vertex(&self) -> Vertex {
        Vertex {
            digest: self.digest.clone(),
            name: self.name.clone(),
            started: self.started(),
            ..Vertex::default()
        }
    }

    fn tell(&self, vertex: Vertex) {
        self.progress.send(StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() });
    }

    pub fn has_begun(&self) -> bool {
        self.started().is_some()
    }

    /// It begins; nothing more if it has begun.
    pub fn begin(&self) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let first = started.is_none();
        started.get_or_insert_with(Timestamp::now);
        drop(started);
        if first {
            self.tell(self.vertex());
        }
    }

    pub fn end(&self, error: Option<String>) {
        self.begin();
        let completed = Some(Timestamp::now());
        self.tell(Vertex { completed, error: error.unwrap_or_default(), ..self.vertex() });
    }

    pub fn end_cached(&self) {
        let now = Some(Timestamp::now());
        self.tell(Vertex { started: now, completed: now, cached: true, ..self.vertex() });
    }

    /// Something that was done within it.
    pub fn note(&self, what: &str) {
        self.counted(what, 0, 0, true);
    }

    /// How far something within it is.
    pub fn counted(&self, what: &str, current: u64, total: u64, done: bool) {
        self.begin();
        let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let now = Some(Timestamp::now());
        let status = VertexStatus {
            id: what.to_owned(),
            vertex: self.digest.clone(),
            name: String::new(),
            current: bytes(current),
            total: bytes(total),
            timestamp: now,
            started: self.started().or(now),
            completed: if done { now } else { None },
        };
        self.progress.send(StatusResponse { statuses: vec![status], ..StatusResponse::default() });
    }

    /// A count that is told now and then.
    pub fn counter(&self, what: &'static str) -> impl FnMut(u64) + Send + use<> {
        let vertex = self.clone();
        let mut last = Instant::now();
        move |bytes| {
            if last.elapsed() >= EVERY {
                last = Instant::now();
                vertex.counted(what, bytes, 0, false);
            }
        }
    }

    pub fn log(&self, stream: i64, text: String) {
        self.begin();
        let log = VertexLog {
            vertex: self.digest.clone(),
            timestamp: Some(Timestamp::now()),
            stream,
            msg: text.into_bytes(),
        };
        self.progress.send(StatusResponse { logs: vec![log], ..StatusResponse::default() });
    }

    pub fn warn(&self, text: String) {
        self.warned(VertexWarning { short: text.into_bytes(), ..VertexWarning::default() });
    }

    /// A warning with all that it says of itself.
    pub fn warned(&self, warning: VertexWarning) {
        let warning = VertexWarning { vertex: self.digest.clone(), level: 1, ..warning };
        self.progress.send(StatusResponse { warnings: vec![warning], ..StatusResponse::default() });
    }
}
