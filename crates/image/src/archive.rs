//! Archives of images: `docker save` and `docker load`.
//!
//! ```text
//! blobs/sha256/<hex>   configurations, manifests, layers; each once
//! index.json           OCI image layout: the manifests, with the images' names as annotations
//! oci-layout
//! manifest.json        Docker: for each image its configuration, its layers, its names
//! repositories         Docker before 1.10: names
//! ```
//!
//! What is written is both an OCI layout and a Docker archive, as Docker has written it since 25; images share
//! layers, and the same images give the same bytes. What was pulled goes out as it came in, with its own
//! manifest and compressed layers, so that its digests stay; a layer made here goes out as a plain tar.
//!
//! What is read is either, also what older Dockers, Podman, Skopeo and BuildKit write, compressed or not, from
//! a stream that cannot seek or from a file. An index is kept with all that it names and the archive has: statements
//! about the image, other platforms. Names of images are taken only when everything is in place; an archive that
//! fails leaves nothing.

mod aside;
mod bar;
mod docker;
mod drafts;
mod file_part;
mod index;
mod load;
mod oci;
mod save;
mod spool;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

pub use file_part::{FilePart, GivenUp};
pub(crate) use save::Plan as SavePlan;
pub use write::Target as SaveTarget;

use dray_spec::{Descriptor, Digest, Platform, Reference};
use serde::{Deserialize, Serialize};

/// An archive may have this many entries: far more than images have.
const MOST_ENTRIES: usize = 100_000;

/// The annotation with an image's whole name.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation with a tag, or with whatever the writer calls the image.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// How an archive is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Load only images for this platform.
    pub platform: Option<Platform>,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: Digest,
    /// The names it was given.
    pub names: Vec<Reference>,
    /// Names that other images had until now, and their IDs.
    pub replaced: Vec<(Reference, Digest)>,
}

/// One image in Docker's `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    layer_sources: BTreeMap<String, Descriptor>,
}

/// What an archive says of one image: where its parts are.
#[derive(Debug, Clone)]
struct Plan {
    config: Vec<u8>,
    /// Names of files in the archive, bottom first.
    layers: Vec<String>,
    names: Vec<Reference>,
    parent: Option<Digest>,
    manifest: Option<PlannedManifest>,
    /// The manifest is what names the image, rather than Docker's `manifest.json`.
    by_manifest: bool,
}

/// The manifest an image came with.
#[derive(Debug, Clone)]
struct PlannedManifest {
    bytes: Vec<u8>,
    layers: Vec<Descriptor>,
    /// What led to it in `index.json`, if that is an index: it names what is said of the image too.
    indexes: Vec<Descriptor>,
}
