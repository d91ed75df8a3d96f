//! The exact tar of a layer: the bytes its diff ID is the digest of.
//!
//! A layer made here is packed from its folder and gives these bytes each time. A layer that came from
//! elsewhere has its split beside it (what the folder lacks), or the blob it came in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use dray_spec::Digest;
use dray_store::{Ingest, LayerDraft, LayerId, Store};

use crate::layer::{self, DiffId, LayerError, Options, join, unpack_with_split};
use crate::{Error, Result, origin};

/// How a layer's tar can be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the folder and this blob.
    Split(Digest),
    /// From the folder alone.
    Folder,
}

impl Source {
    /// How the tar of this layer can be made, and how long it is; none if only a blob can give it. What has been
    /// made before is believed to be the same again: who writes it checks the digest.
    ///
    /// # Errors
    /// If the folder cannot be read, or the store fails.
    pub(crate) fn find(store: &Store, id: LayerId, diff_id: &Digest) -> Result<Option<(Self, u64)>> {
        let known = origin::tar_length(store, diff_id)?;
        let split = origin::split_of(store, diff_id)?;
        match (known, split) {
            (Some(bytes), Some(split)) => Ok(Some((Self::Split(split), bytes))),
            (Some(bytes), None) => Ok(Some((Self::Folder, bytes))),
            (None, _) => Self::try_out(store, id, diff_id),
        }
    }

    /// As [`Source::find`], but makes the tar to see that it can be made.
    pub(crate) fn try_out(store: &Store, id: LayerId, diff_id: &Digest) -> Result<Option<(Self, u64)>> {
        let view = store.layers().view(id)?;
        let folder = view.path();
        let failed = || Error::layer(diff_id);
        let (source, actual, bytes) = match origin::split_of(store, diff_id)? {
            Some(split) => {
                let made = join(store.blobs().open(&split)?, folder, std::io::sink()).map_err(failed())?;
                (Self::Split(split), made.0, made.1)
            }
            None => {
                let packed = DiffId::of(folder).map_err(failed())?;
                (Self::Folder, packed.diff_id, packed.bytes)
            }
        };
        if actual != *diff_id {
            return Ok(None);
        }
        origin::remember_tar_length(store, diff_id, bytes);
        Ok(Some((source, bytes)))
    }

    /// Writes the tar; gives its digest.
    pub(crate) fn write(&self, store: &Store, id: LayerId, out: impl Write) -> Result<Digest, LayerError> {
        let failed = |error| LayerError::Folder { operation: "open", source: io::Error::other(error) };
        let view = store.layers().view(id).map_err(failed)?;
        match self {
            Self::Split(split) => join(open(store, split)?, view.path(), out).map(|(digest, _)| digest),
            Self::Folder => layer::tar(view.path(), out).map(|packed| packed.diff_id),
        }
    }
}

fn open(store: &Store, blob: &Digest) -> Result<File, LayerError> {
    File::open(store.blobs().path(blob)).map_err(LayerError::Stream)
}

/// Writes the tar of a layer by the way that fits, and gives its digest: another than the diff ID if only a
/// blob has the right bytes.
pub(crate) fn write(
    store: &Store,
    id: LayerId,
    diff_id: &Digest,
    out: impl Write,
) -> Result<Digest, LayerError> {
    let split = origin::split_of(store, diff_id).unwrap_or_else(|error| {
        tracing::warn!(%error, layer = %diff_id, "split");
        None
    });
    split.map_or(Source::Folder, Source::Split).write(store, id, out)
}

/// Makes a layer's plain tar a blob, for whoever wants the bytes of its diff ID; false if they cannot be made. A lease
/// keeps it.
///
/// # Errors
/// If the layer cannot be read, or the store fails.
pub(crate) fn keep_tar(store: &Store, id: LayerId, diff_id: &Digest) -> Result<bool> {
    if store.blobs().has(diff_id) {
        return Ok(true);
    }
    let Some((source, bytes)) = Source::find(store, id, diff_id)? else { return Ok(false) };
    let mut ingest = store.blobs().spool()?;
    source.write(store, id, &mut ingest).map_err(Error::layer(diff_id))?;
    match ingest.commit_relaxed(diff_id, Some(bytes)) {
        // Somebody has changed the folder.
        Err(dray_store::Error::DigestMismatch { .. } | dray_store::Error::SizeMismatch { .. }) => Ok(false),
        committed => Ok(committed.map(|()| true)?),
    }
}

/// A layer that has been unpacked from elsewhere.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) id: LayerId,
    pub(crate) diff_id: Digest,
    /// False if the tar cannot be made again: then what it came in must be kept.
    pub(crate) reproducible: bool,
}

/// A tar from elsewhere, unpacked but not kept yet.
#[derive(Debug)]
pub(crate) struct Drafted {
    draft: LayerDraft,
    unpacked: layer::Unpacked,
    /// What its folder lacks; none if the tar cannot be made again.
    split: Option<Ingest>,
}

/// Unpacks a tar from elsewhere into a draft. Without `split` the caller keeps what it came in.
pub(crate) fn draft(
    store: &Store,
    reader: impl Read + Send,
    below: Vec<PathBuf>,
    name: &str,
    split: bool,
) -> Result<Drafted> {
    let draft = store.layers().begin()?;
    let options = Options { below, ..Options::default() };
    let mut file = if split { Some(store.blobs().spool()?) } else { None };
    let unpacking = match &mut file {
        Some(file) => unpack_with_split(reader, draft.path(), &options, file),
        None => layer::unpack(reader, draft.path(), &options).map(|unpacked| (unpacked, false)),
    };
    let (unpacked, reproducible) = unpacking.map_err(Error::layer(name))?;
    Ok(Drafted { draft, unpacked, split: file.filter(|_| reproducible) })
}

impl Drafted {
    /// The digest of the plain tar.
    pub(crate) fn diff_id(&self) -> &Digest {
        &self.unpacked.diff_id
    }

    /// True if the same tar can be made of it again.
    pub(crate) fn is_reproducible(&self) -> bool {
        self.split.is_some()
    }

    /// Makes it a layer.
    pub(crate) fn commit(self, store: &Store) -> Result<Foreign> {
        let Self { draft, unpacked, split } = self;
        let layer::Unpacked { diff_id, size, tar_bytes, .. } = unpacked;
        let id = draft.commit(&diff_id, size)?;
        let reproducible = split.is_some();
        if let Some(split) = split {
            keep(store, split, &diff_id)?;
            origin::remember_tar_length(store, &diff_id, tar_bytes);
        }
        Ok(Foreign { id, diff_id, reproducible })
    }
}

/// Unpacks a tar from elsewhere into a new layer, which is kept only if `accept` takes its diff ID. Without
/// `split` the caller keeps what it came in.
pub(crate) fn unpack(
    store: &Store,
    reader: impl Read + Send,
    below: Vec<PathBuf>,
    name: &str,
    split: bool,
    accept: impl FnOnce(&Digest) -> Result<()>,
) -> Result<Foreign> {
    let drafted = draft(store, reader, below, name, split)?;
    accept(drafted.diff_id())?;
    drafted.commit(store)
}

fn keep(store: &Store, split: Ingest, diff_id: &Digest) -> Result<()> {
    let (digest, size) = split.commit_as_is_relaxed()?;
    Ok(origin::remember_split(store, diff_id, &digest, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::tests::Fixture;
    use crate::layer::tests::tars::Tar;

    #[test]
    fn a_foreign_layer_gives_its_bytes_again() {
        let fixture = Fixture::new();
        let store = fixture.images.store();
        // Not in the order we would pack it.
        let tar = Tar::new().file("b", b"2").file("a", b"1").end();
        let layer = unpack(store, &tar[..], Vec::new(), "layer", true, |_| Ok(())).unwrap();
        assert!(layer.reproducible);
        let mut again = Vec::new();
        assert_eq!(write(store, layer.id, &layer.diff_id, &mut again).unwrap(), layer.diff_id);
        assert_eq!(again, tar);
        let (source, length) = Source::find(store, layer.id, &layer.diff_id).unwrap().unwrap();
        assert!(matches!(source, Source::Split(_)));
        assert_eq!(length, tar.len() as u64);
    }

    #[test]
    fn a_layer_made_here_needs_nothing() {
        let fixture = Fixture::new();
        let store = fixture.images.store();
        let draft = store.layers().begin().unwrap();
        std::fs::write(draft.path().join("f"), "x").unwrap();
        let packed = DiffId::of(draft.path()).unwrap();
        let id = draft.commit(&packed.diff_id, packed.size).unwrap();
        let found = Source::find(store, id, &packed.diff_id).unwrap();
        assert_eq!(found, Some((Source::Folder, packed.bytes)));
        std::fs::write(store.layers().folders(id)[0].join("f"), "y").unwrap();
        assert_eq!(Source::try_out(store, id, &packed.diff_id).unwrap(), None);
    }

    #[test]
    fn what_is_not_accepted_leaves_nothing() {
        let fixture = Fixture::new();
        let store = fixture.images.store();
        let tar = Tar::new().file("b", b"2").end();
        let refuse = |_: &Digest| Err(Error::Archive("no".into()));
        assert!(unpack(store, &tar[..], Vec::new(), "layer", true, refuse).is_err());
        assert!(store.layers().list().unwrap().is_empty());
        assert!(store.blobs().list().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(fixture.dir.path().join("layers")).unwrap().count(), 0);
    }
}
