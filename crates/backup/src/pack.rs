//! Packs: chunks one after the other as one zstd frame, the unit in which backups are stored and sent.

use std::io::{self, Read, Write};

use dray_spec::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::chunk;
use crate::error::Error;

/// A pack is closed when it has so many bytes of chunks.
const FULL: u64 = 16 << 20;
/// zstd's usual level.
const LEVEL: i32 = 3;
/// What a frame may ask of memory to be read (2^24 bytes); ours ask for less.
const WINDOW_LOG: u32 = 24;

/// The SHA-256 of a chunk, in hexadecimal digits on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 32]);

impl ChunkId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        ChunkId(Sha256::digest(bytes).into())
    }
}

impl Serialize for ChunkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for ChunkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id).map_err(serde::de::Error::custom)?;
        Ok(ChunkId(id))
    }
}

/// A chunk in a pack: its id and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk(pub ChunkId, pub u32);

/// A pack: the blob, and the chunks in it in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Digest of the blob.
    pub digest: Digest,
    /// Length of the blob.
    pub size: u64,
    /// What is in it.
    pub chunks: Vec<Chunk>,
}

impl Pack {
    /// Reads the pack's blob and gives each chunk with its place in the pack; every one is checked. At most one chunk
    /// is in memory.
    ///
    /// # Errors
    /// If the bytes are not those of the pack, or `each` fails.
    pub fn read(
        &self,
        blob: impl Read,
        mut each: impl FnMut(usize, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let damaged = || Error::Damaged(self.digest.clone());
        let mut plain = zstd::Decoder::new(blob).map_err(Error::Read)?;
        plain.window_log_max(WINDOW_LOG).map_err(Error::Read)?;
        let mut bytes = Vec::new();
        for (place, Chunk(id, length)) in self.chunks.iter().enumerate() {
            bytes.clear();
            let read = plain.by_ref().take(u64::from(*length)).read_to_end(&mut bytes).map_err(unpacked)?;
            if read != *length as usize || ChunkId::of(&bytes) != *id {
                return Err(damaged());
            }
            each(place, &bytes)?;
        }
        // The frame ends where the chunks do.
        if plain.read(&mut [0]).map_err(unpacked)? != 0 {
            return Err(damaged());
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let fits = |Chunk(_, length): &Chunk| (1..=chunk::MAX).contains(&(*length as usize));
        if self.chunks.is_empty() || !self.chunks.iter().all(fits) {
            return Err(Error::invalid(format!(
                "the chunks of pack {} have impossible lengths",
                self.digest
            )));
        }
        Ok(())
    }
}

fn unpacked(error: io::Error) -> Error {
    Error::invalid(format!("a pack cannot be unpacked: {error}"))
}

/// A pack that is being filled.
pub struct Filling {
    out: zstd::Encoder<'static, Vec<u8>>,
    chunks: Vec<Chunk>,
    bytes: u64,
}

impl Filling {
    pub fn new() -> io::Result<Self> {
        Ok(Filling { out: zstd::Encoder::new(Vec::new(), LEVEL)?, chunks: Vec::new(), bytes: 0 })
    }

    pub fn add(&mut self, id: ChunkId, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.chunks.push(Chunk(id, u32::try_from(bytes.len()).map_err(io::Error::other)?));
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= FULL
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn close(self) -> io::Result<(Pack, Vec<u8>)> {
        let blob = self.out.finish()?;
        let (digest, size) = (Digest::sha256_of(&blob), blob.len() as u64);
        Ok((Pack { digest, size, chunks: self.chunks }, blob))
    }
}
