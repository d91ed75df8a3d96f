//! What was exported as one archive: an OCI image layout, or the same with Docker's `manifest.json` beside it.

use std::io::Write;

use dray_spec::{Descriptor, Digest, Manifest, ManifestOrIndex, Reference};

use crate::archive::SavePlan;
use crate::whole::Whole;
use crate::{Error, Images, Result};

/// An archive to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The manifest or index it is about, which is in the store with all that it names.
    pub root: Descriptor,
    /// Its names.
    pub names: Vec<Reference>,
    /// When it was made, RFC 3339; an annotation.
    pub created: Option<String>,
    /// Docker's own description beside it: only of a single image.
    pub docker: bool,
}

/// The annotation with the time of making.
const CREATED: &str = "org.opencontainers.image.created";

impl Images {
    /// Writes an exported image or index as one archive. The caller holds a lease.
    ///
    /// # Errors
    /// If something that it names is not here, or `out` fails.
    pub fn write_layout(&self, layout: &Layout, out: impl Write) -> Result<()> {
        let digest = &layout.root.digest;
        let whole = Whole::read(self.store(), digest, &layout.root.media_type)?;
        let Some(whole) = whole.filter(|whole| whole.lacking.is_empty()) else {
            return Err(Error::NotFound(digest.to_string()));
        };
        let mut root = layout.root.clone();
        root.annotations.extend(layout.created.clone().map(|created| (CREATED.to_owned(), created)));
        let mut plan = SavePlan::new(self.store());
        if layout.docker {
            plan.describe(&self.manifest(digest)?, &layout.names);
        }
        plan.add_whole(whole, &root, &layout.names);
        plan.write(out)
    }

    fn manifest(&self, digest: &Digest) -> Result<Manifest> {
        let bytes = self.store().blobs().read(digest)?;
        match ManifestOrIndex::parse(None, &bytes) {
            Ok(ManifestOrIndex::Manifest(manifest)) => Ok(manifest),
            Ok(ManifestOrIndex::Index(_)) => Err(Error::Archive(
                "docker exporter does not currently support exporting manifest lists".into(),
            )),
            Err(source) => Err(Error::Manifest { subject: digest.to_string(), source }),
        }
    }
}
