//! The end of a build: digests of the layers, and the image.
//!
//! A layer's digest is that of its tar. It is needed only when the image is recorded, so it is made on threads of
//! its own while the next steps run, and only for layers that are part of the target.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Scope;

use dray_image::layer::DiffId;
use dray_image::{Claim, Image};
use dray_spec::{Digest, ImageConfig};
use dray_store::LayerId;

use super::{Build, State, lock};
use crate::cache::INLINE_CACHE;
use crate::error::BuildError;
use crate::event::BuildEvent;
use crate::request::Built;

/// Who has an image that was built and has no name yet.
const CLAIMANT: &str = "a build";

/// Digests of layers, made in the background.
#[derive(Default)]
pub(super) struct Digests {
    layers: Mutex<HashMap<LayerId, Progress>>,
    done: Condvar,
}

enum Progress {
    Running,
    /// The layer to use, which may be another one with the same content, and its digest.
    Known(LayerId, Digest),
    Failed,
}

impl Digests {
    /// Begins with layers that nobody has asked for yet.
    pub(super) fn start<'scope>(
        &'scope self,
        build: &'scope Build<'_>,
        layers: &[LayerId],
        scope: &'scope Scope<'scope, '_>,
    ) {
        for layer in layers.iter().copied() {
            if lock(&self.layers).contains_key(&layer) {
                continue;
            }
            let known = build.builder.images.store().layers().get(layer).ok().and_then(|l| l.diff_id);
            let progress = known.map_or(Progress::Running, |digest| Progress::Known(layer, digest));
            let running = matches!(progress, Progress::Running);
            lock(&self.layers).insert(layer, progress);
            if running {
                scope.spawn(move || self.make(build, layer));
            }
        }
    }

    fn make(&self, build: &Build<'_>, layer: LayerId) {
        let layers = build.builder.images.store().layers();
        let digest = || -> Result<(LayerId, Digest), BuildError> {
            build.check_cancelled()?;
            let packed = DiffId::of(layers.view(layer)?.path())?;
            let layer = layers.name(layer, &packed.diff_id)?;
            build.builder.images.remember_tar(&packed.diff_id, packed.bytes);
            Ok((layer, packed.diff_id))
        };
        let progress = match digest() {
            Ok((layer, digest)) => Progress::Known(layer, digest),
            Err(error) => {
                build.fail(error);
                Progress::Failed
            }
        };
        lock(&self.layers).insert(layer, progress);
        self.done.notify_all();
    }

    /// The layer that is used in the place of another of the same content, as far as that is known.
    fn same(&self, layer: LayerId) -> LayerId {
        match lock(&self.layers).get(&layer) {
            Some(Progress::Known(known, _)) => *known,
            _ => layer,
        }
    }

    fn get(&self, layer: LayerId) -> Result<(LayerId, Digest), BuildError> {
        let mut layers = lock(&self.layers);
        loop {
            match layers.get(&layer) {
                Some(Progress::Known(layer, digest)) => return Ok((*layer, digest.clone())),
                Some(Progress::Running) => {
                    layers = self.done.wait(layers).unwrap_or_else(PoisonError::into_inner);
                }
                Some(Progress::Failed) | None => return Err(BuildError::Cancelled),
            }
        }
    }
}

/// Records the image of a finished target.
pub(super) fn image(build: &Build<'_>, state: &State) -> Result<Built, BuildError> {
    build.check_cancelled()?;
    let (content, claim) = match &state.image {
        Some(image) => build.builder.images.claim(image.as_str(), CLAIMANT)?,
        None if state.config.history.is_empty() => {
            if let Some(last) = state.last_step {
                build.emit(BuildEvent::StepDone {
                    n: last.n,
                    id: Some(String::new()),
                    millis: 0,
                    cached: false,
                });
            }
            return Err(BuildError::Nothing);
        }
        None => record(build, state)?,
    };
    let image = content.id.clone();
    if let Some(last) = state.last_step {
        let millis = u64::try_from(last.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let id = Some(image.short().to_owned());
        build.emit(BuildEvent::StepDone { n: last.n, id, millis, cached: last.cached });
    }
    if !build.plan.unused_args.is_empty() {
        let unused = build.plan.unused_args.join(" ");
        let message = format!("One or more build-args [{unused}] were not consumed");
        build.emit(BuildEvent::Warning { message });
    }
    if !build.unrecorded {
        build.emit(BuildEvent::Built { id: image.to_string() });
    }
    let steps = build.used.steps();
    let mut capture = lock(&build.capture).clone();
    capture.result = state.done;
    for layer in capture.steps.iter_mut().filter_map(|step| step.layer.as_mut()) {
        *layer = build.digests.same(*layer);
    }
    capture.dockerfile = (build.dockerfile.name.clone(), build.dockerfile.text.to_string());
    let capture = Arc::new(capture);
    let scanned = Arc::default();
    Ok(Built { image, content, base: state.base.clone(), claim, capture, scanned, steps, _uses: None })
}

/// The cache that the image carries.
fn inline_cache(build: &Build<'_>, config: &ImageConfig) -> Result<serde_json::Value, BuildError> {
    let steps = build.used.steps();
    let mut places = HashMap::new();
    for layer in steps.steps.iter().filter(|step| step.in_target).filter_map(|step| step.entry.layer) {
        let (_, diff_id) = build.digests.get(layer)?;
        if let Some(place) = config.rootfs.diff_ids.iter().position(|known| *known == diff_id) {
            places.insert(layer, place);
        }
    }
    Ok(steps.inline(|entry| places.get(&entry.layer?).copied(), build.epoch))
}

fn record(build: &Build<'_>, state: &State) -> Result<(Image, Claim), BuildError> {
    let mut config = state.config.clone();
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in &state.layers {
        let (layer, diff_id) = build.digests.get(*layer)?;
        layers.push(layer);
        diff_ids.push(diff_id);
    }
    config.rootfs.diff_ids = diff_ids;
    // What the base says of its own making is not true of this image.
    config.extra.clear();
    config.comment.clear();
    if build.inline_cache {
        let inline = inline_cache(build, &config)?;
        config.extra.insert(INLINE_CACHE.to_owned(), inline);
    }
    let images = &build.builder.images;
    Ok(match build.unrecorded {
        true => images.assemble(&config, layers, CLAIMANT)?,
        false => images.create_claimed(&config, layers, CLAIMANT)?,
    })
}
