//! `volume backup` and `volume restore`.
//!
//! ```text
//! backup   look at everything ── freeze its users ── look at what has changed ── unfreeze ── the last pack, documents
//! restore  a draft ── the tree's files, empty ── packs as they come ── owners, modes, times ── named
//! ```
//! Packs of the second look wait in memory for the users to go on, so that a slow client freezes nobody for long.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};

use dray_api::Labels;
use dray_api::extension::VolumeBackup;
use dray_api::volume::Volume;
use dray_backup::{Archive, Documents, Incoming, LayoutWriter, Restore, Sink, Taking, Tree, VolumeConfig};
use dray_registry::Repository;
use dray_spec::{Descriptor, Digest};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::hold::Hold;
use super::{Error, Service};
use crate::timestamp;

/// Packs that wait while the users are frozen; with more of them, they stay frozen until the client has taken some.
const WAITING: usize = 8;
/// Packs on their way to or from a registry.
const UNDER_WAY: usize = 2;
/// Longest tree and longest pack that are fetched.
const MAX_TREE: u64 = 1 << 30;
const MAX_PACK: u64 = 64 << 20;
const MAX_CONFIG: u64 = 4 << 20;

/// How a backup is taken.
#[derive(Debug, Clone, Default)]
pub struct Backup {
    /// Containers that write to the volume go on meanwhile.
    pub no_pause: bool,
    /// An earlier backup, whose packs need not come again.
    pub base: Option<Documents>,
}

/// What became of a backup.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its documents.
    pub documents: Documents,
    /// Its numbers.
    pub summary: VolumeBackup,
}

impl Service {
    /// Takes a backup; its packs go to `sink`, which comes back with the documents.
    ///
    /// # Errors
    /// [`Error::NotFound`], or if the volume cannot be read, its users cannot be held, or the sink fails.
    pub fn take_backup<S: Sink>(&self, name: &str, backup: Backup, sink: S) -> Result<(Told, S), Error> {
        let failed = |source| Error::Backup { operation: "backup", name: name.to_owned(), source };
        let reading = self.reading(name, "backup")?;
        let base = backup.base.as_ref();
        let tree = base.map(Documents::tree).transpose().map_err(failed)?;
        let mut taking = Taking::new(Patient::new(sink), tree);
        taking.look(&reading.path).map_err(failed)?;
        let written = self.holder().is_some_and(|holder| holder.is_written(name));
        let mut taken = Timestamp::now();
        if written && !backup.no_pause {
            taking.sink_mut().waits = true;
            self.held(name, Hold::Pause, || {
                taken = Timestamp::now();
                taking.look(&reading.path).map_err(failed)
            })?;
            taking.sink_mut().go_on().map_err(|error| failed(dray_backup::Error::Write(error)))?;
        }
        let (tree, patient) = taking.finish().map_err(failed)?;
        let record = self.find(name)?;
        let config = VolumeConfig {
            name: record.name,
            driver: record.driver,
            labels: record.labels.unwrap_or_default().into_iter().collect(),
            options: without_password(record.options.unwrap_or_default()),
            created: record.created,
            taken: timestamp::rfc3339(taken),
            ..VolumeConfig::default()
        };
        let base = base.map(Documents::digest);
        let documents = Documents::of(&tree, config, base.as_ref()).map_err(failed)?;
        let summary = summary(&documents, &tree, &patient).map_err(failed)?;
        Ok((Told { documents, summary }, patient.inner))
    }

    /// Takes a backup as an archive.
    ///
    /// # Errors
    /// As [`Service::take_backup`].
    pub fn backup_to(&self, name: &str, backup: Backup, out: impl Write) -> Result<Told, Error> {
        let failed = |error| Error::Backup {
            operation: "backup",
            name: name.to_owned(),
            source: dray_backup::Error::Write(error),
        };
        let (told, writer) = self.take_backup(name, backup, LayoutWriter::new(out).map_err(failed)?)?;
        writer.finish(&told.documents).and_then(|mut out| out.flush()).map_err(failed)?;
        Ok(told)
    }

    /// Whether there is such a volume.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn check_backup(&self, name: &str) -> Result<(), Error> {
        self.find(name).map(drop)
    }

    /// Takes a backup into a registry. What the tag has there already is its base, unless `full`.
    ///
    /// # Errors
    /// As [`Service::take_backup`], and if the registry fails.
    pub async fn push_backup(
        self: std::sync::Arc<Self>,
        name: String,
        mut backup: Backup,
        repository: Repository,
        tag: &str,
        full: bool,
    ) -> Result<VolumeBackup, Error> {
        self.check_backup(&name)?;
        if !full {
            backup.base = fetch_base(&repository, tag).await?;
        }
        let (sender, mut packs) = mpsc::channel(UNDER_WAY);
        // The sink goes when all is taken: then nothing more comes.
        let work = move || self.take_backup(&name, backup, ToRegistry(sender)).map(|(told, _)| told);
        let taking = tokio::task::spawn_blocking(work);
        while let Some((descriptor, blob)) = packs.recv().await {
            send(&repository, &descriptor, blob).await?;
        }
        let told = taking.await.map_err(|_| Error::Interrupted("the backup"))??;
        let Documents { manifest, config, tree } = told.documents;
        for blob in [config, tree] {
            send(&repository, &Descriptor::of("", &blob), blob).await?;
        }
        repository.put_manifest(tag, "application/vnd.oci.image.manifest.v1+json", manifest.into()).await?;
        Ok(told.summary)
    }

    /// Makes a volume of an archive, read while it arrives if it is in order, else from a copy on the disk. Its labels
    /// are those of the backup with `labels` over them.
    ///
    /// # Errors
    /// [`Error::Exists`], a bad name, or if the archive is none, is not whole, or the disk fails; nothing is left then.
    pub fn restore_from(&self, name: &str, labels: Labels, mut from: impl Read) -> Result<Volume, Error> {
        let failed = |source| Error::Backup { operation: "restore", name: name.to_owned(), source };
        let draft = self.draft("restore", name)?;
        let begin = |documents: Documents| {
            let config = documents.volume()?;
            Ok((Restore::begin(&draft.data(), documents.tree()?)?, config))
        };
        let mut beginning = Vec::new();
        let read = from.by_ref().take(512).read_to_end(&mut beginning);
        read.map_err(|error| failed(dray_backup::Error::Read(error)))?;
        let in_order = Incoming::<io::Empty>::is_in_order(&beginning);
        let whole = io::Cursor::new(beginning).chain(from);
        let (restore, config) = if in_order {
            Incoming::new(whole)
                .read(begin, |(restore, _), digest, blob| restore.pack(digest, blob))
                .map_err(failed)?
        } else {
            let mut archive = Archive::open(self.spool(whole)?).map_err(failed)?;
            let (mut restore, config) = archive.documents().and_then(begin).map_err(failed)?;
            for (digest, _) in restore.wanted() {
                if let Some((_, blob)) = archive.blob(&digest).map_err(failed)? {
                    restore.pack(&digest, blob).map_err(failed)?;
                }
            }
            (restore, config)
        };
        restore.finish().map_err(failed)?;
        draft.name("restore", name, labels_of(config, labels))
    }

    /// Makes a volume of a backup in a registry.
    ///
    /// # Errors
    /// As [`Service::restore_from`], and if the registry fails.
    pub async fn restore_pulled(
        self: std::sync::Arc<Self>,
        name: String,
        labels: Labels,
        repository: Repository,
        tag: &str,
    ) -> Result<Volume, Error> {
        self.must_be_new("restore", &name)?;
        let failed = {
            let name = name.clone();
            move |source| Error::Backup { operation: "restore", name: name.clone(), source }
        };
        let manifest = repository.manifest(tag).await?;
        let documents = fetch_documents(&repository, manifest.bytes.into()).await?.map_err(&failed)?;
        let packs = Documents::read_manifest(&documents.manifest).map_err(&failed)?.layers.split_off(1);
        let (sender, mut arrived) = mpsc::channel::<(Digest, Vec<u8>)>(UNDER_WAY);
        let work = move || {
            let draft = self.draft("restore", &name)?;
            let config = documents.volume().map_err(&failed)?;
            let tree = documents.tree().map_err(&failed)?;
            let mut restore = Restore::begin(&draft.data(), tree).map_err(&failed)?;
            while let Some((digest, blob)) = arrived.blocking_recv() {
                restore.pack(&digest, blob.as_slice()).map_err(&failed)?;
            }
            restore.finish().map_err(&failed)?;
            draft.name("restore", &name, labels_of(config, labels))
        };
        let restoring = tokio::task::spawn_blocking(work);
        let fetch = |pack: Descriptor| {
            let repository = &repository;
            async move {
                let blob = repository.small_blob(&pack, MAX_PACK).await;
                blob.map(|blob| (pack.digest, blob))
            }
        };
        let mut coming = futures_util::stream::iter(packs).map(fetch).buffered(UNDER_WAY);
        let mut broken = None;
        while let Some(pack) = coming.next().await {
            let gone = match pack {
                // Who restores has failed and says why.
                Ok(pack) => sender.send(pack).await.is_err(),
                Err(error) => {
                    broken = Some(error);
                    true
                }
            };
            if gone {
                break;
            }
        }
        drop(sender);
        let restored = restoring.await.map_err(|_| Error::Interrupted("the restore"))?;
        match broken {
            Some(error) => Err(error.into()),
            None => restored,
        }
    }

    /// Keeps an archive on the disk until it is read.
    fn spool(&self, mut from: impl Read) -> Result<std::fs::File, Error> {
        let folder = self.store.root().join("ingest");
        let path = folder.join(format!("spool-{}", crate::container::names::new_id()));
        let mut keep = || {
            let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            io::copy(&mut from, &mut file)?;
            file.rewind()?;
            Ok(file)
        };
        keep().map_err(Error::io("keep the backup in", &folder))
    }
}

/// Reads the documents of an earlier backup: the beginning of an archive in order.
///
/// # Errors
/// If they are none.
pub fn read_base(name: &str, from: impl Read) -> Result<Documents, Error> {
    let failed = |source| Error::Backup { operation: "backup", name: name.to_owned(), source };
    Incoming::new(from).read(Ok, |_, _, _| Ok(())).map_err(failed)
}

fn labels_of(config: VolumeConfig, over: Labels) -> Labels {
    let mut labels: Labels = config.labels.into_iter().collect();
    labels.remove(super::ANONYMOUS);
    labels.remove(super::SNAPSHOT);
    labels.extend(over);
    labels
}

/// Options as they go into an archive: passwords stay out of it.
fn without_password(options: Labels) -> BTreeMap<String, String> {
    let hidden = |(option, value): (String, String)| {
        let value = if option == "o" { super::local::without_password(&value) } else { value };
        (option, value)
    };
    options.into_iter().map(hidden).collect()
}

fn summary<S>(
    documents: &Documents,
    tree: &Tree,
    sink: &Patient<S>,
) -> Result<VolumeBackup, dray_backup::Error> {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let config = documents.volume()?;
    Ok(VolumeBackup {
        volume: config.name,
        digest: documents.digest().to_string(),
        taken: config.taken,
        files: number(config.files),
        size: number(config.bytes),
        packs: number(tree.packs.len() as u64),
        new_packs: number(sink.packs),
        new_bytes: number(sink.bytes),
    })
}

/// A sink whose packs may have to wait.
struct Patient<S> {
    inner: S,
    waits: bool,
    waiting: Vec<(Digest, u64, Vec<u8>)>,
    packs: u64,
    bytes: u64,
}

impl<S: Sink> Patient<S> {
    fn new(inner: S) -> Self {
        Patient { inner, waits: false, waiting: Vec::new(), packs: 0, bytes: 0 }
    }

    fn go_on(&mut self) -> io::Result<()> {
        self.waits = false;
        std::mem::take(&mut self.waiting)
            .into_iter()
            .try_for_each(|(digest, size, blob)| self.inner.pack(&digest, size, blob))
    }
}

impl<S: Sink> Sink for Patient<S> {
    fn pack(&mut self, digest: &Digest, size: u64, blob: Vec<u8>) -> io::Result<()> {
        self.packs += 1;
        self.bytes += size;
        if self.waits && self.waiting.len() < WAITING {
            self.waiting.push((digest.clone(), size, blob));
            return Ok(());
        }
        let waits = self.waits;
        self.go_on()?;
        self.waits = waits;
        self.inner.pack(digest, size, blob)
    }
}

/// Hands packs to the task that sends them.
struct ToRegistry(mpsc::Sender<(Descriptor, Vec<u8>)>);

impl Sink for ToRegistry {
    fn pack(&mut self, digest: &Digest, size: u64, blob: Vec<u8>) -> io::Result<()> {
        let pack = (Descriptor::new("", digest.clone(), size), blob);
        // The other end says why it is gone.
        self.0.blocking_send(pack).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn send(repository: &Repository, descriptor: &Descriptor, blob: Vec<u8>) -> Result<(), Error> {
    if !repository.has_blob(&descriptor.digest).await? {
        repository.upload_bytes(descriptor, blob.into()).await?;
    }
    Ok(())
}

/// The backup that a tag has; none if it has none, or something else.
async fn fetch_base(repository: &Repository, tag: &str) -> Result<Option<Documents>, Error> {
    match repository.manifest(tag).await {
        Ok(manifest) => Ok(fetch_documents(repository, manifest.bytes.into()).await?.ok()),
        Err(error) if error.kind() == dray_registry::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn fetch_documents(
    repository: &Repository,
    manifest: Vec<u8>,
) -> Result<Result<Documents, dray_backup::Error>, Error> {
    let read = match Documents::read_manifest(&manifest) {
        Ok(read) => read,
        Err(error) => return Ok(Err(error)),
    };
    let config = repository.small_blob(&read.config, MAX_CONFIG).await?;
    let tree = repository.small_blob(&read.layers[0], MAX_TREE).await?;
    Ok(Ok(Documents { manifest, config, tree }))
}
