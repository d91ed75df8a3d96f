//! Loading: what an archive says becomes images.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dray_spec::{Descriptor, Digest, ImageConfig, media_type};
use dray_store::Store;

use super::bar::{Bar, Watched};
use super::file_part::{FilePart, Source};
use super::spool::{SMALL, Spool};
use super::{LoadOptions, Loaded, Plan, docker, index, oci};
use crate::exact::{self, Foreign};
use crate::images::MOST_LAYERS;
use crate::layer::{Compression, decompress};
use crate::progress::{Progress, ProgressEvent};
use crate::{Error, Images, NewImage, Result, origin};

/// Layers of one image unpacked at once.
const MOST_THREADS: usize = 4;

impl Images {
    /// Loads the images of an archive (Docker's or an OCI layout; plain, gzip or zstd).
    ///
    /// # Errors
    /// If it is no such archive, is damaged or hostile, or the disk fails. Nothing of it stays then.
    pub fn load(&self, reader: impl Read + Send, progress: &dyn Progress) -> Result<Vec<Loaded>> {
        self.load_with(reader, &LoadOptions::default(), progress)
    }

    /// Loads as [`Images::load`] does, with a choice.
    ///
    /// # Errors
    /// As [`Images::load`].
    pub fn load_with(
        &self,
        reader: impl Read + Send,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>> {
        self.leaving_nothing(|| {
            let plain = decompress(reader).map_err(Error::Tar)?;
            self.load_all(BufReader::with_capacity(SMALL as usize, plain), options, progress)
        })
    }

    /// Loads an archive that is a file here, as [`Images::load_with`] does: what need not be kept as it came is not
    /// copied, but read where it stands.
    ///
    /// # Errors
    /// As [`Images::load`].
    pub fn load_file(
        &self,
        archive: FilePart,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>> {
        let mut beginning = Vec::new();
        archive.clone().take(6).read_to_end(&mut beginning).map_err(Error::stream("read archive"))?;
        let loaded = match Compression::detect(&beginning).map_err(Error::Tar)? {
            Compression::None => self.leaving_nothing(|| {
                let whole = BufReader::with_capacity(SMALL as usize, archive.clone());
                self.load_all(whole, options, progress)
            })?,
            _ => self.load_with(archive.clone(), options, progress)?,
        };
        archive.pass_file().map_err(Error::stream("read archive"))?;
        Ok(loaded)
    }

    fn leaving_nothing<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let lease = self.lease();
        let result = work();
        drop(lease);
        if result.is_err() {
            self.store().collect()?;
        }
        result
    }

    fn load_all(
        &self,
        source: impl Source,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>> {
        let mut spool = Spool::read(self.store(), source, progress)?;
        let plans = match options.platform {
            None => match docker::plan(&spool)? {
                None => oci::plan(&spool, options)?,
                plans => plans,
            },
            // Docker's part names one platform of each image.
            Some(_) => match oci::plan(&spool, options)? {
                None => docker::plan(&spool)?,
                plans => plans,
            },
        };
        let plans = plans.ok_or_else(|| Error::Archive("does not contain a manifest.json".into()))?;
        let mut prepared = Vec::new();
        for plan in plans {
            let config: ImageConfig = serde_json::from_slice(&plan.config)
                .map_err(|source| Error::Config { id: Digest::sha256_of(&plan.config), source })?;
            let platform = config.platform();
            if options.platform.as_ref().is_some_and(|wanted| !wanted.accepts(&platform)) {
                continue;
            }
            if !matches!(config.os.as_str(), "" | "linux") {
                return Err(Error::System { os: config.os });
            }
            prepared.push(self.prepare(&mut spool, plan, &config, options, progress)?);
        }
        if let (true, Some(platform)) = (prepared.is_empty(), &options.platform) {
            return Err(Error::NoPlatform { subject: "the archive".into(), platform: platform.to_string() });
        }
        prepared.into_iter().map(|(new, indexes)| self.settle(new, &indexes)).collect()
    }

    /// Puts an image's layers and blobs into the store; gives the indexes it came by too.
    fn prepare(
        &self,
        spool: &mut Spool,
        mut plan: Plan,
        config: &ImageConfig,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<(NewImage, Vec<Digest>)> {
        let diff_ids = &config.rootfs.diff_ids;
        if plan.layers.len() != diff_ids.len() {
            let (expected, actual) = (diff_ids.len(), plan.layers.len());
            return Err(Error::LayerCount { id: Digest::sha256_of(&plan.config), expected, actual });
        }
        if diff_ids.len() > MOST_LAYERS {
            return Err(Error::TooManyLayers { count: diff_ids.len(), most: MOST_LAYERS });
        }
        match check_media_types(self.store(), spool, &plan) {
            // Docker's part says all that is needed; what does not fit to it is not kept.
            Err(Error::Archive(_)) if !plan.by_manifest => plan.manifest = None,
            checked => checked?,
        }
        let kept = kept_blobs(&plan);
        let job = Job { store: self.store(), spool, plan: &plan, diff_ids, kept: &kept, progress };
        let layers = job.run()?;
        for foreign in layers.values().filter(|layer| !layer.reproducible) {
            let Some(index) = diff_ids.iter().position(|diff_id| *diff_id == foreign.diff_id) else {
                continue;
            };
            keep_blob(self.store(), spool, &plan.layers[index], &foreign.diff_id)?;
        }
        let (manifest, mut blobs) = self.keep_manifest(spool, &plan, &kept)?;
        let (indexes, of_indexes) = index::keep(self.store(), spool, &plan, options)?;
        blobs.extend(of_indexes);
        let new = NewImage {
            layers: diff_ids.iter().filter_map(|diff_id| layers.get(diff_id)).map(|layer| layer.id).collect(),
            parent: plan.parent,
            names: plan.names,
            config: plan.config,
            manifest,
            blobs,
        };
        Ok((new, indexes))
    }

    /// Keeps the manifest an image came with, and its compressed layers.
    fn keep_manifest(
        &self,
        spool: &mut Spool,
        plan: &Plan,
        kept: &[Option<Descriptor>],
    ) -> Result<(Option<Digest>, Vec<Digest>)> {
        let Some(manifest) = &plan.manifest else { return Ok((None, Vec::new())) };
        let digest = self.store().blobs().put_relaxed(&manifest.bytes)?;
        let mut blobs = vec![digest.clone()];
        for (layer, _) in plan.layers.iter().zip(kept).filter(|(_, kept)| kept.is_some()) {
            let (blob, _) = spool.keep(self.store(), layer)?;
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        Ok((Some(digest), blobs))
    }

    /// Records the image under its names.
    fn settle(&self, mut new: NewImage, indexes: &[Digest]) -> Result<Loaded> {
        let id = Digest::sha256_of(&new.config);
        let mut replaced = Vec::new();
        for name in &new.names {
            if let Some(before) = self.store().tags().get(name)?.filter(|before| *before != id) {
                replaced.push((name.clone(), before));
            }
        }
        new.parent = match new.parent {
            Some(parent) if self.store().images().get(&parent)?.is_some() => Some(parent),
            _ => None,
        };
        let names = new.names.clone();
        self.create(new)?;
        // The archive's first becomes the newest: it is the one to save and push the image by.
        for index in indexes.iter().rev() {
            origin::remember_index(self.store(), &id, index);
        }
        Ok(Loaded { id, names, replaced })
    }
}

/// A layer that the image's manifest describes is compressed as its media type says.
fn check_media_types(store: &Store, spool: &Spool, plan: &Plan) -> Result<()> {
    let described = plan.manifest.iter().flat_map(|manifest| &manifest.layers).zip(&plan.layers);
    for (layer, file) in described.filter(|(layer, file)| file.ends_with(layer.digest.hex())) {
        let says = match layer.media_type.as_str() {
            media_type::OCI_LAYER | media_type::DOCKER_LAYER => Compression::None,
            media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Compression::Gzip,
            media_type::OCI_LAYER_ZSTD => Compression::Zstd,
            // Others are told by their content alone.
            _ => continue,
        };
        if spool.present(file).is_some() {
            // Its plain tar is here, so that is what it is.
            match says {
                Compression::None => continue,
                _ => return Err(other_type(layer)),
            }
        }
        let mut beginning = Vec::new();
        let (reader, _) = spool.open(store, file)?;
        reader.take(6).read_to_end(&mut beginning).map_err(Error::stream("read archive"))?;
        if Compression::detect(&beginning).map_err(Error::layer(&layer.digest))? != says {
            return Err(other_type(layer));
        }
    }
    Ok(())
}

fn other_type(layer: &Descriptor) -> Error {
    let (digest, kind) = (&layer.digest, &layer.media_type);
    Error::Archive(format!("{digest} is not what its media type says: {kind}"))
}

/// Which layers the image's own manifest has in compressed form: those are kept as they are.
fn kept_blobs(plan: &Plan) -> Vec<Option<Descriptor>> {
    let plain = |kind: &str| matches!(kind, media_type::OCI_LAYER | media_type::DOCKER_LAYER);
    let of = |index: usize| {
        let layer = plan.manifest.as_ref()?.layers.get(index)?;
        let same = plan.layers[index].ends_with(layer.digest.hex());
        (same && !plain(&layer.media_type)).then(|| layer.clone())
    };
    (0..plan.layers.len()).map(of).collect()
}

/// Keeps what a layer came in, because its tar cannot be made again from its folder.
fn keep_blob(store: &Store, spool: &mut Spool, file: &str, diff_id: &Digest) -> Result<()> {
    let mut beginning = [0; 6];
    let (mut reader, _) = spool.open(store, file)?;
    let length = reader.read(&mut beginning).map_err(Error::stream("read archive"))?;
    let kind = match Compression::detect(&beginning[..length]).map_err(Error::layer(diff_id))? {
        Compression::None => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    };
    let (digest, size) = spool.keep(store, file)?;
    if kind == media_type::OCI_LAYER && digest != *diff_id {
        // The archive is a file that somebody has written to since.
        return Err(Error::Archive(format!("{file:?} has changed while it was read")));
    }
    origin::remember_blob(store, diff_id, &Descriptor::new(kind, digest, size));
    Ok(())
}

/// The layers of one image on their way into the store.
struct Job<'a> {
    store: &'a Store,
    spool: &'a Spool,
    plan: &'a Plan,
    diff_ids: &'a [Digest],
    kept: &'a [Option<Descriptor>],
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn run(&self) -> Result<HashMap<Digest, Foreign>> {
        let mut done: HashMap<Digest, Foreign> = HashMap::new();
        let mut todo: Vec<usize> = Vec::new();
        for (index, diff_id) in self.diff_ids.iter().enumerate() {
            if let Some(id) = self.store.layers().find(diff_id)? {
                done.insert(diff_id.clone(), Foreign { id, diff_id: diff_id.clone(), reproducible: true });
            } else if !self.diff_ids[..index].contains(diff_id) {
                todo.push(index);
            }
        }
        let mut after = Vec::new();
        for (index, result) in self.side_by_side(&todo) {
            match result {
                Ok(layer) => drop(done.insert(layer.diff_id.clone(), layer)),
                Err(Error::Layer { source, .. }) if source.needs_layers_below() && index > 0 => {
                    after.push(index)
                }
                Err(error) => return Err(error),
            }
        }
        for index in after {
            let below = self.diff_ids[..index].iter().rev().filter_map(|diff_id| done.get(diff_id));
            let below = self.store.layers().folders_of(below.map(|layer| &layer.id));
            let layer = self.layer(index, below)?;
            done.insert(layer.diff_id.clone(), layer);
        }
        Ok(done)
    }

    /// Unpacks the layers on several threads; results in order.
    fn side_by_side(&self, todo: &[usize]) -> Vec<(usize, Result<Foreign>)> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..todo.len().min(cores).min(MOST_THREADS) {
                scope.spawn(|| {
                    while let Some(index) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = self.layer(*index, Vec::new());
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((*index, result));
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        results
    }

    fn layer(&self, index: usize, below: Vec<std::path::PathBuf>) -> Result<Foreign> {
        let (file, expected) = (&self.plan.layers[index], &self.diff_ids[index]);
        if let Some(present) = self.spool.present(file) {
            // It is a layer here, but not the one that the configuration wants.
            self.accept(index, present)?;
        }
        let drafted = self.spool.drafted(file);
        // Without its split it is kept in the form it came in only if that is the manifest's.
        if let Some(drafted) = drafted.filter(|d| d.is_reproducible() || self.kept[index].is_some()) {
            self.accept(index, drafted.diff_id())?;
            let total = self.spool.length(file).unwrap_or(0);
            let bar = ProgressEvent::bar(expected.short(), "Loading layer", total, Some(total));
            self.progress.event(bar);
            return self.settled(index, drafted.commit(self.store)?);
        }
        let (reader, total) = self.spool.open(self.store, file)?;
        let reader = Watched::new(reader, Some(Bar::new(self.progress, expected.short(), total)));
        let accept = |actual: &Digest| self.accept(index, actual);
        let split = self.kept[index].is_none();
        self.settled(index, exact::unpack(self.store, reader, below, file, split, accept)?)
    }

    fn accept(&self, index: usize, actual: &Digest) -> Result<()> {
        let expected = &self.diff_ids[index];
        match actual == expected {
            true => Ok(()),
            false => Err(Error::DiffId { index, expected: expected.clone(), actual: actual.clone() }),
        }
    }

    fn settled(&self, index: usize, layer: Foreign) -> Result<Foreign> {
        // What is kept as it came is remembered by its own digest: a link in the archive can give a file the name of
        // another's, and the manifest then speaks of that.
        let reproducible = layer.reproducible && self.kept[index].is_none();
        Ok(Foreign { reproducible, ..layer })
    }
}
