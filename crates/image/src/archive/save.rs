//! Saving: images become one archive.
//!
//! First everything is planned and every layer's length is known; only then the first byte is written. A layer's
//! bytes are checked against its digest while they are written: they are read once. If they are others, because
//! somebody has changed the folder, the archive ends there with an error.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use dray_spec::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, Platform, Reference, media_type};
use dray_store::{LayerId, Store};

use super::{IMAGE_NAME, ManifestItem, REF_NAME, oci};
use crate::exact::Source;
use crate::export::promised_index;
use crate::layer::LayerError;
use crate::layer::write::{BUFFER, Meta, TarWriter};
use crate::whole::{Document, Whole};
use crate::{Error, Image, Images, Result, origin};

impl Images {
    /// Writes images as one archive. A repository without a tag means all its tags. With a platform it is of each image
    /// what is for that one, without the index that names others.
    ///
    /// # Errors
    /// If there is no image of a name, or none for the platform, or `out` fails.
    pub fn save(&self, names: &[String], platform: Option<&Platform>, out: impl Write) -> Result<()> {
        let _lease = self.lease();
        let mut plan = Plan::new(self.store());
        for chosen in self.choose(names, platform)? {
            plan.add(&chosen, platform.is_none())?;
        }
        plan.write(out)
    }

    /// Checks that there is something to save under each of these names.
    ///
    /// # Errors
    /// As [`Images::save`].
    pub fn check_save(&self, names: &[String], platform: Option<&Platform>) -> Result<()> {
        self.choose(names, platform).map(drop)
    }

    /// What a name means, for a platform if that is asked for.
    fn meant_for(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<(Image, Vec<Reference>)>> {
        let meant = self.meant(name)?;
        let Some(platform) = platform else { return Ok(meant) };
        let mut fitting = Vec::new();
        for (image, tags) in meant {
            fitting.extend(self.for_platform(image, platform)?.map(|image| (image, tags)));
        }
        match fitting.is_empty() {
            true => Err(Error::NoPlatform { subject: name.to_owned(), platform: platform.to_string() }),
            false => Ok(fitting),
        }
    }

    /// The images that are meant, each with the names to save it under, in the order they were asked for.
    fn choose(&self, names: &[String], platform: Option<&Platform>) -> Result<Vec<Chosen>> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in names {
            for (image, tags) in self.meant_for(name, platform)? {
                let entry = match chosen.iter_mut().position(|known| known.image.id == image.id) {
                    Some(index) => &mut chosen[index],
                    None => {
                        chosen.push(Chosen { image, names: Vec::new() });
                        let last = chosen.len() - 1;
                        &mut chosen[last]
                    }
                };
                for tag in tags {
                    if !entry.names.contains(&tag) {
                        entry.names.push(tag);
                    }
                }
            }
        }
        Ok(chosen)
    }

    fn meant(&self, name: &str) -> Result<Vec<(Image, Vec<Reference>)>> {
        if let Ok(reference) = Reference::parse(name) {
            if reference.tag().is_none() && reference.digest().is_none() {
                let of_repository = self.of_repository(&reference)?;
                if !of_repository.is_empty() {
                    return Ok(of_repository);
                }
            } else if let Some(id) = self.store().tags().get(&reference)?
                && let Some(image) = self.get(&id)?
            {
                let tag = reference.digest().is_none().then_some(reference);
                return Ok(vec![(image, tag.into_iter().collect())]);
            }
        }
        self.resolve(name).map(|image| vec![(image, Vec::new())])
    }

    fn of_repository(&self, repository: &Reference) -> Result<Vec<(Image, Vec<Reference>)>> {
        let mut images = Vec::new();
        for tag in self.store().tags().list()? {
            let same = tag.reference.digest().is_none() && tag.reference.name() == repository.name();
            if same && let Some(image) = self.get(&tag.image)? {
                images.push((image, vec![tag.reference]));
            }
        }
        Ok(images)
    }
}

/// An image to be saved.
struct Chosen {
    image: Image,
    names: Vec<Reference>,
}

/// Where a blob of the archive comes from.
enum Blob {
    Bytes(Vec<u8>),
    Stored(u64),
    Packed { id: LayerId, source: Source, bytes: u64 },
}

/// An archive as it will be.
pub(crate) struct Plan<'a> {
    store: &'a Store,
    blobs: BTreeMap<String, (Digest, Blob)>,
    items: Vec<ManifestItem>,
    ids: Vec<(Digest, Option<Digest>)>,
    manifests: Vec<Descriptor>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            blobs: BTreeMap::new(),
            items: Vec::new(),
            ids: Vec::new(),
            manifests: Vec::new(),
            repositories: BTreeMap::new(),
        }
    }

    fn add(&mut self, chosen: &Chosen, with_index: bool) -> Result<()> {
        let image = &chosen.image;
        let (manifest, layers) = match self.original(image)? {
            Some(original) => original,
            None => self.made(image)?,
        };
        let promised = self.promised(chosen, &manifest)?;
        self.put(&image.id, Blob::Bytes(image.config_bytes.clone()));
        let diff_ids = &image.config.rootfs.diff_ids;
        self.items.push(ManifestItem {
            config: oci::path(&image.id),
            repo_tags: (!chosen.names.is_empty())
                .then(|| chosen.names.iter().map(Reference::familiar).collect()),
            layers: Some(layers.iter().map(|layer| oci::path(&layer.digest)).collect()),
            parent: None,
            layer_sources: diff_ids.iter().map(ToString::to_string).zip(layers).collect(),
        });
        self.ids.push((image.id.clone(), image.parent.clone()));
        let named = match promised {
            Some(index) => index,
            None if with_index => self.index(image)?.unwrap_or(manifest),
            None => manifest,
        };
        self.name(chosen, &named);
        Ok(())
    }

    /// What is to be said of the image when it leaves, about the manifest that it has in this archive. That costs
    /// nothing: layers are in it as they are.
    fn promised(&mut self, chosen: &Chosen, manifest: &Descriptor) -> Result<Option<Descriptor>> {
        let store = self.store;
        let put = |kind: &str, bytes: Vec<u8>| {
            let document = Descriptor::of(kind, &bytes);
            self.put(&document.digest, Blob::Bytes(bytes));
            Ok(document)
        };
        promised_index(store, &chosen.image, manifest, &chosen.names, put)
    }

    /// The index an image was pulled by, if all that it names is here: then it is saved as it came.
    fn index(&mut self, image: &Image) -> Result<Option<Descriptor>> {
        for index in origin::indexes_of(self.store, &image.id) {
            let Some(whole) = Whole::read(self.store, &index, media_type::OCI_INDEX)? else { continue };
            let Some(root) = whole.root.filter(|_| whole.lacking.is_empty()) else { continue };
            let named = Descriptor::new(&root.media_type, root.digest.clone(), root.bytes.len() as u64);
            self.put_all(whole.documents.into_iter().chain([root]), whole.blobs);
            return Ok(Some(named));
        }
        Ok(None)
    }

    fn put_all(&mut self, documents: impl Iterator<Item = Document>, blobs: Vec<Descriptor>) {
        for document in documents {
            self.put(&document.digest, Blob::Bytes(document.bytes.into()));
        }
        for blob in blobs {
            self.put(&blob.digest, Blob::Stored(blob.size));
        }
    }

    /// Adds a document with all that it names, under these names.
    pub(crate) fn add_whole(&mut self, whole: Whole, root: &Descriptor, names: &[Reference]) {
        self.put_all(whole.documents.into_iter().chain(whole.root), whole.blobs);
        if names.is_empty() {
            self.manifests.push(root.clone());
        }
        for name in names {
            self.manifests.push(named(root, name));
        }
    }

    /// Adds Docker's description of an image by its manifest.
    pub(crate) fn describe(&mut self, manifest: &Manifest, names: &[Reference]) {
        self.items.push(ManifestItem {
            config: oci::path(&manifest.config.digest),
            repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
            layers: Some(manifest.layers.iter().map(|layer| oci::path(&layer.digest)).collect()),
            parent: None,
            layer_sources: BTreeMap::new(),
        });
    }

    /// The manifest an image came by, if everything it names can be given.
    fn original(&mut self, image: &Image) -> Result<Option<(Descriptor, Vec<Descriptor>)>> {
        let Some(digest) = &image.manifest else { return Ok(None) };
        if !self.store.blobs().has(digest) {
            return Ok(None);
        }
        let bytes = self.store.blobs().read(digest)?;
        let Ok(ManifestOrIndex::Manifest(manifest)) = ManifestOrIndex::parse(None, &bytes) else {
            return Ok(None);
        };
        let diff_ids = &image.config.rootfs.diff_ids;
        if manifest.config.digest != image.id || manifest.layers.len() != diff_ids.len() {
            return Ok(None);
        }
        let mut blobs = Vec::new();
        for ((layer, diff_id), id) in manifest.layers.iter().zip(diff_ids).zip(&image.layers) {
            match self.blob(layer, diff_id, *id)? {
                Some(blob) => blobs.push((layer.digest.clone(), blob)),
                None => return Ok(None),
            }
        }
        for (digest, blob) in blobs {
            self.put(&digest, blob);
        }
        let kind = manifest.media_type.clone().unwrap_or_else(|| media_type::OCI_MANIFEST.into());
        let descriptor = Descriptor::new(kind, digest.clone(), bytes.len() as u64);
        self.put(digest, Blob::Bytes(bytes));
        Ok(Some((descriptor, manifest.layers)))
    }

    /// A blob that the image's own manifest names: kept, or the layer's plain tar.
    fn blob(&self, layer: &Descriptor, diff_id: &Digest, id: LayerId) -> Result<Option<Blob>> {
        if let Some(bytes) = self.store.blobs().size(&layer.digest) {
            return Ok(Some(Blob::Stored(bytes)));
        }
        if layer.digest != *diff_id {
            return Ok(None);
        }
        Ok(Source::find(self.store, id, diff_id)?.map(|(source, bytes)| Blob::Packed { id, source, bytes }))
    }

    /// A manifest for an image that has none, or none that can be kept to.
    fn made(&mut self, image: &Image) -> Result<(Descriptor, Vec<Descriptor>)> {
        let mut layers = Vec::new();
        for (diff_id, id) in image.config.rootfs.diff_ids.iter().zip(&image.layers) {
            layers.push(self.layer(diff_id, *id)?);
        }
        let config = Descriptor::of(media_type::OCI_CONFIG, &image.config_bytes);
        let manifest = Manifest::oci(config, layers.clone());
        let bytes = to_json(&manifest)?;
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        self.put(&descriptor.digest.clone(), Blob::Bytes(bytes));
        Ok((descriptor, layers))
    }

    /// A layer as a plain tar, or as the blob it came in if only that has its bytes.
    fn layer(&mut self, diff_id: &Digest, id: LayerId) -> Result<Descriptor> {
        if let Some((_, Blob::Packed { bytes, .. })) = self.blobs.get(&oci::path(diff_id)) {
            return Ok(Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), *bytes));
        }
        if let Some((source, bytes)) = Source::find(self.store, id, diff_id)? {
            self.put(diff_id, Blob::Packed { id, source, bytes });
            return Ok(Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), bytes));
        }
        let blob = origin::blob_of(self.store, diff_id).ok_or_else(|| Error::LayerLost(diff_id.clone()))?;
        self.put(&blob.digest, Blob::Stored(blob.size));
        Ok(blob)
    }

    fn put(&mut self, digest: &Digest, blob: Blob) {
        self.blobs.entry(oci::path(digest)).or_insert_with(|| (digest.clone(), blob));
    }

    fn name(&mut self, chosen: &Chosen, manifest: &Descriptor) {
        if chosen.names.is_empty() {
            self.manifests.push(manifest.clone());
        }
        let top = chosen.image.config.rootfs.diff_ids.last();
        for name in &chosen.names {
            self.manifests.push(named(manifest, name));
            if let Some(top) = top {
                let tags = self.repositories.entry(name.familiar_name()).or_default();
                tags.insert(name.tag().unwrap_or_default().into(), top.hex().into());
            }
        }
    }

    /// An image's parent is mentioned if it is in the archive too.
    fn link_parents(&mut self) {
        for (item, (_, parent)) in self.items.iter_mut().zip(&self.ids) {
            let parent = parent.as_ref().filter(|parent| self.ids.iter().any(|(id, _)| id == *parent));
            item.parent = parent.map(ToString::to_string);
        }
    }

    pub(crate) fn write(mut self, out: impl Write) -> Result<()> {
        self.link_parents();
        let mut archive = Archive { tar: TarWriter::unhashed(out), buffer: vec![0; BUFFER] };
        let mut folder = String::new();
        archive.folder("blobs/")?;
        for (path, (digest, blob)) in &self.blobs {
            let within = format!("blobs/{}/", digest.algorithm());
            if folder != within {
                archive.folder(&within)?;
                folder = within;
            }
            match blob {
                Blob::Bytes(bytes) => archive.file(path, bytes)?,
                Blob::Stored(size) => archive.stream(path, self.store.blobs().open(digest)?, *size)?,
                Blob::Packed { id, source, bytes } => {
                    archive.layer(path, *bytes, |out| source.write(self.store, *id, out), digest)?;
                }
            }
        }
        let with_newline = |mut bytes: Vec<u8>| {
            bytes.push(b'\n');
            bytes
        };
        archive.file("index.json", &to_json(&Index::oci(self.manifests))?)?;
        if !self.items.is_empty() {
            archive.file("manifest.json", &with_newline(to_json(&self.items)?))?;
        }
        archive.file("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)?;
        if !self.repositories.is_empty() {
            archive.file("repositories", &with_newline(to_json(&self.repositories)?))?;
        }
        archive.tar.end().map_err(written)?;
        Ok(())
    }
}

/// The entry of a document under a name.
fn named(document: &Descriptor, name: &Reference) -> Descriptor {
    let mut named = document.clone();
    named.annotations.insert(IMAGE_NAME.into(), name.to_string());
    named.annotations.insert(REF_NAME.into(), name.tag().unwrap_or_default().into());
    named
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Archive(error.to_string()))
}

/// The client's stream broke.
fn written(error: LayerError) -> Error {
    match error {
        LayerError::Write(source) => Error::Stream { operation: "write archive", source },
        other => Error::Layer { layer: "archive".into(), source: other },
    }
}

/// The outer tar; everything in it is from the beginning of time, so that it is the same each time.
struct Archive<W> {
    tar: TarWriter<W>,
    buffer: Vec<u8>,
}

impl<W: Write> Archive<W> {
    fn header(&mut self, kind: u8, name: &str, size: u64) -> Result<()> {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        let meta = Meta { kind, mode, uid: 0, gid: 0, size, mtime: 0, device: (0, 0) };
        self.tar.header(&meta, name.as_bytes(), b"", &[]).map_err(written)
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        self.header(b'5', name, 0)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.header(b'0', name, bytes.len() as u64)?;
        self.tar.write(bytes).map_err(written)?;
        self.tar.pad(bytes.len() as u64).map_err(written)
    }

    fn stream(&mut self, name: &str, mut reader: impl Read, size: u64) -> Result<()> {
        self.header(b'0', name, size)?;
        let mut left = size;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = reader.read(&mut self.buffer[..most]).map_err(Error::stream("read blob"))?;
            if count == 0 {
                return Err(Error::stream("read blob")(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.tar.write(&self.buffer[..count]).map_err(written)?;
            left -= count as u64;
        }
        self.tar.pad(size).map_err(written)
    }

    fn layer(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(Inside<'_, W>) -> Result<Digest, LayerError>,
        expected: &Digest,
    ) -> Result<()> {
        self.header(b'0', name, size)?;
        let actual = write(Inside(&mut self.tar)).map_err(written)?;
        if actual != *expected {
            return Err(Error::LayerLost(expected.clone()));
        }
        self.tar.pad(size).map_err(written)
    }
}

/// A layer's tar within the archive.
struct Inside<'a, W>(&'a mut TarWriter<W>);

impl<W: Write> Write for Inside<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(LayerError::Write(error)) => Err(error),
            Err(other) => Err(std::io::Error::other(other)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
