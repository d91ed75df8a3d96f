//! A context as a list of its files: a daemon that has had it before is sent what has changed since.
//!
//! ```text
//! Listing::of(files) ── POST /build/context ─► which are missing ── Listing::archive ─► POST /build
//! ```
//! A small context is sent as a whole: asking would take longer.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use dray_client::Upload;
use dray_client::api::build::{ContextFile, ContextFileKind, ContextListing};
use dray_spec::dockerignore::Patterns;

use super::{Files, IGNORE, PUT_IN};
use crate::pack::{self, Packer};

/// A context of fewer files and bytes than these is small.
const SMALL_FILES: usize = 256;
const SMALL_BYTES: u64 = 1 << 20;

/// What a context consists of, in the order of its archive.
pub struct Listing {
    /// What the daemon is asked.
    pub asked: ContextListing,
    sources: Vec<Source>,
}

/// Where an entry's content is.
enum Source {
    Path(PathBuf, Metadata),
    /// Put in, not from the disk.
    Bytes(Vec<u8>),
}

impl Listing {
    /// Looks at all files; `None` for a small context, and for one with names that are no text.
    pub fn of(files: &Files) -> io::Result<Option<Listing>> {
        let asked =
            ContextListing { key: key(files), name: files.root.display().to_string(), files: Vec::new() };
        let mut listing = Listing { asked, sources: Vec::new() };
        let mut text = true;
        let put_in = files.put_in.is_some();
        pack::walk(&files.root, &files.patterns, &mut |path, name, meta| {
            if !(put_in && [PUT_IN, IGNORE].iter().any(|own| name == Path::new(own))) {
                text &= listing.add(path, &files.main.join(name), meta)?;
            }
            Ok(())
        })?;
        for (name, content) in files.put_in() {
            listing.put_in(&files.main.join(name), content);
        }
        for (folder, root) in &files.beside {
            text &= listing.add(root, Path::new(folder), std::fs::metadata(root)?)?;
            pack::walk(root, &ignored_in(root)?, &mut |path, name, meta| {
                text &= listing.add(path, &Path::new(folder).join(name), meta)?;
                Ok(())
            })?;
        }
        let bytes: u64 = listing.asked.files.iter().map(|file| file.size).sum();
        let small = listing.sources.len() < SMALL_FILES && bytes < SMALL_BYTES;
        Ok((text && !small).then_some(listing))
    }

    /// Adds a file; false if its name is no text.
    fn add(&mut self, path: &Path, name: &Path, meta: Metadata) -> io::Result<bool> {
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(true);
        }
        let Some(name) = name.to_str() else { return Ok(false) };
        let link = if kind.is_symlink() { std::fs::read_link(path)? } else { PathBuf::new() };
        let Some(link) = link.to_str() else { return Ok(false) };
        self.asked.files.push(ContextFile {
            path: name.to_owned(),
            kind: match () {
                () if kind.is_dir() => ContextFileKind::Folder,
                () if kind.is_symlink() => ContextFileKind::Symlink,
                () if kind.is_file() => ContextFileKind::File,
                () => ContextFileKind::Special,
            },
            mode: meta.mode(),
            size: if kind.is_file() { meta.len() } else { 0 },
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            link: link.to_owned(),
        });
        self.sources.push(Source::Path(path.to_owned(), meta));
        Ok(true)
    }

    /// Adds what is not on the disk; it is sent each time.
    fn put_in(&mut self, name: &Path, content: Vec<u8>) {
        let path = name.to_string_lossy().into_owned();
        self.asked.files.push(ContextFile { path, size: content.len() as u64, ..ContextFile::default() });
        self.sources.push(Source::Bytes(content));
    }

    /// The archive of folders and of those that are missing, by their numbers in the list.
    pub fn archive(self, missing: Vec<u64>) -> Upload {
        Upload::tar_chunks(pack::stream(move |out| {
            let mut packer = Packer::new(out);
            packer.owned_by_root = true;
            let mut missing = missing.into_iter().peekable();
            for (n, (file, source)) in (0..).zip(self.asked.files.iter().zip(self.sources)) {
                let wanted = missing.next_if_eq(&n).is_some();
                match source {
                    Source::Path(path, meta) if wanted || meta.is_dir() => {
                        packer.entry(&path, Path::new(&file.path), &meta)?;
                    }
                    Source::Bytes(content) if wanted => packer.bytes(&file.path, 0o600, &content)?,
                    _ => {}
                }
            }
            packer.finish()
        }))
    }
}

/// What a folder beside the context leaves out.
pub fn ignored_in(root: &Path) -> io::Result<Patterns> {
    let ignore = match std::fs::read_to_string(root.join(IGNORE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    Patterns::parse(&ignore).map_err(io::Error::other)
}

/// Where the files come from: this machine and these folders.
fn key(files: &Files) -> String {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let beside = files.beside.iter().map(|(_, root)| root);
    let roots: Vec<String> =
        [&files.root].into_iter().chain(beside).map(|root| root.display().to_string()).collect();
    format!("dray:{}:{}", machine.trim(), roots.join("\n"))
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
