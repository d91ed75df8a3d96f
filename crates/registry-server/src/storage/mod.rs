//! Where the bytes of blobs lie: the contract of every back end, and what is common to them.
//!
//! A back end stores objects under [`Key`]s. It knows neither digests nor repositories: which digest lies under
//! which key is the metadata's to say ([`crate::metadata`]). A key is made once, filled once by one [`Draft`] and
//! never used again, so no writer can ever meet a deletion of the same key.
//!
//! ```text
//! create(key) ─► Draft ─ write* ─ checkpoint ─┐      in this process or, after its loss, in another
//!                  ▲                          │
//!                  └──── resume(key, state) ◄─┘
//!                Draft ─ seal ─► open(key)*  ─► remove(key)
//! ```
//!
//! `contract` is the suite that every back end passes.

#[cfg(test)]
pub(crate) mod contract;
mod disk;
mod error;
mod object;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::name::Key;

pub use disk::Disk;
pub use error::Error;
pub use object::{Bucket, Environment};

/// Result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A back end.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Begins an object. Nothing is to be read under `key` before it is sealed.
    async fn create(&self, key: &Key) -> Result<Box<dyn Draft>>;

    /// Goes on with an object where [`Draft::checkpoint`] left it; `state` is what that gave, `offset` the bytes
    /// written until then. Bytes written after the checkpoint are as if they never came. At
    /// offset 0 the object need not have been created.
    async fn resume(&self, key: &Key, offset: u64, state: &[u8]) -> Result<Box<dyn Draft>>;

    /// The bytes `range` of a sealed object; none if it is not there. The caller knows the object's length and
    /// asks for nothing beyond it.
    async fn open(&self, key: &Key, range: Range<u64>) -> Result<Option<Content>>;

    /// Removes an object, sealed or not; `state` is the draft's, if it was never sealed. No error if there is
    /// none: a removal that was interrupted is done again.
    async fn remove(&self, key: &Key, state: &[u8]) -> Result<()>;

    /// Keys of all objects, for the search for those that nobody knows. May hold keys that are gone.
    async fn keys(&self) -> Result<Vec<Key>>;

    /// Whether it can be written to and read from now.
    async fn check(&self) -> Result<()>;
}

/// An object that is being written, from its beginning to its end.
#[async_trait]
pub trait Draft: Send {
    /// Appends bytes.
    async fn write(&mut self, pieces: Vec<Bytes>) -> Result<()>;

    /// Makes what was written so far survive this process, and gives what [`Storage::resume`] needs.
    async fn checkpoint(&mut self) -> Result<Vec<u8>>;

    /// A file in which what was written so far can be read meanwhile, where the back end has one.
    fn written(&self) -> Option<Arc<File>> {
        None
    }

    /// Ends the object: from now on it can be read, and a power cut does not take it.
    async fn seal(&mut self) -> Result<()>;
}

/// What is read.
pub enum Content {
    /// A part of a local file, which can go to a socket without passing through this process.
    File {
        /// The file.
        file: Arc<File>,
        /// The part.
        range: Range<u64>,
    },
    /// Bytes from elsewhere.
    Stream(BoxStream<'static, Result<Bytes>>),
}
