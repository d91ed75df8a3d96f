//! Contexts that stay when their build has ended: the next build from the same folder brings only what has changed.
//!
//! ```text
//! <data-root>/build/kept/<digest of the key>/files/   the context
//! <data-root>/build/kept/<digest of the key>/index    what is in it; missing while somebody changes it
//!
//! begin(key) ─► Receiving ── holds(path, facts), for all that the client has ─► false: it has to be sent
//!                   │        writer().unpack(archive), with what has to be sent
//!                   └─ finish ─► ContextDir ── dropped ─► back under its key
//! ```
//! A file that changes is made anew and never written into. Two builds at once do not share a context: the second one
//! brings all of it. An index counts only as long as the machine runs: after a power cut the files may be less than it
//! says.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{ContextDir, ContextError, Limits, Unpacked, Whole, unpack_into};
use crate::cache::CacheRecord;
use crate::tree::Tree;

/// What BuildKit calls such a record of the cache.
pub(crate) const SOURCE_LOCAL: &str = "source.local";

const FILES: &str = "files";
const INDEX: &str = "index";
/// How long a build waits for the context that another one is about to give back.
const PATIENCE: Duration = Duration::from_secs(10);
/// A file that changed so shortly before it was looked at may change again without being seen to: clocks of file
/// systems tick this slowly.
const TICK: i64 = 20_000_000;
/// Bytes of a block of most file systems.
const BLOCK: u64 = 4096;
const SECOND: i64 = 1_000_000_000;

/// What something in a context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum FileKind {
    /// A file with content of its own.
    File = 0,
    /// A directory.
    Folder = 1,
    /// A symbolic link.
    Symlink = 2,
    /// Another name of a file.
    Hardlink = 3,
    /// A fifo or a device.
    Special = 4,
}

/// What is compared of something in a context.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Facts {
    /// A [`FileKind`].
    #[prost(enumeration = "FileKind", tag = "1")]
    pub kind: i32,
    /// Permissions, in the client's own numbers.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    /// In bytes.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// When its content changed, in nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub modified: i64,
    /// When anything of it changed; 0 where the client does not say. Nobody can set it.
    #[prost(int64, tag = "5")]
    pub changed: i64,
    /// Where a link leads to.
    #[prost(string, tag = "6")]
    pub link: String,
}

impl Facts {
    fn is(&self, kind: FileKind) -> bool {
        self.kind() == kind
    }

    /// What it takes on a disk of the usual blocks.
    fn on_disk(&self) -> u64 {
        match self.kind() {
            FileKind::File => self.size.next_multiple_of(BLOCK),
            FileKind::Folder => BLOCK,
            FileKind::Symlink | FileKind::Special | FileKind::Hardlink => 0,
        }
    }

    /// Whether two files of these facts are sure to be the same. A time without a fraction of a second was set by a
    /// program, which sets it for files of many contents.
    fn tell(&self) -> bool {
        self.changed != 0 || self.modified % SECOND != 0 || !self.is(FileKind::File)
    }
}

/// Something in a kept context.
#[derive(Clone, PartialEq, Eq, Message)]
struct Known {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, required, tag = "2")]
    facts: Facts,
    #[prost(uint64, tag = "3")]
    inode: u64,
    /// SHA-256 of a file's content.
    #[prost(bytes = "vec", tag = "4")]
    content: Vec<u8>,
}

/// What an index begins with.
#[derive(Clone, PartialEq, Eq, Message)]
struct About {
    #[prost(string, tag = "1")]
    boot: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(uint64, tag = "3")]
    size: u64,
    /// Seconds since 1970.
    #[prost(int64, tag = "4")]
    created: i64,
    #[prost(int64, tag = "5")]
    used: i64,
    #[prost(uint64, tag = "6")]
    uses: u64,
}

type Index = HashMap<String, Known>;

/// The kept contexts of a data root.
#[derive(Clone, Debug)]
pub struct KeptContexts(Arc<All>);

#[derive(Debug)]
struct All {
    root: PathBuf,
    /// Where those that are not kept are unpacked.
    parent: PathBuf,
    boot: String,
    taken: Mutex<HashMap<String, Taken>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    InUse,
    /// It is about to be given back.
    Returning,
}

impl KeptContexts {
    /// Those below `root`; what a killed process left half changed is removed.
    pub(crate) fn open(root: PathBuf, parent: PathBuf) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let all = All { root, parent, boot, taken: Mutex::default(), changed: Condvar::new() };
        for name in all.names() {
            if all.about(&name).is_none() {
                all.delete(&name);
            }
        }
        KeptContexts(Arc::new(all))
    }

    /// Begins to receive the context of this key; `description` is for people.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn begin(&self, key: &str, description: &str) -> Result<Receiving, ContextError> {
        let name = hex::encode(&Sha256::digest(key)[..16]);
        let place = match self.take(&name) {
            None => Place::Passing(ContextDir::create(&self.0.parent)?),
            Some(hold) => Place::Kept { about: self.about_of(&name, description), hold },
        };
        let old = match &place {
            Place::Kept { .. } => self.0.read(&name).unwrap_or_default(),
            Place::Passing(_) => Index::new(),
        };
        let began = nanos(SystemTime::now());
        Ok(Receiving { place, old, offered: Vec::new(), began, written: false })
    }

    fn about_of(&self, name: &str, description: &str) -> About {
        let now = seconds(SystemTime::now());
        let about = self.0.about(name).unwrap_or(About { created: now, ..About::default() });
        let description = description.to_owned();
        About { boot: self.0.boot.clone(), description, used: now, uses: about.uses + 1, ..about }
    }

    /// Takes a name, waiting for one that is just being given back; `None` if another build has it.
    fn take(&self, name: &str) -> Option<Hold> {
        let returning = |taken: &mut HashMap<String, Taken>| taken.get(name) == Some(&Taken::Returning);
        let waited = self.0.changed.wait_timeout_while(self.0.taken(), PATIENCE, returning);
        let mut taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        if taken.contains_key(name) {
            return None;
        }
        taken.insert(name.to_owned(), Taken::InUse);
        Some(Hold { all: Arc::clone(&self.0), name: name.to_owned() })
    }

    /// All of them, as records of the cache.
    pub(crate) fn records(&self) -> Vec<CacheRecord> {
        let time = |seconds| jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
        let record = |name: String| {
            let in_use = self.0.taken().contains_key(&name);
            let about = self.0.about(&name).or_else(|| in_use.then(About::default))?;
            Some(CacheRecord {
                id: name.clone(),
                kind: SOURCE_LOCAL,
                parents: Vec::new(),
                description: format!("local source for {}", about.description),
                in_use,
                shared: false,
                size: about.size + self.0.index_size(&name),
                created: time(about.created),
                last_used: (about.uses > 1).then(|| time(about.used)),
                uses: about.uses,
            })
        };
        self.0.names().into_iter().filter_map(record).collect()
    }

    /// Removes one, unless a build has it; false if it stays.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let hold = self.take(name);
        hold.is_some_and(|hold| {
            hold.all.delete(&hold.name);
            true
        })
    }
}

impl All {
    fn taken(&self) -> MutexGuard<'_, HashMap<String, Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    fn index_path(&self, name: &str) -> PathBuf {
        self.root.join(name).join(INDEX)
    }

    /// What a context's index takes on the disk, with the folder that both are in.
    fn index_size(&self, name: &str) -> u64 {
        fs::metadata(self.index_path(name)).map_or(0, |meta| meta.blocks() * 512) + BLOCK
    }

    /// What an index says of itself, if it counts.
    fn about(&self, name: &str) -> Option<About> {
        let mut head = Vec::new();
        fs::File::open(self.index_path(name)).ok()?.take(4096).read_to_end(&mut head).ok()?;
        let about = About::decode_length_delimited(head.as_slice()).ok()?;
        (about.boot == self.boot).then_some(about)
    }

    fn read(&self, name: &str) -> Option<Index> {
        let bytes = fs::read(self.index_path(name)).ok()?;
        let mut rest = bytes.as_slice();
        let about = About::decode_length_delimited(&mut rest).ok()?;
        let mut index = Index::new();
        while !rest.is_empty() {
            let known = Known::decode_length_delimited(&mut rest).ok()?;
            index.insert(known.path.clone(), known);
        }
        (about.boot == self.boot).then_some(index)
    }

    fn write(&self, name: &str, about: &About, index: &Index) -> io::Result<()> {
        let mut bytes = about.encode_length_delimited_to_vec();
        for known in index.values() {
            known.encode_length_delimited(&mut bytes).map_err(io::Error::other)?;
        }
        let draft = self.index_path(name).with_extension("draft");
        fs::write(&draft, bytes)?;
        fs::rename(draft, self.index_path(name))
    }

    fn delete(&self, name: &str) {
        let path = self.root.join(name);
        if let Err(error) = dray_store::remove_tree(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a kept build context");
        }
    }
}

/// A name that nobody else has; given back when dropped.
#[derive(Debug)]
struct Hold {
    all: Arc<All>,
    name: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.all.taken().remove(&self.name);
        self.all.changed.notify_all();
    }
}

/// Where a context is received.
#[derive(Debug)]
enum Place {
    Kept {
        about: About,
        hold: Hold,
    },
    /// It goes with its build.
    Passing(ContextDir),
}

/// A context on its way. Dropped before [`Receiving::finish`], nothing of what came stays.
#[derive(Debug)]
pub struct Receiving {
    place: Place,
    old: Index,
    offered: Vec<Offered>,
    /// In nanoseconds since 1970.
    began: i64,
    written: bool,
}

/// What the client has, and whether it is here.
#[derive(Debug)]
struct Offered {
    path: String,
    facts: Facts,
    held: bool,
}

impl Receiving {
    /// Takes note of something that the client has, folders before what is in them. True if it is here as it is there;
    /// else it has to come.
    pub fn holds(&mut self, path: &str, facts: Facts) -> bool {
        let kept = matches!(facts.kind(), FileKind::File | FileKind::Symlink | FileKind::Special);
        let same = || self.old.get(path).is_some_and(|known| known.facts == facts);
        let held = kept && facts.tell() && same();
        self.offered.push(Offered { path: path.to_owned(), facts, held });
        held
    }

    /// What writes into it.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn writer(&mut self) -> Result<ContextWriter, ContextError> {
        let dir = self.dir();
        if let Place::Kept { hold, .. } = &self.place {
            let failed = |source| ContextError::Create { path: dir.clone(), source };
            self.written = true;
            match self.old.is_empty() {
                // What is there without an index is no context.
                true => hold.all.delete(&hold.name),
                false => fs::remove_file(hold.all.index_path(&hold.name)).map_err(&failed)?,
            }
            fs::create_dir_all(&dir).map_err(&failed)?;
        }
        Ok(ContextWriter { dir })
    }

    fn dir(&self) -> PathBuf {
        match &self.place {
            Place::Kept { hold, .. } => hold.all.root.join(&hold.name).join(FILES),
            Place::Passing(context) => context.path().to_owned(),
        }
    }

    /// The context, when all that was missing has come.
    ///
    /// # Errors
    /// If what came is not what was missing, or what is no longer there cannot be removed.
    pub fn finish(mut self, unpacked: Unpacked) -> Result<ContextDir, ContextError> {
        let index = self.settle(unpacked)?;
        self.remove_what_is_gone(&index)?;
        let file = |known: &Known| Some((known.inode, <[u8; 32]>::try_from(known.content.as_slice()).ok()?));
        let hashes = Arc::new(index.values().filter_map(file).collect());
        let path = self.dir();
        // What is not kept goes with the value that it came in.
        let passing =
            Place::Passing(ContextDir { whole: Arc::default(), path: path.clone(), hashes: Arc::default() });
        match std::mem::replace(&mut self.place, passing) {
            Place::Passing(context) => Ok(ContextDir { hashes, ..context }),
            Place::Kept { about, hold } => {
                let size = index.values().map(|known| known.facts.on_disk()).sum::<u64>() + BLOCK;
                let about = About { size, ..about };
                let kept = Kept { hold, about, index: Mutex::new(index) };
                Ok(ContextDir { whole: Arc::new(Whole::kept(path.clone(), kept)), path, hashes })
            }
        }
    }

    /// What is in it now.
    fn settle(&mut self, mut unpacked: Unpacked) -> Result<Index, ContextError> {
        let mut index = Index::with_capacity(self.offered.len());
        let strange = |path: &str| ContextError::Listing(path.to_owned());
        for Offered { path, mut facts, held } in std::mem::take(&mut self.offered) {
            place_below_folders(&mut index, &path).ok_or_else(|| strange(&path))?;
            let (inode, content) = match (held, facts.kind()) {
                (true, _) => {
                    let known = self.old.get_mut(&path).ok_or_else(|| strange(&path))?;
                    (known.inode, std::mem::take(&mut known.content))
                }
                (false, FileKind::File) => {
                    let (inode, hash) = unpacked.0.remove(&path).ok_or_else(|| strange(&path))?;
                    if facts.modified.max(facts.changed) >= self.began - TICK {
                        // Never the same as anything.
                        facts.mode = u32::MAX;
                    }
                    (inode, hash.to_vec())
                }
                (false, _) => (0, Vec::new()),
            };
            let known = Known { path: path.clone(), facts, inode, content };
            // A folder may have been known by what is in it before.
            if index.insert(path.clone(), known).is_some_and(|before| before != implied(&path)) {
                return Err(strange(&path));
            }
        }
        match unpacked.0.into_keys().next() {
            Some(path) => Err(strange(&path)),
            None => Ok(index),
        }
    }

    fn remove_what_is_gone(&self, index: &Index) -> Result<(), ContextError> {
        let dir = self.dir();
        let failed = |path: &str| {
            let path = path.to_owned();
            move |source| ContextError::File { operation: "remove", path, source }
        };
        let tree = Tree::open(&dir).map_err(|source| ContextError::Create { path: dir.clone(), source })?;
        for path in self.old.keys().filter(|path| !index.contains_key(*path)) {
            let parent = parent_of(path);
            // What was below something that went has gone with it.
            if !parent.is_empty() && !index.get(parent).is_some_and(|known| known.facts.is(FileKind::Folder))
            {
                continue;
            }
            let real = tree.resolve(Path::new(parent)).map_err(failed(path))?;
            if real != Path::new(if parent.is_empty() { "." } else { parent }) {
                return Err(ContextError::Listing(path.clone()));
            }
            tree.remove(Path::new(path)).map_err(failed(path))?;
        }
        Ok(())
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Place::Kept { hold, .. } = &self.place
            && self.written
        {
            hold.all.delete(&hold.name);
        }
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A folder that nobody has spoken of but for what is in it.
fn implied(path: &str) -> Known {
    let facts = Facts { kind: FileKind::Folder as i32, ..Facts::default() };
    Known { path: path.to_owned(), facts, ..Known::default() }
}

/// Whether a path can be where it is: clean, and below folders alone, which are noted.
fn place_below_folders(index: &mut Index, path: &str) -> Option<()> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let mut parent = parent_of(path);
    while !parent.is_empty() {
        match index.get(parent) {
            Some(known) if known.facts.is(FileKind::Folder) => return Some(()),
            Some(_) => return None,
            None => index.insert(parent.to_owned(), implied(parent)),
        };
        parent = parent_of(parent);
    }
    Some(())
}

/// Writes what has to come into a context.
#[derive(Debug)]
pub struct ContextWriter {
    dir: PathBuf,
}

impl ContextWriter {
    /// Unpacks a tar, plain or compressed. Blocks.
    ///
    /// # Errors
    /// When the archive is broken or hostile, exceeds `limits`, or does not fit onto the disk.
    pub fn unpack(self, reader: impl Read + Send, limits: &Limits) -> Result<Unpacked, ContextError> {
        unpack_into(reader, &self.dir, limits)
    }
}

/// What a context that is kept has with it.
#[derive(Debug)]
pub(super) struct Kept {
    hold: Hold,
    about: About,
    index: Mutex<Index>,
}

impl Kept {
    /// Says that it will soon be there for the next build.
    pub(super) fn returning(&self) {
        self.hold.all.taken().insert(self.hold.name.clone(), Taken::Returning);
    }

    /// Forgets what was removed, with what was below it.
    pub(super) fn forget(&self, removed: &HashSet<String>) {
        let gone = |path: &str| {
            let mut path = path;
            loop {
                if removed.contains(path) {
                    return true;
                }
                path = parent_of(path);
                if path.is_empty() {
                    return false;
                }
            }
        };
        self.index.lock().unwrap_or_else(PoisonError::into_inner).retain(|path, _| !gone(path));
    }

    /// Gives it back for the next build.
    pub(super) fn give_back(&self) {
        let Hold { all, name } = &self.hold;
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = all.write(name, &self.about, &index) {
            tracing::warn!(%error, name, "a build context is not kept");
            all.delete(name);
        }
    }
}

fn nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    i64::try_from(since).unwrap_or(i64::MAX)
}

fn seconds(time: SystemTime) -> i64 {
    nanos(time) / SECOND
}
