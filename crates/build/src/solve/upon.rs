//! A `COPY` of a large folder upon what the same instruction has copied before ([`crate::copy::Listing`]).

use std::path::{Path, PathBuf};

use dray_store::LayerId;

use super::copy::{Files, Settings, Sources};
use super::layers::{self, Draft};
use super::stage::Stage;
use crate::cache::{Key, Written};
use crate::copy::{Destination, Difference, Item, Listing, Placement, SourceTree, place};
use crate::error::{BuildError, CopyError};

/// So many layers of one image may lie upon others. Each of them is two folders of an overlay, of which the kernel takes 500;
/// an image has up to 490 layers, and a container two folders of its own.
const MOST_UPON: usize = 8;

/// A copy that may lie upon an earlier one, and later ones upon it.
pub(super) struct Comparable<'a> {
    key: Key,
    listing: Listing,
    item: &'a Item,
    source: &'a SourceTree<'a>,
}

impl Comparable<'_> {
    fn difference(
        &self,
        stage: &Stage<'_, '_, '_>,
    ) -> Result<Option<(dray_store::Layer, Difference)>, BuildError> {
        let earlier = stage.build.builder.earlier.find(&self.key)?;
        Ok(earlier.and_then(|earlier| {
            let difference = earlier.difference(&self.listing)?;
            Some((earlier.layer, difference))
        }))
    }

    /// Later copies may lie upon this one, which was made whole.
    pub(super) fn remember(&self, stage: &Stage<'_, '_, '_>, layer: LayerId) {
        if let Err(error) = stage.build.builder.earlier.remember(&self.key, layer, &self.listing) {
            tracing::warn!(%error, "later copies will not lie upon this one");
        }
    }
}

impl Stage<'_, '_, '_> {
    /// Whether a copy is of the kind that is compared: one folder of a context, as it is.
    pub(super) fn comparable<'a>(
        &self,
        files: &Files<'_>,
        settings: &Settings,
        sources: &'a Sources<'_>,
    ) -> Option<Comparable<'a>> {
        let [sourced] = sources.items.as_slice() else { return None };
        let source = sources.main.as_ref().filter(|source| source.context.is_some())?;
        // Of folders that are left out, those that have a file which is not are made along.
        let as_it_is = settings.exclude.is_empty() && sourced.item.parents.is_none();
        if sourced.in_scratch || sourced.unpack || !as_it_is {
            return None;
        }
        let epoch = self.build.epoch;
        let listing = Listing::of(&sourced.item, &sourced.contents, epoch.is_none())?;
        let below = if settings.alone { &[] } else { self.state.files.bytes() };
        let key = settings
            .key("copied", files)
            .field(below)
            .field(epoch.map_or(String::new(), |epoch| epoch.to_string()))
            .list(files.sources)
            .finish();
        Some(Comparable { key, listing, item: &sourced.item, source })
    }

    /// Writes only what differs from an earlier copy; none if there is none to lie upon.
    pub(super) fn write_upon(
        &self,
        settings: &Settings,
        copy: &Comparable<'_>,
        failed: impl Fn(CopyError) -> BuildError,
    ) -> Result<Option<Written>, BuildError> {
        let Some((base, difference)) = copy.difference(self)? else { return Ok(None) };
        let build = self.build;
        let store = build.builder.images.store();
        let upon = self.state.layers.iter().filter(|layer| store.layers().base(**layer).is_some()).count();
        if upon >= MOST_UPON {
            return Ok(None);
        }
        let lower = if settings.alone { Vec::new() } else { self.state.lower(build) };
        let folders: Vec<PathBuf> =
            store.layers().folders(base.id).into_iter().chain(lower.clone()).collect();
        let draft = Draft::new(store)?;
        let view = draft.view(&folders)?;
        let io = |operation, path: &Path| layers::failed(operation, path.to_owned());
        if !difference.removed.is_empty() {
            let dest = Path::new(&settings.dest);
            let target = view.resolve(dest).map_err(io("resolve", dest))?;
            let below = layers::view(&lower, store)?;
            for path in difference.removed.iter().map(|path| target.join(path)) {
                // What is below would have to be seen again.
                if below.find(&path).map_err(io("stat", &path))?.is_some() {
                    return Ok(None);
                }
                view.remove(&path).map_err(io("remove", &path))?;
            }
        }
        let chown = settings.chown.as_ref().map(|chown| chown.resolve(&view)).transpose().map_err(&failed)?;
        let placement = Placement {
            owner: Some(chown.unwrap_or_default()),
            mode: settings.chmod.as_ref(),
            only: Some(&difference.changed),
            cancel: &build.cancel,
        };
        let destination = Destination { tree: &view, path: &settings.dest };
        place(&destination, &placement, copy.source, copy.item).map_err(failed)?;
        drop(view);
        draft.commit_upon(build, &base, difference.replaced).map(Some)
    }
}
