//! Images made here: from a tar of a whole file system (import), and from what a container has changed
//! (commit).

use std::io::Read;
use std::path::Path;

use dray_spec::{Digest, History, ImageConfig, Platform, Reference, RootFs, RunConfig};
use dray_store::LayerId;
use jiff::Timestamp;

use crate::layer::{self, LayerError, Options};
use crate::{Error, Image, Images, NewImage, Result, exact};

/// What an imported image is beside its files.
#[derive(Debug, Clone)]
pub struct Import {
    /// How containers of it run (`--change`).
    pub config: RunConfig,
    /// The comment.
    pub message: String,
    /// What it runs on.
    pub platform: Platform,
    /// Its name.
    pub name: Option<Reference>,
}

/// What a committed image is beside its changes.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// How containers of it run: the container's configuration with the `--change`s.
    pub config: RunConfig,
    /// Who.
    pub author: String,
    /// The comment.
    pub comment: String,
    /// The container's command, for the history.
    pub created_by: String,
    /// Its name.
    pub name: Option<Reference>,
}

impl Images {
    /// Makes an image of one layer from a tar (plain, gzip or zstd).
    ///
    /// # Errors
    /// If the tar cannot be unpacked; nothing of it stays then.
    pub fn import(&self, reader: impl Read + Send, import: Import) -> Result<Image> {
        let lease = self.lease();
        let result = self.import_layer(reader, import);
        drop(lease);
        if !matches!(result, Ok((_, true))) {
            self.store().collect()?;
        }
        result.map(|(image, _)| image)
    }

    /// Makes the image; false if something was left on the way.
    fn import_layer(&self, reader: impl Read + Send, import: Import) -> Result<(Image, bool)> {
        let layer = exact::unpack(self.store(), reader, Vec::new(), "import", true, |_| Ok(()))?;
        let (id, diff_id) = match layer.reproducible {
            true => (layer.id, layer.diff_id),
            // A name came twice in it: the image is of what was unpacked in the end.
            false => self.repacked(layer.id)?,
        };
        let created = Timestamp::now().to_string();
        let config = ImageConfig {
            created: Some(created.clone()),
            comment: import.message.clone(),
            config: Some(import.config),
            rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
            history: vec![History { created: Some(created), comment: import.message, ..History::default() }],
            ..ImageConfig::for_platform(&import.platform)
        };
        self.create(NewImage {
            config: config.to_bytes(),
            layers: vec![id],
            names: import.name.into_iter().collect(),
            ..NewImage::default()
        })
        .map(|image| (image, layer.reproducible))
    }

    /// Makes an image of another one and what has changed since: `upper`, the upper folder of an overlay, is
    /// copied, not touched. Without changes no layer is added.
    ///
    /// # Errors
    /// If the folder cannot be read or the disk fails; nothing of it stays then.
    pub fn commit(&self, upper: &Path, parent: &Image, commit: Commit) -> Result<Image> {
        let _lease = self.lease();
        let created = Timestamp::now().to_string();
        let mut config = parent.config.clone();
        let mut layers = parent.layers.clone();
        let added = self.copied(upper)?;
        if let Some((id, diff_id)) = &added {
            layers.push(*id);
            config.rootfs.diff_ids.push(diff_id.clone());
        }
        config.history.push(History {
            created: Some(created.clone()),
            created_by: commit.created_by,
            author: commit.author.clone(),
            comment: commit.comment.clone(),
            empty_layer: added.is_none(),
        });
        config.created = Some(created);
        config.author = commit.author;
        config.comment = commit.comment;
        config.config = Some(commit.config);
        // What older Dockers wrote of the container an image came from is not true of this one.
        config
            .extra
            .retain(|key, _| !matches!(key.as_str(), "container" | "container_config" | "docker_version"));
        self.create(NewImage {
            config: config.to_bytes(),
            layers,
            parent: Some(parent.id.clone()),
            names: commit.name.into_iter().collect(),
            ..NewImage::default()
        })
    }

    /// Copies an upper folder into a layer, by packing and unpacking at the same time; none if it is empty.
    fn copied(&self, upper: &Path) -> Result<Option<(LayerId, Digest)>> {
        self.copied_at(upper, &|time| time)
    }

    /// A layer with the same files and other times, which `times` gives for each of the old ones (seconds since
    /// 1970). The caller holds a lease.
    ///
    /// # Errors
    /// If the layer cannot be read or the disk fails; nothing of it stays then.
    pub fn with_times(&self, layer: LayerId, times: &(dyn Fn(i64) -> i64 + Sync)) -> Result<Option<LayerId>> {
        let view = self.store().layers().view(layer)?;
        Ok(self.copied_at(view.path(), times)?.map(|(id, _)| id))
    }

    fn copied_at(
        &self,
        upper: &Path,
        times: &(dyn Fn(i64) -> i64 + Sync),
    ) -> Result<Option<(LayerId, Digest)>> {
        let failed = || Error::layer("container");
        let draft = self.store().layers().begin()?;
        let (reader, writer) = std::io::pipe().map_err(|error| failed()(LayerError::Write(error)))?;
        let (packed, unpacked) = std::thread::scope(|scope| {
            let packing = scope.spawn(move || layer::tar_at(upper, writer, &|time| times(time)));
            let unpacked = layer::unpack(reader, draft.path(), &Options::default());
            let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (packed, unpacked)
        });
        // If packing has failed, unpacking saw a tar that ends too early; if unpacking has, packing saw a
        // broken pipe.
        let unpacked = match (packed, unpacked) {
            (Err(LayerError::Write(_)) | Ok(_), Err(error)) => return Err(failed()(error)),
            (Err(error), _) => return Err(failed()(error)),
            (Ok(_), Ok(unpacked)) => unpacked,
        };
        if unpacked.entries == 0 {
            return Ok(None);
        }
        let id = draft.commit(&unpacked.diff_id, unpacked.size)?;
        self.remember_tar(&unpacked.diff_id, unpacked.tar_bytes);
        Ok(Some((id, unpacked.diff_id)))
    }

    /// The layer with the same files whose diff ID is the one we would pack.
    fn repacked(&self, id: LayerId) -> Result<(LayerId, Digest)> {
        let view = self.store().layers().view(id)?;
        self.copied(view.path())?.map_or_else(|| Err(Error::Archive("it has no files".into())), Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::exact::Source;
    use crate::images::tests::Fixture;
    use crate::layer::tests::tars::Tar;

    fn import(name: &str) -> Import {
        Import {
            config: RunConfig { cmd: Some(vec!["/bin/app".into()]), ..RunConfig::default() },
            message: "Imported from -".into(),
            platform: Platform::host(),
            name: Some(name.parse().unwrap()),
        }
    }

    #[test]
    fn import_makes_an_image_of_one_layer() {
        let fixture = Fixture::new();
        let tar = Tar::new().folder("bin").file("bin/app", b"#!").end();
        let gzip = zstd::encode_all(&tar[..], 1).unwrap();
        let image = fixture.images.import(&gzip[..], import("app")).unwrap();
        assert_eq!(fixture.images.resolve("app:latest").unwrap(), image);
        assert_eq!(image.config.rootfs.diff_ids, [Digest::sha256_of(&tar)]);
        assert_eq!(image.config.config.as_ref().unwrap().cmd.as_deref().unwrap(), ["/bin/app"]);
        assert_eq!((image.config.os.as_str(), image.config.comment.as_str()), ("linux", "Imported from -"));
        let file = fixture.images.store().layers().folders(image.layers[0])[0].join("bin/app");
        assert_eq!(fs::read(file).unwrap(), b"#!");
    }

    #[test]
    fn a_tar_with_a_name_twice_is_imported_as_it_ends_up() {
        let fixture = Fixture::new();
        let tar = Tar::new().file("a", b"first").file("a", b"second").end();
        let image = fixture.images.import(&tar[..], import("twice")).unwrap();
        let store = fixture.images.store();
        assert_eq!(fs::read(store.layers().folders(image.layers[0])[0].join("a")).unwrap(), b"second");
        assert!(Source::find(store, image.layers[0], &image.config.rootfs.diff_ids[0]).unwrap().is_some());
    }

    #[test]
    fn a_failed_import_leaves_nothing() {
        let fixture = Fixture::new();
        let tar = Tar::new().file("good", b"x").file("../evil", b"x").end();
        let error = fixture.images.import(&tar[..], import("evil")).unwrap_err().to_string();
        assert_eq!(error, "layer import: entry \"../evil\": its name leads out of the layer");
        assert_eq!(fs::read_dir(fixture.dir.path().join("layers")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(fixture.dir.path().join("ingest")).unwrap().count(), 0);
    }

    #[test]
    fn commit_adds_a_layer_with_its_history() {
        let fixture = Fixture::new();
        let base = fixture.image(1, &["base"], &["base"]);
        let upper = fixture.dir.path().join("upper");
        fs::create_dir(&upper).unwrap();
        fs::write(upper.join("new"), "content").unwrap();
        let commit = Commit {
            comment: "a note".into(),
            author: "me".into(),
            created_by: "sh -c x".into(),
            name: Some("committed".parse().unwrap()),
            ..Commit::default()
        };
        let image = fixture.images.commit(&upper, &base, commit).unwrap();
        assert_eq!(image.parent.as_ref(), Some(&base.id));
        assert_eq!(image.layers.len(), 2);
        assert_eq!(image.size, base.size + 7);
        let step = image.config.history.last().unwrap();
        assert_eq!((step.created_by.as_str(), step.comment.as_str()), ("sh -c x", "a note"));
        assert!(upper.join("new").exists());
        let source = Source::find(fixture.images.store(), image.layers[1], &image.config.rootfs.diff_ids[1]);
        assert!(matches!(source.unwrap(), Some((Source::Folder, _))));
        assert_eq!(fixture.images.resolve("committed").unwrap().id, image.id);
    }

    #[test]
    fn commit_without_changes_adds_no_layer() {
        let fixture = Fixture::new();
        let base = fixture.image(1, &["base"], &["base"]);
        let upper = fixture.dir.path().join("upper");
        fs::create_dir(&upper).unwrap();
        let image = fixture.images.commit(&upper, &base, Commit::default()).unwrap();
        assert_eq!(image.layers, base.layers);
        assert!(image.config.history.last().unwrap().empty_layer);
        assert_ne!(image.id, base.id);
    }
}
