//! The documents around the tree: the volume's own words, and the manifest that names all blobs (OCI image-spec,
//! manifest.md, "Guidelines for Artifact Usage").

use std::collections::BTreeMap;

use dray_spec::{Descriptor, Digest, Manifest};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::tree::Tree;

/// What the manifest says it is.
pub const ARTIFACT_TYPE: &str = "application/vnd.dray.volume.v1";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.dray.volume.config.v1+json";
const TREE_TYPE: &str = "application/vnd.dray.volume.tree.v1+zstd";
const PACK_TYPE: &str = "application/vnd.dray.volume.pack.v1+zstd";
/// The manifest that a backup was taken against.
const BASE: &str = "dev.dray.volume.base";
const CREATED: &str = "org.opencontainers.image.created";
const TITLE: &str = "org.opencontainers.image.title";

/// What is said of the volume itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeConfig {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its driver's options: what was there, not what a restored volume gets.
    pub options: BTreeMap<String, String>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When the backup was taken (RFC 3339).
    pub taken: String,
    /// Names in it.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The documents of a backup, as their blobs.
#[derive(Debug, Clone)]
pub struct Documents {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The volume's words.
    pub config: Vec<u8>,
    /// The tree.
    pub tree: Vec<u8>,
}

impl Documents {
    /// The documents of a tree.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn of(tree: &Tree, mut config: VolumeConfig, base: Option<&Digest>) -> Result<Self, Error> {
        config.files = tree.nodes.len() as u64;
        config.bytes = tree.nodes.iter().map(|node| node.size).sum();
        let json = |error: serde_json::Error| Error::Write(error.into());
        let config_blob = serde_json::to_vec(&config).map_err(json)?;
        let tree_blob = tree.to_blob()?;
        let mut layers = vec![Descriptor::of(TREE_TYPE, &tree_blob)];
        layers.extend(tree.packs.iter().map(|pack| pack_descriptor(&pack.digest, pack.size)));
        let mut annotations =
            BTreeMap::from([(CREATED.to_owned(), config.taken), (TITLE.to_owned(), config.name)]);
        if let Some(base) = base {
            annotations.insert(BASE.to_owned(), base.to_string());
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST_TYPE.to_owned()),
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            config: Descriptor::of(CONFIG_TYPE, &config_blob),
            layers,
            subject: None,
            annotations,
        };
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        Ok(Documents { manifest, config: config_blob, tree: tree_blob })
    }

    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// If it is another's.
    pub fn read_manifest(bytes: &[u8]) -> Result<Manifest, Error> {
        let manifest: Manifest = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("its manifest: {error}")))?;
        let tree = manifest.layers.first().is_some_and(|layer| layer.media_type == TREE_TYPE);
        let packs = manifest.layers.iter().skip(1).all(|layer| layer.media_type == PACK_TYPE);
        let kind = manifest.artifact_type.as_deref() == Some(ARTIFACT_TYPE);
        if kind && tree && packs && manifest.config.media_type == CONFIG_TYPE {
            return Ok(manifest);
        }
        let kind = manifest.artifact_type.unwrap_or(manifest.config.media_type);
        Err(Error::invalid(format!("its manifest is of the type {kind:?}")))
    }

    /// The manifest's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::sha256_of(&self.manifest)
    }

    /// The volume's words, read.
    ///
    /// # Errors
    /// If they are none.
    pub fn volume(&self) -> Result<VolumeConfig, Error> {
        serde_json::from_slice(&self.config).map_err(|error| Error::invalid(format!("its config: {error}")))
    }

    /// The tree, read.
    ///
    /// # Errors
    /// If it is none.
    pub fn tree(&self) -> Result<Tree, Error> {
        Tree::from_blob(self.tree.as_slice())
    }
}

/// What a manifest says of a pack.
fn pack_descriptor(digest: &Digest, size: u64) -> Descriptor {
    Descriptor::new(PACK_TYPE, digest.clone(), size)
}
