//! Documents that belong to builds: results, and what is said of them. A file each, named by its digest, so that builds
//! of the same image share them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dray_spec::{Descriptor, Digest};

use super::record::{Attachment, Role};

/// A document that is to be kept with a build.
#[derive(Debug, Clone)]
pub struct Document {
    /// What of the build it is.
    pub role: Role,
    /// Of which result, where the build has one for each platform.
    pub platform: String,
    /// Its media type.
    pub media_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    /// What a descriptor names.
    #[must_use]
    pub fn of(role: Role, descriptor: &Descriptor, bytes: Vec<u8>) -> Self {
        Document {
            role,
            platform: String::new(),
            media_type: descriptor.media_type.clone(),
            annotations: descriptor.annotations.clone(),
            bytes,
        }
    }

    /// Keeps it in a folder, if it is not there yet.
    pub(super) fn keep(self, folder: &Path) -> io::Result<Attachment> {
        let digest = Digest::sha256_of(&self.bytes);
        let path = path(folder, &digest);
        if !path.exists() {
            fs::create_dir_all(folder)?;
            let draft = folder.join(format!("{}.draft-{}", digest.hex(), super::random_id(8)));
            fs::write(&draft, &self.bytes)?;
            fs::rename(&draft, &path)?;
        }
        let Document { role, platform, media_type, annotations, bytes } = self;
        Ok(Attachment { role, platform, media_type, annotations, digest, size: bytes.len() as u64 })
    }
}

/// The file of a document.
pub(super) fn path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(digest.hex())
}
