//! New layers: drafts, the merged view of what is below them, and what is left of a step.

use std::path::PathBuf;

use dray_store::{Layer, LayerDraft, Store};

use super::Build;
use crate::cache::Written;
use crate::error::BuildError;
use crate::tree::Tree;

/// A layer being written, and the directory that overlayfs wants beside it.
pub(super) struct Draft {
    upper: LayerDraft,
    work: LayerDraft,
}

impl Draft {
    pub(super) fn new(store: &Store) -> Result<Draft, BuildError> {
        Ok(Draft { upper: store.layers().begin()?, work: store.layers().begin()? })
    }

    pub(super) fn upper(&self) -> PathBuf {
        self.upper.path().to_owned()
    }

    pub(super) fn work(&self) -> PathBuf {
        self.work.path().to_owned()
    }

    /// The draft on top of `lower` (top first), to be written through.
    pub(super) fn view(&self, lower: &[PathBuf]) -> Result<Tree, BuildError> {
        if lower.is_empty() {
            return Tree::open(self.upper.path()).map_err(failed("open", self.upper.path()));
        }
        dray_sys::mount::overlay_detached(lower, self.upper.path(), self.work.path())
            .map(Tree::from_fd)
            .map_err(failed("mount", self.upper.path()))
    }

    /// Makes it a layer, unless nothing was written. The step began at `began`, in seconds since 1970; without it, the
    /// times of its files mean nothing.
    pub(super) fn commit(self, build: &Build<'_>, began: Option<i64>) -> Result<Option<Written>, BuildError> {
        if self.is_empty()? {
            return Ok(None);
        }
        let path = self.upper.path();
        let times = build.stamp(path, began)?;
        let size = dray_store::usage(path)?.bytes;
        Ok(Some(Written { layer: self.upper.commit_unnamed(size)?, times }))
    }

    /// Makes it a layer upon `base`, of whose files it replaces or removes `replaced` bytes.
    pub(super) fn commit_upon(
        self,
        build: &Build<'_>,
        base: &Layer,
        replaced: u64,
    ) -> Result<Written, BuildError> {
        let path = self.upper.path();
        let times = build.stamp(path, None)?;
        if self.is_empty()? {
            return Ok(Written { layer: base.id, times });
        }
        let own = dray_store::usage(path)?.bytes;
        let size = base.size.saturating_sub(replaced) + own;
        Ok(Written { layer: self.upper.commit_upon(base.id, size, own)?, times })
    }

    fn is_empty(&self) -> Result<bool, BuildError> {
        let path = self.upper.path();
        Ok(std::fs::read_dir(path).map_err(failed("list", path))?.next().is_none())
    }
}

/// The merged view of layers (top first), to be read.
pub(super) fn view(lower: &[PathBuf], scratch: &Store) -> Result<Tree, BuildError> {
    if lower.is_empty() {
        // Nothing can be found in an empty directory; it is gone as soon as it is open.
        let draft = scratch.layers().begin()?;
        return Tree::open(draft.path()).map_err(failed("open", draft.path()));
    }
    let overlay = dray_sys::mount::Overlay { lower, upper: None, options: &[] };
    let shown = lower.first().cloned().unwrap_or_default();
    dray_sys::mount::overlay(&overlay).map(Tree::from_fd).map_err(failed("mount", &shown))
}

pub(super) fn failed(
    operation: &'static str,
    path: impl AsRef<std::path::Path>,
) -> impl FnOnce(std::io::Error) -> BuildError {
    let path = path.as_ref().to_owned();
    move |source| BuildError::Io { operation, path, source }
}
