//! Directories of cache mounts on the move: each a tar, named by its content.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use dray_image::layer::{self, Limits, Options};
use dray_spec::{Descriptor, Digest};
use dray_store::Ingest;
use serde::{Deserialize, Serialize};

use crate::Builder;
use crate::error::BuildError;

/// How a packed directory is called.
const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Fast, and far better than nothing.
const LEVEL: i32 = 3;
/// Bytes that all directories of a cache may hold, unless it is said.
const MOST: u64 = 5_000_000_000;

/// Which cache mounts go along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountChoice {
    which: Which,
    /// Bytes that the files of all may have.
    pub most: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    None,
    All,
    Ids(BTreeSet<String>),
}

impl Default for MountChoice {
    fn default() -> Self {
        MountChoice { which: Which::None, most: MOST }
    }
}

impl MountChoice {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        MountChoice { which: Which::All, ..MountChoice::default() }
    }

    /// Reads `true`, `false`, or ids with commas between them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let which = match text {
            "" | "false" | "0" => Which::None,
            "true" | "1" => Which::All,
            ids => Which::Ids(ids.split([',', ';']).map(str::to_owned).collect()),
        };
        MountChoice { which, ..MountChoice::default() }
    }

    /// Whether it is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.which == Which::None
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        match &self.which {
            Which::None => false,
            Which::All => true,
            Which::Ids(ids) => ids.contains(id),
        }
    }
}

/// A directory as a document has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortableMount {
    pub(crate) id: String,
    pub(crate) blob: Descriptor,
    /// The digest of the plain tar.
    #[serde(rename = "diffID")]
    diff_id: Digest,
    /// The bytes of its files.
    pub(crate) bytes: u64,
    /// User, group and mode of the directory itself.
    top: (u32, u32, u32),
}

impl PortableMount {
    /// Unpacks it into an empty folder; it is what it is said to be, or an error.
    pub(crate) fn unpack(
        &self,
        folder: &Path,
        open: impl FnOnce() -> io::Result<Box<dyn Read + Send>>,
    ) -> Result<(), BuildError> {
        let failed = |source| BuildError::Io { operation: "fetch", path: folder.to_owned(), source };
        let reader = open().map_err(failed)?;
        let limits = Limits { bytes: self.bytes, ..Limits::default() };
        let options = Options { limits, ..Options::default() };
        let unpacked =
            layer::unpack(reader, folder, &options).map_err(|error| failed(io::Error::other(error)))?;
        if unpacked.diff_id != self.diff_id {
            return Err(failed(io::Error::other(format!("{} has other bytes", self.blob.digest))));
        }
        let (user, group, mode) = self.top;
        let set = chown(folder, Some(user), Some(group));
        set.and_then(|()| fs::set_permissions(folder, Permissions::from_mode(mode & 0o7777))).map_err(failed)
    }
}

/// Directories that were packed.
#[derive(Default)]
pub(crate) struct PackedMounts {
    pub(crate) mounts: Vec<PortableMount>,
    /// Those that were not, with the reason.
    pub(crate) left_out: Vec<String>,
}

/// Writes into a blob.
struct BlobWriter(Ingest);

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Builder {
    /// Packs the directories of these ids into blobs, while no step has them; `most` bytes at the most.
    pub(crate) fn pack_mounts<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        most: u64,
    ) -> Result<PackedMounts, BuildError> {
        let mut packed = PackedMounts::default();
        let mut left = most;
        for id in ids {
            if !self.cache_dirs.has(id) {
                continue;
            }
            let Some(dir) = self.cache_dirs.hold(id) else {
                packed.left_out.push(format!("cache mount {id}: a step has it mounted"));
                continue;
            };
            let bytes = dray_store::usage(&dir.path)?.bytes;
            if bytes > left {
                packed
                    .left_out
                    .push(format!("cache mount {id}: {bytes} bytes are more than the {left} that may be"));
                continue;
            }
            left -= bytes;
            packed.mounts.push(self.pack_mount(id, &dir.path)?);
        }
        Ok(packed)
    }

    fn pack_mount(&self, id: &str, folder: &Path) -> Result<PortableMount, BuildError> {
        let failed = |source| BuildError::Io { operation: "pack", path: folder.to_owned(), source };
        let blob = BlobWriter(self.images.store().blobs().spool()?);
        let mut encoder = zstd::Encoder::new(blob, LEVEL).map_err(failed)?;
        let tar = layer::tar(folder, &mut encoder).map_err(|error| failed(io::Error::other(error)))?;
        let blob = encoder.finish().map_err(failed)?;
        let (digest, size) = blob.0.commit_as_is_relaxed()?;
        let blob = Descriptor::new(MEDIA_TYPE, digest, size);
        let top = fs::metadata(folder).map_err(failed)?;
        let top = (top.uid(), top.gid(), top.mode() & 0o7777);
        Ok(PortableMount { id: id.to_owned(), blob, diff_id: tar.diff_id, bytes: tar.size, top })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_all_none_or_some() {
        let has = |text: &str| MountChoice::parse(text).has("/root/.cache");
        assert!(has("true") && has("go,/root/.cache") && has("/root/.cache;go"));
        assert!(!has("false") && !has("") && !has("go"));
        assert!(MountChoice::parse("false").is_none() && !MountChoice::all().is_none());
    }
}
