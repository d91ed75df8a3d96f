//! Squashing: all layers of an image, or those above another image that it was made upon, become one with the same
//! files. What they had only in between is gone.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use dray_spec::{Digest, History, Reference};
use dray_store::{LayerId, LayerView};
use rustix::fs::{self as rfs, AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};

use super::merge::{FileKind, Merged, Node};
use crate::layer::overlay::{copy_metadata, os, set_opaque_at};
use crate::layer::{DiffId, LayerError};
use crate::{Error, Image, Images, NewImage, Result};

/// How an image is squashed.
#[derive(Debug, Clone, Default)]
pub struct Squash {
    /// Keep the layers of this image, which must be the lowest of the squashed one.
    pub onto: Option<Image>,
    /// The new image's names.
    pub names: Vec<Reference>,
    /// A note; one is made up if it is empty.
    pub comment: String,
    /// When it was made, RFC 3339; now if none.
    pub created: Option<String>,
}

impl Images {
    /// Makes an image with the same files and configuration in fewer layers. The squashed one stays as it is.
    ///
    /// # Errors
    /// If the layers to keep are not the image's lowest, a layer cannot be read, or the disk fails. Nothing stays
    /// then.
    pub fn squash(&self, image: &Image, squash: Squash) -> Result<Image> {
        let _lease = self.lease();
        let kept = match &squash.onto {
            None => 0,
            Some(base) => common(image, base)?,
        };
        let diff_ids = &image.config.rootfs.diff_ids;
        let mut layers = image.layers[..kept].to_vec();
        let mut kept_ids = diff_ids[..kept].to_vec();
        let below = self.merge(&image.layers[..kept], &diff_ids[..kept])?;
        let made = if kept == diff_ids.len() { None } else { self.one_layer(&image.layers[kept..], &below)? };
        if let Some((layer, diff_id)) = &made {
            layers.push(*layer);
            kept_ids.push(diff_id.clone());
        }
        let created = squash.created.clone().unwrap_or_else(|| jiff::Timestamp::now().to_string());
        let mut config = image.config.clone();
        config.rootfs.diff_ids = kept_ids;
        config.history = history(image, kept);
        config.history.push(History {
            created: Some(created.clone()),
            comment: match (&squash.onto, squash.comment.is_empty()) {
                (_, false) => squash.comment.clone(),
                (Some(base), _) => format!("merge {} to {}", image.id, base.id),
                (None, _) => format!("create new from {}", image.id),
            },
            empty_layer: made.is_none(),
            ..History::default()
        });
        config.created = Some(created);
        self.create(NewImage {
            config: config.to_bytes(),
            layers,
            parent: squash.onto.map(|base| base.id),
            names: squash.names,
            ..NewImage::default()
        })
    }

    /// The same files in one layer; none if there are no files at all.
    fn one_layer(&self, layers: &[LayerId], below: &Merged) -> Result<Option<(LayerId, Digest)>> {
        let failed = || Error::layer("squash");
        let views = self.views(layers)?;
        let mut merged = Merged::default();
        for (index, view) in views.iter().enumerate() {
            merged.add(view.path(), index).map_err(failed())?;
        }
        // In a folder that lies in one layer alone, overlayfs would list a whiteout as if it were a file.
        merged.whiteouts.retain(|path, _| below.nodes.contains_key(path));
        if merged.nodes.len() <= 1 && merged.whiteouts.is_empty() {
            return Ok(None);
        }
        let draft = self.store().layers().begin()?;
        let copier = Copier { views: &views, root: draft.path(), below, linked: HashMap::new() };
        copier.all(&merged).map_err(failed())?;
        let packed = DiffId::of(draft.path()).map_err(failed())?;
        let id = draft.commit(&packed.diff_id, packed.size)?;
        self.remember_tar(&packed.diff_id, packed.bytes);
        Ok(Some((id, packed.diff_id)))
    }
}

/// How many layers of `image` are those of `base`: all of them, or it is an error.
fn common(image: &Image, base: &Image) -> Result<usize> {
    let (of_base, own) = (&base.config.rootfs.diff_ids, &image.config.rootfs.diff_ids);
    if own.starts_with(of_base) {
        Ok(of_base.len())
    } else {
        Err(Error::NotUpon { image: image.id.short().into(), base: base.id.short().into() })
    }
}

/// The steps of the squashed layers stay as a record, without layers.
fn history(image: &Image, kept: usize) -> Vec<History> {
    let mut layers = 0;
    let steps = image.config.history.iter().map(|step| {
        layers += usize::from(!step.empty_layer);
        History { empty_layer: step.empty_layer || layers > kept, ..step.clone() }
    });
    steps.collect()
}

/// Copies the files that are seen out of their layers.
struct Copier<'a> {
    views: &'a [LayerView],
    root: &'a Path,
    /// What lies below: what was hidden of it stays hidden.
    below: &'a Merged,
    /// Where files with several names were copied to.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl Copier<'_> {
    fn all(mut self, merged: &Merged) -> Result<(), LayerError> {
        for (path, node) in &merged.nodes {
            self.node(path, node)?;
        }
        for path in merged.whiteouts.keys() {
            self.whiteout(path)?;
        }
        // What was made in a folder has changed its time.
        for (path, node) in merged.nodes.iter().rev().filter(|(_, node)| node.kind == FileKind::Folder) {
            self.time(path, node)?;
        }
        Ok(())
    }

    fn node(&mut self, path: &[u8], node: &Node) -> Result<(), LayerError> {
        if path.is_empty() {
            return self.metadata(path, node);
        }
        if let Some(first) = self.linked.get(&node.inode) {
            let (from, to) = (self.root.join(os(first)), self.root.join(os(path)));
            return fs::hard_link(from, to).map_err(LayerError::std_io(path, "link"));
        }
        let target = self.root.join(os(path));
        let failed = |operation| LayerError::io(path, operation);
        match node.kind {
            FileKind::Folder => {
                rfs::mkdir(&target, Mode::from_raw_mode(0o700)).map_err(failed("create"))?;
                if node.opaque && self.below.nodes.contains_key(path) {
                    set_opaque_at(&target).map_err(failed("make opaque"))?;
                }
            }
            FileKind::File => self.content(path, node, &target)?,
            FileKind::Link => rfs::symlink(os(&node.target), &target).map_err(failed("create"))?,
            kind => {
                let kind = match kind {
                    FileKind::CharacterDevice => FileType::CharacterDevice,
                    FileKind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let mode = Mode::from_raw_mode(node.mode & 0o777);
                rfs::mknodat(rfs::CWD, &target, kind, mode, node.device).map_err(failed("create"))?;
            }
        }
        if node.kind != FileKind::Folder {
            self.linked.insert(node.inode, path.to_vec());
        }
        self.metadata(path, node)
    }

    /// Shares the bytes where the file system can, and copies them else.
    fn content(&self, path: &[u8], node: &Node, target: &Path) -> Result<(), LayerError> {
        let failed = || LayerError::std_io(path, "copy");
        let mut from = File::open(self.source(path, node)).map_err(failed())?;
        let mut to = File::create_new(target).map_err(failed())?;
        if rfs::ioctl_ficlone(&to, &from).is_ok() {
            return Ok(());
        }
        std::io::copy(&mut from, &mut to).map(drop).map_err(failed())
    }

    fn metadata(&self, path: &[u8], node: &Node) -> Result<(), LayerError> {
        let failed = || LayerError::io(path, "copy metadata");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source: OwnedFd = rfs::open(self.source(path, node), flags, Mode::empty()).map_err(failed())?;
        let stat: Stat = rfs::fstat(&source).map_err(failed())?;
        let (folder, base) = crate::layer::name::split(path);
        let base: &[u8] = if path.is_empty() { b"." } else { base };
        let parent = rfs::open(self.root.join(os(folder)), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed())?;
        match node.kind {
            FileKind::Link => {
                link_metadata(&stat, &parent, base).map_err(LayerError::io(path, "copy metadata"))
            }
            _ => copy_metadata(&source, &stat, &parent, base)
                .map_err(LayerError::std_io(path, "copy metadata")),
        }
    }

    fn whiteout(&self, path: &[u8]) -> Result<(), LayerError> {
        let device = rfs::makedev(0, 0);
        let target = self.root.join(os(path));
        rfs::mknodat(rfs::CWD, &target, FileType::CharacterDevice, Mode::empty(), device)
            .map_err(LayerError::io(path, "make a whiteout of"))?;
        rfs::utimensat(rfs::CWD, &target, &times((0, 0)), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(LayerError::io(path, "set time of"))
    }

    fn time(&self, path: &[u8], node: &Node) -> Result<(), LayerError> {
        rfs::utimensat(rfs::CWD, self.root.join(os(path)), &times(node.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(LayerError::io(path, "set time of"))
    }

    fn source(&self, path: &[u8], node: &Node) -> PathBuf {
        self.views[node.layer].path().join(os(path))
    }
}

/// A link has an owner and a time, and nothing else that a layer keeps.
fn link_metadata(stat: &Stat, parent: &OwnedFd, base: &[u8]) -> Result<(), rustix::io::Errno> {
    let (uid, gid) = (rfs::Uid::from_raw(stat.st_uid), rfs::Gid::from_raw(stat.st_gid));
    rfs::chownat(parent, os(base), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let mtime = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
    rfs::utimensat(parent, os(base), &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
}

fn times((seconds, nanos): (i64, i64)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    Timestamps { last_access: time, last_modification: time }
}
