//! Taking a backup: the folder is walked, files are cut into chunks, and those that are new go into packs.
//!
//! A volume that is in use can be looked at more than once: first while its users run, then, with them held, only for
//! what has changed meanwhile. What tells whether a file has changed is its inode, its length and the two times. A
//! write through a mapping changes the times only when it first dirties a page; so [`Taking::look`] first has the file
//! system write its pages back, which write-protects them, and trusts no file whose times are younger than the moment
//! before that (less the grain of the kernel's clock).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dray_spec::Digest;
use rustix::fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags, SeekFrom as SysSeek, Stat};
use rustix::io::Errno;

use crate::chunk;
use crate::error::Error;
use crate::node::{Kind, Node, PathText, Seen, Time};
use crate::pack::{Chunk, ChunkId, Filling, Pack};
use crate::tree::Tree;

/// Times younger than this before a look are not trusted.
const GRAIN: Duration = Duration::from_secs(1);
/// Deepest nesting that is followed.
const DEEPEST: usize = 512;
/// Longest list of attributes, longest attribute (the kernel's own limits).
const XATTRS: usize = 64 * 1024;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where packs go as they get full.
pub trait Sink {
    /// Takes a pack's blob.
    ///
    /// # Errors
    /// If it cannot; the backup fails with it.
    fn pack(&mut self, digest: &Digest, size: u64, blob: Vec<u8>) -> io::Result<()>;
}

/// A backup being taken.
pub struct Taking<S> {
    sink: S,
    packs: Vec<Pack>,
    /// Where each chunk is, in the count of all packs, the one being filled the last.
    known: HashMap<ChunkId, u32>,
    count: u32,
    filling: Option<Filling>,
    /// Files of an earlier look or backup by their path.
    earlier: HashMap<Vec<u8>, Earlier>,
    nodes: Vec<Node>,
}

struct Earlier {
    seen: Seen,
    mtime: Time,
    size: u64,
    chunks: Vec<(u64, u32)>,
}

impl<S: Sink> Taking<S> {
    /// Begins a backup, against an earlier one if there is one.
    pub fn new(sink: S, base: Option<Tree>) -> Self {
        let mut taking = Taking {
            sink,
            packs: Vec::new(),
            known: HashMap::new(),
            count: 0,
            filling: None,
            earlier: HashMap::new(),
            nodes: Vec::new(),
        };
        if let Some(base) = base {
            for Chunk(id, _) in base.packs.iter().flat_map(|pack| &pack.chunks) {
                taking.known.insert(*id, taking.count);
                taking.count += 1;
            }
            taking.packs = base.packs;
            taking.nodes = base.nodes;
        }
        taking
    }

    /// Where packs go.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Looks at the folder. Files that an earlier look or the base has seen as they are now are not read again; what
    /// vanishes meanwhile is left out.
    ///
    /// # Errors
    /// If it cannot be read, or the sink fails.
    pub fn look(&mut self, root: &Path) -> Result<(), Error> {
        let remember = |node: Node| {
            let (path, size, mtime) = (node.path.0, node.size, node.mtime);
            Some((path, Earlier { seen: node.seen?, mtime, size, chunks: node.chunks }))
        };
        self.earlier.extend(std::mem::take(&mut self.nodes).into_iter().filter_map(remember));
        let began = SystemTime::now();
        let folder = sys::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let folder = folder.map_err(|errno| Error::file("open", root)(errno.into()))?;
        sys::syncfs(&folder).map_err(|errno| Error::file("write back", root)(errno.into()))?;
        let settled = time_of(began.checked_sub(GRAIN).unwrap_or(UNIX_EPOCH));
        let mut walk = Walk { taking: self, settled, names: HashMap::new(), path: Vec::new() };
        walk.root(folder.as_fd())
    }

    /// The tree of the last look, with the packs that it needs; the last one goes to the sink.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn finish(mut self) -> Result<(Tree, S), Error> {
        self.close_pack()?;
        let (mut old_starts, mut next) = (Vec::new(), 0);
        for pack in &self.packs {
            old_starts.push(next);
            next += pack.chunks.len() as u32;
        }
        let pack_of = |chunk: u32| old_starts.partition_point(|start| *start <= chunk) - 1;
        let mut used = vec![false; self.packs.len()];
        for (_, chunk) in self.nodes.iter().flat_map(|node| &node.chunks) {
            used[pack_of(*chunk)] = true;
        }
        let (mut new_starts, mut next) = (Vec::new(), 0);
        for (pack, used) in self.packs.iter().zip(&used) {
            new_starts.push(next);
            next += if *used { pack.chunks.len() as u32 } else { 0 };
        }
        for (_, chunk) in self.nodes.iter_mut().flat_map(|node| &mut node.chunks) {
            let pack = pack_of(*chunk);
            *chunk = new_starts[pack] + (*chunk - old_starts[pack]);
        }
        let packs =
            self.packs.into_iter().zip(used).filter_map(|(pack, used)| used.then_some(pack)).collect();
        Ok((Tree { packs, nodes: self.nodes }, self.sink))
    }

    /// The number of the chunk with these bytes, which go into a pack if they are new.
    fn chunk(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let id = ChunkId::of(bytes);
        if let Some(number) = self.known.get(&id) {
            return Ok(*number);
        }
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None => Filling::new()?,
        };
        filling.add(id, bytes)?;
        let number = self.count;
        self.known.insert(id, number);
        self.count = self.count.checked_add(1).ok_or_else(|| io::Error::other("too many chunks"))?;
        let full = filling.is_full();
        self.filling = Some(filling);
        if full {
            self.close_pack().map_err(io::Error::other)?;
        }
        Ok(number)
    }

    fn close_pack(&mut self) -> Result<(), Error> {
        if let Some(filling) = self.filling.take().filter(|filling| !filling.is_empty()) {
            let (pack, blob) = filling.close().map_err(Error::Write)?;
            self.sink.pack(&pack.digest, pack.size, blob).map_err(Error::Write)?;
            self.packs.push(pack);
        }
        Ok(())
    }
}

/// One look.
struct Walk<'a, S> {
    taking: &'a mut Taking<S>,
    /// Files that changed before this can be recognised later.
    settled: Time,
    /// Files with several names by device and inode: the first name's node.
    names: HashMap<(u64, u64), u32>,
    path: Vec<u8>,
}

impl<S: Sink> Walk<'_, S> {
    fn root(&mut self, root: BorrowedFd<'_>) -> Result<(), Error> {
        let stat = sys::fstat(root).map_err(|errno| self.failed("look at")(errno.into()))?;
        let mut node = self.node(Kind::Dir, &stat);
        node.xattrs = attributes(root).map_err(self.failed("read the attributes of"))?;
        self.taking.nodes.push(node);
        self.folder(root, stat.st_dev, 0)
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error + use<S> {
        Error::file(operation, PathText(self.path.clone()).path().to_owned())
    }

    fn folder(&mut self, folder: BorrowedFd<'_>, device: u64, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(self.failed("go into")(Errno::NAMETOOLONG.into()));
        }
        let mut names = Vec::new();
        let entries = Dir::read_from(folder).map_err(|errno| self.failed("list")(errno.into()))?;
        for entry in entries {
            let entry = entry.map_err(|errno| self.failed("list")(errno.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_bytes().to_vec());
            }
        }
        // The same volume gives the same backup.
        names.sort_unstable();
        for name in names {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            match self.entry(folder, &name, device, depth) {
                Err(Error::File { source, .. }) if vanished(&source) => {}
                other => other?,
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, folder: BorrowedFd<'_>, name: &[u8], device: u64, depth: usize) -> Result<(), Error> {
        let stat = sys::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|errno| self.failed("look at")(errno.into()))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Dir,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            // A socket is nothing without the program behind it.
            _ => return Ok(()),
        };
        let mut node = self.node(kind, &stat);
        let linked = kind != Kind::Dir && stat.st_nlink > 1;
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.names.get(&key).filter(|_| linked) {
            self.taking.nodes.push(Node { first: Some(*first), size: 0, seen: None, ..node });
            return Ok(());
        }
        match kind {
            Kind::Dir => {
                let open = self.open(folder, name, FOLDER)?;
                node.xattrs = attributes(open.as_fd()).map_err(self.failed("read the attributes of"))?;
                self.taking.nodes.push(node);
                // What is mounted inside is not the volume's.
                if stat.st_dev == device {
                    self.folder(open.as_fd(), device, depth + 1)?;
                }
                return Ok(());
            }
            Kind::File => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let open = self.open(folder, name, flags)?;
                node.xattrs = attributes(open.as_fd()).map_err(self.failed("read the attributes of"))?;
                self.content(open, &mut node)?;
            }
            Kind::Symlink => {
                let target = sys::readlinkat(folder, name, Vec::new());
                let target = target.map_err(|errno| self.failed("read")(errno.into()))?;
                node.target = Some(PathText(target.into_bytes()));
            }
            Kind::Char | Kind::Block => {
                node.device = Some((sys::major(stat.st_rdev), sys::minor(stat.st_rdev)));
            }
            Kind::Fifo => {}
        }
        if linked {
            self.names.insert(key, self.taking.nodes.len() as u32);
        }
        self.taking.nodes.push(node);
        Ok(())
    }

    fn open(&self, folder: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
        sys::openat(folder, name, flags, Mode::empty()).map_err(|errno| self.failed("open")(errno.into()))
    }

    fn node(&self, kind: Kind, stat: &Stat) -> Node {
        let time = |seconds: i64, nanos: u64| Time(seconds, u32::try_from(nanos).unwrap_or(0));
        let ctime = time(stat.st_ctime, stat.st_ctime_nsec);
        let file = kind == Kind::File;
        Node {
            path: PathText(self.path.clone()),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            size: if file { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            chunks: Vec::new(),
            target: None,
            device: None,
            first: None,
            xattrs: Vec::new(),
            seen: (file && ctime < self.settled).then_some(Seen { ino: stat.st_ino, ctime }),
        }
    }

    fn content(&mut self, file: OwnedFd, node: &mut Node) -> Result<(), Error> {
        let same = |earlier: &&Earlier| {
            Some(earlier.seen) == node.seen && (earlier.mtime, earlier.size) == (node.mtime, node.size)
        };
        if let Some(earlier) = self.taking.earlier.get(&self.path).filter(same) {
            node.chunks.clone_from(&earlier.chunks);
            return Ok(());
        }
        let failed = self.failed("read");
        let chunks = self.read(&File::from(file), node.size).map_err(failed)?;
        node.chunks = chunks;
        Ok(())
    }

    /// Reads what is not a hole.
    fn read(&mut self, mut file: &File, size: u64) -> io::Result<Vec<(u64, u32)>> {
        let mut chunks = Vec::new();
        let mut end = 0;
        while end < size {
            let Some((from, to)) = data_after(file, end, size)? else { break };
            file.seek(SeekFrom::Start(from))?;
            chunk::cut(file.by_ref(), to - from, |offset, bytes| {
                if bytes.iter().any(|byte| *byte != 0) {
                    chunks.push((from + offset, self.taking.chunk(bytes)?));
                }
                Ok(())
            })?;
            end = to;
        }
        Ok(chunks)
    }
}

/// It is gone, or something else is in its place.
fn vanished(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// The next piece of a file that has bytes.
fn data_after(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let from = match sys::seek(file, SysSeek::Data(at)) {
        Ok(from) => from,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno.into()),
    };
    let to = sys::seek(file, SysSeek::Hole(from))?.min(size);
    Ok((from < to).then_some((from, to)))
}

/// Extended attributes, sorted. File systems without them are fine.
fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<(PathText, PathText)>> {
    let mut names = vec![0; XATTRS];
    let length = match sys::flistxattr(file, &mut names) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(errno) => return Err(errno.into()),
    };
    let mut all = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0; XATTRS];
        let size = match sys::fgetxattr(file, name, &mut value) {
            Ok(size) => size,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(errno.into()),
        };
        value.truncate(size);
        all.push((PathText(name.to_vec()), PathText(value)));
    }
    all.sort_unstable_by(|(a, _), (b, _)| a.0.cmp(&b.0));
    Ok(all)
}

fn time_of(time: SystemTime) -> Time {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}
