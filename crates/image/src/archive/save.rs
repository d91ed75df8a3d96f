//! Saving: images become one archive.
//!
//! First everything is planned and every layer's length is known; only then the first byte is written. A layer's
//! bytes are checked against its digest while they are written: they are read once. If they are others, because
//! somebody has changed the folder, the archive ends there with an error.

use std::collections::BTreeMap;
use std::io::Write;

use dray_spec::{Descriptor, Digest, Index, Manifest, ManifestOrIndex, Platform, Reference, media_type};
use dray_store::{LayerId, Store};

use super::write::{self, Content, Member, Target};
use super::{IMAGE_NAME, ManifestItem, REF_NAME, oci};
use crate::exact::Source;
use crate::export::promised_index;
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
        self.plan(names, platform)?.write(out)
    }

    /// Writes images as [`Images::save`] does, into a file here: several of its parts at once.
    ///
    /// # Errors
    /// As [`Images::save`].
    pub fn save_file(&self, names: &[String], platform: Option<&Platform>, target: &Target) -> Result<()> {
        let _lease = self.lease();
        self.plan(names, platform)?.write_file(target)
    }

    fn plan(&self, names: &[String], platform: Option<&Platform>) -> Result<Plan<'_>> {
        let mut plan = Plan::new(self.store());
        for chosen in self.choose(names, platform)? {
            plan.add(&chosen, platform.is_none())?;
        }
        Ok(plan)
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

/// An archive as it will be.
pub(crate) struct Plan<'a> {
    store: &'a Store,
    blobs: BTreeMap<String, Content>,
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
        self.put(&image.id, Content::Bytes(image.config_bytes.clone()));
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
            None if with_index => self.index(image, &manifest.digest)?.unwrap_or(manifest),
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
            self.put(&document.digest, Content::Bytes(bytes));
            Ok(document)
        };
        promised_index(store, &chosen.image, manifest, &chosen.names, put)
    }

    /// The index an image came by, if all that it names is here: then it is saved as it came. The image's own manifest
    /// is in the archive already, whatever its layers are made of.
    fn index(&mut self, image: &Image, own: &Digest) -> Result<Option<Descriptor>> {
        for index in origin::indexes_of(self.store, &image.id) {
            let whole = Whole::read_around(self.store, &index, media_type::OCI_INDEX, Some(own))?;
            let Some(whole) = whole else { continue };
            let Some(root) = whole.root.filter(|_| whole.lacking.is_empty()) else { continue };
            let named = Descriptor::new(&root.media_type, root.digest.clone(), root.bytes.len() as u64);
            self.put_all(whole.documents.into_iter().chain([root]), whole.blobs);
            return Ok(Some(named));
        }
        Ok(None)
    }

    fn put_all(&mut self, documents: impl Iterator<Item = Document>, blobs: Vec<Descriptor>) {
        for document in documents {
            self.put(&document.digest, Content::Bytes(document.bytes.into()));
        }
        for blob in blobs {
            self.put(&blob.digest, Content::Stored(blob.digest.clone(), blob.size));
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
        self.put(digest, Content::Bytes(bytes));
        Ok(Some((descriptor, manifest.layers)))
    }

    /// A blob that the image's own manifest names: kept, or the layer's plain tar.
    fn blob(&self, layer: &Descriptor, diff_id: &Digest, id: LayerId) -> Result<Option<Content>> {
        if let Some(bytes) = self.store.blobs().size(&layer.digest) {
            return Ok(Some(Content::Stored(layer.digest.clone(), bytes)));
        }
        if layer.digest != *diff_id {
            return Ok(None);
        }
        let found = Source::find(self.store, id, diff_id)?;
        Ok(found.map(|(source, bytes)| Content::packed(diff_id, id, source, bytes)))
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
        self.put(&descriptor.digest.clone(), Content::Bytes(bytes));
        Ok((descriptor, layers))
    }

    /// A layer as a plain tar, or as the blob it came in if only that has its bytes.
    fn layer(&mut self, diff_id: &Digest, id: LayerId) -> Result<Descriptor> {
        if let Some(Content::Packed { bytes, .. }) = self.blobs.get(&oci::path(diff_id)) {
            return Ok(Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), *bytes));
        }
        if let Some((source, bytes)) = Source::find(self.store, id, diff_id)? {
            self.put(diff_id, Content::packed(diff_id, id, source, bytes));
            return Ok(Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), bytes));
        }
        let blob = origin::blob_of(self.store, diff_id).ok_or_else(|| Error::LayerLost(diff_id.clone()))?;
        self.put(&blob.digest, Content::Stored(blob.digest.clone(), blob.size));
        Ok(blob)
    }

    fn put(&mut self, digest: &Digest, blob: Content) {
        self.blobs.entry(oci::path(digest)).or_insert(blob);
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

    pub(crate) fn write(self, out: impl Write) -> Result<()> {
        let store = self.store;
        write::stream(store, &self.members()?, out)
    }

    fn write_file(self, target: &Target) -> Result<()> {
        let store = self.store;
        write::file(store, &self.members()?, target)
    }

    /// All that is in the archive, in order.
    fn members(mut self) -> Result<Vec<Member>> {
        self.link_parents();
        let folder = |name: &str| Member { name: name.to_owned(), content: Content::Folder };
        let document = |name: &str, bytes| Member { name: name.to_owned(), content: Content::Bytes(bytes) };
        let with_newline = |mut bytes: Vec<u8>| {
            bytes.push(b'\n');
            bytes
        };
        let mut members = vec![folder("blobs/")];
        let mut within = String::new();
        for (name, content) in self.blobs {
            let of_algorithm = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            if within != of_algorithm {
                within = of_algorithm.to_owned();
                members.push(folder(&format!("{within}/")));
            }
            members.push(Member { name, content });
        }
        members.push(document("index.json", to_json(&Index::oci(self.manifests))?));
        if !self.items.is_empty() {
            members.push(document("manifest.json", with_newline(to_json(&self.items)?)));
        }
        members.push(document("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec()));
        if !self.repositories.is_empty() {
            members.push(document("repositories", with_newline(to_json(&self.repositories)?)));
        }
        Ok(members)
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
