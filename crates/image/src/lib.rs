//! Images: pull, push, unpack, commit, archives.

pub mod progress;

pub use progress::{Progress, ProgressEvent, Silent};
