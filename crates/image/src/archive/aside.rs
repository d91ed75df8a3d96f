//! A big file of an archive, to be read again: copied aside, or where it stands.

use std::io::{self, Read};

use dray_spec::{Digest, Hasher};
use dray_store::{Ingest, Store};

use super::file_part::FilePart;
use crate::{Error, Result};

/// The size of reads.
const BUFFER: usize = 256 * 1024;

/// Where the bytes of a big file are.
#[derive(Debug)]
pub(super) enum Aside {
    /// Copied into the store; becomes a blob without being written again.
    Ingest(Box<Ingest>),
    /// In the archive itself, which is a file of somebody else's.
    Part(FilePart),
}

impl Aside {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Ingest(ingest) => ingest.offset(),
            Self::Part(part) => part.length(),
        }
    }

    pub(super) fn reader(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Ingest(ingest) => Box::new(ingest.reader()?),
            Self::Part(part) => Box::new(part.clone()),
        })
    }

    /// What the digest is now.
    pub(super) fn digest(&mut self) -> Result<Digest> {
        match self {
            Self::Ingest(ingest) => Ok(ingest.digest()?),
            Self::Part(part) => {
                let mut hasher = Hasher::new();
                pieces(part.clone(), |piece| {
                    hasher.update(piece);
                    Ok(())
                })?;
                Ok(hasher.finish())
            }
        }
    }

    /// Makes a blob of it; gives its digest and length.
    pub(super) fn keep(self, store: &Store) -> Result<(Digest, u64)> {
        let ingest = match self {
            Self::Ingest(ingest) => *ingest,
            Self::Part(part) => {
                let mut ingest = store.blobs().spool()?;
                pieces(part, |piece| Ok(ingest.append(piece)?))?;
                ingest
            }
        };
        Ok(ingest.commit_as_is_relaxed()?)
    }
}

fn pieces(mut part: FilePart, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match part.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::stream("read archive")(error)),
        }
    }
}
