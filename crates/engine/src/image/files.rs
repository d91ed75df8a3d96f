//! The files of images, as the API's extension shows them: layer by layer, compared, squashed.

use dray_api::extension::{ImageFile, ImageFileChange, ImageTree, ImageTreeLayer, ReplacedFile};
use dray_image::files::{FileChange, FileState, Happened, Squash, Tree};
use dray_spec::{Digest, Reference};

use super::{Error, Service};

/// What `POST /dray/images/squash` may say.
#[derive(Debug, Clone, Default)]
pub struct SquashOptions {
    /// The image whose layers are kept; empty for none.
    pub onto: String,
    /// The new image's names.
    pub names: Vec<String>,
    /// A note in its history.
    pub comment: String,
}

impl Service {
    /// An image layer by layer, with what each wastes.
    ///
    /// # Errors
    /// If there is none of that name, or a layer cannot be read.
    pub fn tree(&self, name: &str) -> Result<ImageTree, Error> {
        // Neither image nor layers go meanwhile.
        let (image, _claim) = self.images.claim(name, "image tree")?;
        Ok(tree_to_wire(&self.images.tree(&image)?))
    }

    /// What differs between two images.
    ///
    /// # Errors
    /// If there is none of a name, or a layer cannot be read.
    pub fn diff(&self, from: &str, to: &str) -> Result<Vec<ImageFileChange>, Error> {
        let (from, _from_claim) = self.images.claim(from, "image diff")?;
        let (to, _to_claim) = self.images.claim(to, "image diff")?;
        Ok(self.images.diff(&from, &to)?.iter().map(change_to_wire).collect())
    }

    /// Makes an image with the same files in fewer layers; gives its id.
    ///
    /// # Errors
    /// If there is none of a name, or the layers to keep are not its lowest.
    pub fn squash(&self, name: &str, options: &SquashOptions) -> Result<Digest, Error> {
        let (image, _claim) = self.images.claim(name, "image squash")?;
        let onto = match options.onto.as_str() {
            "" => None,
            onto => Some(self.images.resolve(onto)?),
        };
        let mut names = Vec::new();
        for name in &options.names {
            let reference = Reference::parse(name)?;
            if reference.digest().is_some() {
                return Err(dray_image::Error::TagWithDigest.into());
            }
            names.push(reference.tagged());
        }
        let squash = Squash { onto, names, comment: options.comment.clone(), ..Squash::default() };
        let squashed = self.images.squash(&image, squash)?;
        let id = squashed.id.to_string();
        for tag in &squashed.tags {
            self.announce("tag", &id, &tag.familiar(), squashed.config.labels());
        }
        Ok(squashed.id)
    }
}

fn tree_to_wire(tree: &Tree) -> ImageTree {
    let layers = tree.layers.iter().map(|layer| ImageTreeLayer {
        diff_id: layer.diff_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        created_by: layer.created_by.clone(),
        created: layer.created.clone(),
        size: signed(layer.size),
        files: signed(layer.files),
        wasted: signed(layer.wasted),
        hides: signed(layer.hides),
    });
    let replaced = tree.replaced.iter().map(|replaced| ReplacedFile {
        path: String::from_utf8_lossy(&replaced.path).into_owned(),
        times: signed(replaced.times),
        bytes: signed(replaced.bytes),
        removed: replaced.removed,
    });
    ImageTree {
        id: tree.id.to_string(),
        size: signed(tree.size),
        wasted: signed(tree.wasted),
        efficiency: tree.efficiency(),
        layers: layers.collect(),
        replaced: replaced.collect(),
    }
}

fn change_to_wire(change: &FileChange) -> ImageFileChange {
    ImageFileChange {
        kind: match change.happened {
            Happened::Changed => 0,
            Happened::Added => 1,
            Happened::Removed => 2,
        },
        path: String::from_utf8_lossy(&change.path).into_owned(),
        old: change.old.as_ref().map(file_to_wire),
        new: change.new.as_ref().map(file_to_wire),
        differs: change.aspects.iter().map(|aspect| aspect.name().to_owned()).collect(),
    }
}

fn file_to_wire(file: &FileState) -> ImageFile {
    let FileState { kind, mode, uid, gid, size } = *file;
    ImageFile { r#type: kind.name().to_owned(), mode, uid, gid, size: signed(size) }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
