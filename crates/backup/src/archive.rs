//! A backup as a file: a tar of an OCI image layout.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use dray_spec::{Descriptor, Digest, Index, Manifest};
use serde_json::json;

use crate::document::{ARTIFACT_TYPE, Documents};
use crate::error::Error;
use crate::take::Sink;

const INDEX: &str = "index.json";
/// Longest document that is read into memory.
const MAX_DOCUMENT: u64 = 64 << 20;
/// Longest tree that is read into memory.
const MAX_TREE: u64 = 1 << 30;

/// Writes a layout: packs as they come, the documents at the end.
pub struct LayoutWriter<W: Write> {
    tar: tar::Builder<W>,
}

impl<W: Write> LayoutWriter<W> {
    /// Begins the archive.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = LayoutWriter { tar: tar::Builder::new(out) };
        writer.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(writer)
    }

    /// Adds the documents, and ends the archive.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self, documents: &Documents) -> io::Result<W> {
        for blob in [&documents.config, &documents.tree, &documents.manifest] {
            self.file(&blob_name(&Digest::sha256_of(blob)), blob)?;
        }
        self.file(INDEX, &index(documents))?;
        self.tar.into_inner()
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = header(bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes)
    }
}

impl<W: Write> Sink for LayoutWriter<W> {
    fn pack(&mut self, digest: &Digest, _: u64, blob: Vec<u8>) -> io::Result<()> {
        self.file(&blob_name(digest), &blob)
    }
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn index(documents: &Documents) -> Vec<u8> {
    let manifest = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": documents.digest(),
        "size": documents.manifest.len(),
        "artifactType": ARTIFACT_TYPE,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    index.to_string().into_bytes()
}

/// The manifest that an index names.
fn manifest_of(index: &[u8]) -> Result<Digest, Error> {
    let index: Index =
        serde_json::from_slice(index).map_err(|error| Error::invalid(format!("its index.json: {error}")))?;
    match index.manifests.as_slice() {
        [only] => Ok(only.digest.clone()),
        several => Err(Error::invalid(format!("its index.json names {} manifests", several.len()))),
    }
}

/// An archive in a file.
pub struct Archive {
    file: File,
    /// Where each entry's bytes are.
    entries: HashMap<String, (u64, u64)>,
}

impl Archive {
    /// Looks where everything is.
    ///
    /// # Errors
    /// If it is no tar.
    pub fn open(file: File) -> Result<Self, Error> {
        let mut tar = tar::Archive::new(file);
        let mut entries = HashMap::new();
        let wrong = |error: io::Error| Error::invalid(format!("it is no tar archive: {error}"));
        for entry in tar.entries_with_seek().map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
            entries.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Archive { file: tar.into_inner(), entries })
    }

    /// The documents of the backup in it, with their digests checked.
    ///
    /// # Errors
    /// If one is missing or wrong.
    pub fn documents(&mut self) -> Result<Documents, Error> {
        let index = self.read(INDEX, MAX_DOCUMENT)?;
        let manifest = self.checked(&manifest_of(&index)?, MAX_DOCUMENT)?;
        let read = Documents::read_manifest(&manifest)?;
        let config = self.checked(&read.config.digest, MAX_DOCUMENT)?;
        let tree = self.checked(&read.layers[0].digest, MAX_TREE)?;
        Ok(Documents { manifest, config, tree })
    }

    /// The bytes of a blob, unchecked, with their length.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn blob(&mut self, digest: &Digest) -> Result<Option<(u64, impl Read + '_)>, Error> {
        let Some(&(at, size)) = self.entries.get(&blob_name(digest)) else { return Ok(None) };
        self.file.seek(SeekFrom::Start(at)).map_err(Error::Read)?;
        Ok(Some((size, (&self.file).take(size))))
    }

    /// Writes the first archive's backup as a tar that can be restored while it arrives: the documents first, then the
    /// packs, from whichever archive has them. Packs that none has are left out. Without packs it is what an
    /// incremental backup needs of its base.
    ///
    /// # Errors
    /// If an archive is none, or `out` fails.
    pub fn in_order(archives: &mut [Archive], packs: bool, out: impl Write) -> Result<(), Error> {
        let Some(first) = archives.first_mut() else { return Ok(()) };
        let documents = first.documents()?;
        let manifest = Documents::read_manifest(&documents.manifest)?;
        let mut tar = tar::Builder::new(out);
        let mut add = |name: &str, size: u64, bytes: &mut dyn Read| {
            tar.append_data(&mut header(size), name, bytes).map_err(Error::Write)
        };
        let index = index(&documents);
        add(INDEX, index.len() as u64, &mut index.as_slice())?;
        for blob in [&documents.manifest, &documents.config, &documents.tree] {
            add(&blob_name(&Digest::sha256_of(blob)), blob.len() as u64, &mut blob.as_slice())?;
        }
        for pack in manifest.layers.iter().skip(1).filter(|_| packs) {
            for archive in archives.iter_mut() {
                if let Some((size, mut bytes)) = archive.blob(&pack.digest)? {
                    add(&blob_name(&pack.digest), size, &mut bytes)?;
                    break;
                }
            }
        }
        tar.finish().map_err(Error::Write)
    }

    fn read(&mut self, name: &str, longest: u64) -> Result<Vec<u8>, Error> {
        let missing = || Error::invalid(format!("{name} is missing"));
        let &(at, size) = self.entries.get(name).ok_or_else(missing)?;
        if size > longest {
            return Err(Error::invalid(format!("{name} is too long")));
        }
        self.file.seek(SeekFrom::Start(at)).map_err(Error::Read)?;
        let mut bytes = Vec::new();
        (&self.file).take(size).read_to_end(&mut bytes).map_err(Error::Read)?;
        Ok(bytes)
    }

    fn checked(&mut self, digest: &Digest, longest: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.read(&blob_name(digest), longest)?;
        if digest.verifies(&bytes) { Ok(bytes) } else { Err(Error::Damaged(digest.clone())) }
    }
}

/// A backup that arrives in order: see [`Archive::in_order`].
pub struct Incoming<R: Read> {
    tar: tar::Archive<R>,
}

impl<R: Read> Incoming<R> {
    /// Whether a tar that begins with these bytes is in order.
    #[must_use]
    pub fn is_in_order(beginning: &[u8]) -> bool {
        beginning.starts_with(b"index.json\0")
    }

    /// A backup from a stream.
    pub fn new(from: R) -> Self {
        Incoming { tar: tar::Archive::new(from) }
    }

    /// Reads the documents, gives them to `begin`, and each pack to `pack` with what that has made.
    ///
    /// # Errors
    /// If it is none, it is out of order, or one of the two fails.
    pub fn read<T>(
        mut self,
        begin: impl FnOnce(Documents) -> Result<T, Error>,
        mut pack: impl FnMut(&mut T, &Digest, &mut dyn Read) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let mut entries = self.tar.entries().map_err(Error::Read)?;
        let digest = manifest_of(&next(&mut entries, INDEX, MAX_DOCUMENT)?)?;
        let manifest = checked(&mut entries, &digest, MAX_DOCUMENT)?;
        let read: Manifest = Documents::read_manifest(&manifest)?;
        let config = checked(&mut entries, &read.config.digest, MAX_DOCUMENT)?;
        let tree = checked(&mut entries, &read.layers[0].digest, MAX_TREE)?;
        let mut begun = begin(Documents { manifest, config, tree })?;
        let packs: HashMap<String, &Descriptor> =
            read.layers.iter().skip(1).map(|layer| (blob_name(&layer.digest), layer)).collect();
        for entry in entries {
            let mut entry = entry.map_err(Error::Read)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let layer =
                packs.get(&name).ok_or_else(|| Error::invalid(format!("{name} is none of its blobs")))?;
            pack(&mut begun, &layer.digest, &mut entry)?;
        }
        Ok(begun)
    }
}

/// The bytes of the next entry, which has to be this one.
fn next<R: Read>(entries: &mut tar::Entries<'_, R>, name: &str, longest: u64) -> Result<Vec<u8>, Error> {
    let missing = || Error::invalid(format!("{name} is not where it belongs"));
    let mut entry = entries.next().ok_or_else(missing)?.map_err(Error::Read)?;
    if entry.path_bytes().as_ref() != name.as_bytes() || entry.size() > longest {
        return Err(missing());
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(Error::Read)?;
    Ok(bytes)
}

fn checked<R: Read>(
    entries: &mut tar::Entries<'_, R>,
    digest: &Digest,
    longest: u64,
) -> Result<Vec<u8>, Error> {
    let bytes = next(entries, &blob_name(digest), longest)?;
    if digest.verifies(&bytes) { Ok(bytes) } else { Err(Error::Damaged(digest.clone())) }
}
