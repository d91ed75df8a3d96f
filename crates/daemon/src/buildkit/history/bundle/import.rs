//! Records out of a bundle. Nothing in it is believed: each blob has to have the digest that it goes by, all together
//! are bounded, and what is no record is an error before anything is taken in.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_engine::build::History;
use dray_engine::build::history::record::Role;
use dray_engine::build::history::{Document as Attached, ImportedBuild};
use dray_spec::{Descriptor, Digest, Hasher, Index, Manifest, media_type};
use flate2::read::MultiGzDecoder;

use super::record::{Document, Gave, Named};
use super::{BundleError, RECORD_TYPE, STEPS_TYPE};

/// The most that all of a bundle may be, unpacked.
const MOST: u64 = 1 << 30;
/// The most that one of its blobs may be: logs end at 16 MiB, the rest is documents.
const MOST_OF_BLOB: u64 = 64 << 20;
/// The most that its records take in memory together; many may name the same blob.
const MOST_IN_MEMORY: u64 = 256 << 20;
/// The most files in it.
const MOST_FILES: usize = 50_000;
/// The longest reference.
const MOST_OF_REFERENCE: usize = 256;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// References of a bundle: those that were taken in, and those that were there.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub taken: Vec<String>,
    pub there: Vec<String>,
}

/// Takes in the records of a bundle; those that are there stay as they are. Blocks.
pub(crate) fn read(history: &History, from: impl Read) -> Result<Imported, BundleError> {
    let bundle = Bundle::unpack(history, from)?;
    let mut builds = Vec::new();
    for manifest in bundle.manifests()? {
        builds.extend(bundle.build(&manifest)?);
    }
    if builds.is_empty() {
        return Err(BundleError::Empty);
    }
    let mut imported = Imported::default();
    for build in builds {
        let id = build.record.id.clone();
        match history.import(build)? {
            true => imported.taken.push(id),
            false => imported.there.push(id),
        }
    }
    Ok(imported)
}

/// The blobs of a bundle, in a folder that goes away with it.
struct Bundle {
    folder: PathBuf,
    index: Option<Index>,
    /// How much of it may still be read.
    left: Cell<u64>,
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "remove what was unpacked of a bundle");
        }
    }
}

impl Bundle {
    fn unpack(history: &History, from: impl Read) -> Result<Self, BundleError> {
        let folder = history.scratch().map_err(BundleError::Spool)?;
        let mut bundle = Bundle { folder, index: None, left: Cell::new(MOST_IN_MEMORY) };
        let mut from = BufReader::new(from);
        let begin = io::BufRead::fill_buf(&mut from).map_err(BundleError::invalid)?;
        let plain: Box<dyn Read + '_> = match begin.starts_with(&GZIP) {
            true => Box::new(MultiGzDecoder::new(from)),
            false => Box::new(from),
        };
        let mut archive = tar::Archive::new(plain.take(MOST));
        for (n, entry) in archive.entries().map_err(BundleError::invalid)?.enumerate() {
            let mut entry = entry.map_err(BundleError::invalid)?;
            if n >= MOST_FILES {
                return Err(BundleError::invalid(format!("it has more than {MOST_FILES} files")));
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !entry.header().entry_type().is_file() {
                continue;
            }
            if entry.size() > MOST_OF_BLOB {
                return Err(BundleError::invalid(format!("{path} is larger than {MOST_OF_BLOB} bytes")));
            }
            if path == "index.json" {
                bundle.index = Some(serde_json::from_reader(&mut entry).map_err(BundleError::invalid)?);
            } else if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                let digest = format!("sha256:{hex}").parse::<Digest>().map_err(BundleError::invalid)?;
                bundle.keep(&digest, entry)?;
            }
        }
        Ok(bundle)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn keep(&self, digest: &Digest, mut from: impl Read) -> Result<(), BundleError> {
        let mut file = File::create(self.path(digest)).map_err(BundleError::Spool)?;
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 128 << 10]);
        loop {
            match from.read(&mut buffer).map_err(BundleError::invalid)? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                    file.write_all(&buffer[..read]).map_err(BundleError::Spool)?;
                }
            }
        }
        match hasher.finish() == *digest {
            true => Ok(()),
            false => Err(BundleError::invalid(format!("{digest} has other bytes"))),
        }
    }

    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, BundleError> {
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => BundleError::invalid(format!("{digest} is missing")),
            _ => BundleError::Spool(error),
        };
        let bytes = fs::read(self.path(digest)).map_err(missing)?;
        let left = self.left.get().checked_sub(bytes.len() as u64).ok_or_else(|| {
            BundleError::invalid(format!("its records take more than {MOST_IN_MEMORY} bytes together"))
        })?;
        self.left.set(left);
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, of: &Descriptor) -> Result<T, BundleError> {
        serde_json::from_slice(&self.bytes(&of.digest)?)
            .map_err(|error| BundleError::invalid(format!("{}: {error}", of.digest)))
    }

    /// The manifests of its records.
    fn manifests(&self) -> Result<Vec<Manifest>, BundleError> {
        let index = self.index.as_ref().ok_or_else(|| BundleError::invalid("it has no index.json"))?;
        let mut manifests = Vec::new();
        for root in &index.manifests {
            match media_type::is_index(&root.media_type) {
                true => {
                    let inner: Index = self.json(root)?;
                    for entry in &inner.manifests {
                        manifests.push(self.json(entry)?);
                    }
                }
                false => manifests.push(self.json(root)?),
            }
        }
        Ok(manifests)
    }

    /// A record with all that belongs to it; none for a manifest of something else.
    fn build(&self, manifest: &Manifest) -> Result<Option<ImportedBuild>, BundleError> {
        if manifest.config.media_type != RECORD_TYPE {
            return Ok(None);
        }
        let document: Document = self.json(&manifest.config)?;
        if document.reference.is_empty() || document.reference.len() > MOST_OF_REFERENCE {
            return Err(BundleError::invalid("a record without a usable reference"));
        }
        let layer = |kind: &str| manifest.layers.iter().find(|layer| layer.media_type == kind);
        let steps = layer(STEPS_TYPE).map(|layer| self.json(layer)).transpose()?;
        let log = document.logs.as_ref().map(|named| self.named(named)).transpose()?;
        let spans = document.trace.as_ref().map(|named| self.named(named)).transpose()?;
        let status = document.external_error.as_ref().map(|named| self.named(named)).transpose()?;
        let mut documents = Documents { bundle: self, manifest, found: Vec::new() };
        documents.add("", document.result.as_ref())?;
        for (platform, gave) in &document.results {
            documents.add(platform, Some(gave))?;
        }
        documents.parts()?;
        let documents = documents.found;
        let record = document.into_record(STANDARD.encode(status.unwrap_or_default()));
        Ok(Some(ImportedBuild { record, trace: steps.unwrap_or_default(), log, spans, documents }))
    }

    fn named(&self, named: &Named) -> Result<Vec<u8>, BundleError> {
        self.bytes(&named.digest.parse::<Digest>().map_err(BundleError::invalid)?)
    }
}

/// The documents of a record.
struct Documents<'a> {
    bundle: &'a Bundle,
    manifest: &'a Manifest,
    found: Vec<Attached>,
}

impl Documents<'_> {
    fn add(&mut self, platform: &str, gave: Option<&Gave>) -> Result<(), BundleError> {
        let Some(gave) = gave else { return Ok(()) };
        let statements = gave.attestations.iter().map(|named| (Role::Statement, named));
        let all: HashMap<&String, &Named> =
            gave.results.values().map(|named| (&named.digest, named)).collect();
        for (role, named) in statements.chain(all.into_values().map(|named| (Role::Result, named))) {
            self.found.push(Attached {
                role,
                platform: platform.to_owned(),
                media_type: named.media_type.clone(),
                annotations: named.annotations.clone(),
                bytes: self.bundle.named(named)?,
            });
        }
        Ok(())
    }

    /// What results name, as far as it came along.
    fn parts(&mut self) -> Result<(), BundleError> {
        for layer in &self.manifest.layers {
            let Some(kind) = layer.annotations.get(super::TRUE_TYPE) else { continue };
            let bytes = self.bundle.bytes(&layer.digest)?;
            if self.found.iter().any(|known| known.role == Role::Result && known.bytes == bytes) {
                continue;
            }
            let mut annotations = layer.annotations.clone();
            annotations.remove(super::TRUE_TYPE);
            let (role, platform, media_type) = (Role::Part, String::new(), kind.clone());
            self.found.push(Attached { role, platform, media_type, annotations, bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dray_engine::build::history::record::BuildRecord;
    use dray_store::Store;

    use super::super::export::{Exports, write};
    use super::*;

    fn history(folder: &Path) -> std::sync::Arc<History> {
        History::open(Store::open(folder).expect("a store"))
    }

    fn bundle(history: &History) -> Vec<u8> {
        let mut out = Vec::new();
        write(
            history,
            Exports::find(history, &[], true, HashMap::new().into_iter().collect()).expect("builds"),
            &mut out,
        )
        .expect("written");
        out
    }

    #[test]
    fn a_bundle_is_read_as_it_was_written_and_once() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let from = history(one.path());
        for id in ["a", "b"] {
            let recording =
                from.begin(BuildRecord { id: id.into(), ..BuildRecord::default() }, Default::default());
            recording.attach(vec![Attached {
                role: Role::Statement,
                platform: String::new(),
                media_type: "application/vnd.in-toto+json".into(),
                annotations: [("in-toto.io/predicate-type".to_owned(), "x".to_owned())].into(),
                bytes: b"{}".to_vec(),
            }]);
            recording.finish(dray_engine::build::history::End::default());
        }
        let bytes = bundle(&from);
        let to = history(two.path());
        let imported = read(&to, bytes.as_slice()).expect("read");
        assert_eq!((imported.taken.len(), imported.there.len()), (2, 0));
        let record = to.find("a").expect("there");
        assert!(record.pinned);
        assert_eq!(to.attachment(&record.attachments[0]).expect("bytes"), b"{}");
        assert_eq!(read(&to, bytes.as_slice()).expect("read").there.len(), 2);
        let left = fs::read_dir(two.path().join("build/history")).expect("the history").flatten();
        assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("import-")));
        to.remove("a").expect("removed");
        to.remove("b").expect("removed");
        let attached = fs::read_dir(two.path().join("build/history/attached")).expect("a folder").count();
        assert_eq!(attached, 0);
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let history = history(dir.path());
        let refused = |bytes: &[u8]| read(&history, bytes).expect_err("refused").to_string();
        assert!(refused(b"no archive at all, and long enough to be none").contains("invalid bundle"));
        assert!(refused(b"").contains("no index.json"));
        let layout = |files: &[(String, Vec<u8>)]| {
            let mut tar = tar::Builder::new(Vec::new());
            for (path, bytes) in files {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice()).expect("a file");
            }
            tar.into_inner().expect("a tar")
        };
        let damaged = layout(&[(format!("blobs/sha256/{}", "a".repeat(64)), b"x".to_vec())]);
        assert!(refused(&damaged).contains("has other bytes"));
        let image =
            serde_json::to_vec(&Manifest::oci(Descriptor::of(media_type::OCI_CONFIG, b"{}"), Vec::new()));
        let image = image.expect("JSON");
        let named = Descriptor::of(media_type::OCI_MANIFEST, &image);
        let index = serde_json::to_vec(&Index::oci(vec![named.clone()])).expect("JSON");
        let other = layout(&[
            ("index.json".to_owned(), index.clone()),
            (format!("blobs/sha256/{}", named.digest.hex()), image),
        ]);
        assert_eq!(refused(&other), "no build records found in the bundle");
        assert!(refused(&layout(&[("index.json".to_owned(), index)])).contains("is missing"));
        assert!(history.list().expect("a list").is_empty());
    }

    #[test]
    fn records_that_share_a_blob_are_bounded_all_the_same() {
        let (one, two) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let from = history(one.path());
        let record = BuildRecord { id: "a".into(), ..BuildRecord::default() };
        from.begin(record, Default::default()).finish(dray_engine::build::history::End::default());
        let mut unpacked = Bundle::unpack(&history(two.path()), bundle(&from).as_slice()).expect("unpacked");
        let index = unpacked.index.as_mut().expect("an index");
        index.manifests = vec![index.manifests[0].clone(); 1_000];
        unpacked.left.set(100 * index.manifests[0].size);
        assert!(unpacked.manifests().expect_err("refused").to_string().contains("bytes together"));
    }
}
