//! What a pull, push, load or import says while it works, in Docker's words.
//!
//! One event is one line of Docker's JSON progress stream: `id` names the row, `status` what happens in it,
//! `current` of `total` fill its bar. Who shows it is not known here.

/// One thing that happened to one layer (or tag, or image).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressEvent {
    /// The row: the first 12 hexadecimal digits of a layer's digest, or a tag; empty for a line of its own.
    pub id: String,
    /// Docker's text: "Downloading", "Pull complete", "Pushed", …
    pub status: String,
    /// Bytes done.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

impl ProgressEvent {
    /// A row changes its status.
    pub fn status(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self { id: id.into(), status: status.into(), current: None, total: None }
    }

    /// A line that belongs to no row.
    pub fn line(status: impl Into<String>) -> Self {
        Self::status("", status)
    }

    /// A row's bar moves.
    pub fn bar(id: impl Into<String>, status: impl Into<String>, current: u64, total: Option<u64>) -> Self {
        Self { id: id.into(), status: status.into(), current: Some(current), total }
    }
}

/// Who listens. Called from several threads at once; must not block for long.
pub trait Progress: Send + Sync {
    /// Takes the next event.
    fn event(&self, event: ProgressEvent);
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: ProgressEvent) {}
}

impl<F: Fn(ProgressEvent) + Send + Sync> Progress for F {
    fn event(&self, event: ProgressEvent) {
        self(event);
    }
}
