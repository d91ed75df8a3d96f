//! What users see while something is done.

/// How something is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Under way.
    Working,
    /// Done.
    Done,
    /// Done, with something to tell.
    Warning,
    /// Failed.
    Error,
}

/// A step of something.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it happens to: `Container web-1`.
    pub id: String,
    /// What that belongs to.
    pub parent: Option<String>,
    /// How it is doing.
    pub status: Status,
    /// In a word: `Creating`.
    pub text: String,
}

/// Who hears of events.
pub trait Progress {
    /// Something happened.
    fn event(&self, event: Event);
}

/// Nobody.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
