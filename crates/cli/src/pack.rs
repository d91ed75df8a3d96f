//! Packs local files as a tar stream for `cp` and `build`: names in byte order, so that the same tree gives the same
//! bytes; modes, owners and links as they are; sockets left out; files that change meanwhile padded or cut.
//!
//! The packing runs in a thread of its own and hands chunks through a channel to the connection.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use dray_spec::dockerignore::{FolderMatch, Patterns};

/// Small enough that memory is used again instead of being mapped anew for each.
const CHUNK: usize = 64 << 10;

/// Turns what `job` writes into a stream; its error ends the stream.
pub fn stream(
    job: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(8);
    std::thread::spawn(move || {
        let mut writer = ChannelWriter { sender, buffer: Vec::with_capacity(CHUNK) };
        let done = job(&mut writer).and_then(|()| writer.flush());
        if let Err(e) = done {
            // A reader that went away needs no error.
            let _ = writer.sender.blocking_send(Err(e));
        }
    });
    futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

/// Standard input as a stream.
pub fn stdin() -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
    stream(|out| io::copy(&mut io::stdin().lock(), out).map(|_| ()))
}

struct ChannelWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A buffer that outgrew its room would be copied.
        if self.buffer.len() + bytes.len() > CHUNK {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A tar being written.
pub struct Packer<W: Write> {
    tar: tar::Builder<W>,
    /// Whether owners are written as 0, as for build contexts.
    pub owned_by_root: bool,
    /// The folder of the archive that everything goes into; empty for its top.
    pub folder: PathBuf,
}

impl<W: Write> Packer<W> {
    /// A tar into a writer.
    pub fn new(out: W) -> Packer<W> {
        Packer { tar: tar::Builder::new(out), owned_by_root: false, folder: PathBuf::new() }
    }

    /// Ends the tar.
    ///
    /// # Errors
    /// The writer fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.tar.finish()
    }

    /// Adds bytes as a file.
    ///
    /// # Errors
    /// The writer fails.
    pub fn bytes(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        self.tar.append_data(&mut header, self.folder.join(name), content)
    }

    /// Adds one thing, without what is in it; sockets are passed over.
    ///
    /// # Errors
    /// It cannot be read, or the writer fails.
    pub fn entry(&mut self, path: &Path, name: &Path, meta: &Metadata) -> io::Result<()> {
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        let mut header = self.header(meta);
        let name = &self.folder.join(name);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        if kind.is_symlink() {
            let target = std::fs::read_link(path).map_err(named)?;
            header.set_entry_type(tar::EntryType::Symlink);
            return self.tar.append_link(&mut header, name, target);
        }
        if kind.is_file() {
            let file = File::open(path).map_err(named)?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(meta.len());
            return self.tar.append_data(&mut header, name, Exactly { file, left: meta.len() });
        }
        header.set_entry_type(match () {
            () if kind.is_dir() => tar::EntryType::Directory,
            () if kind.is_fifo() => tar::EntryType::Fifo,
            () if kind.is_block_device() => tar::EntryType::Block,
            () => tar::EntryType::Char,
        });
        if kind.is_block_device() || kind.is_char_device() {
            let device = meta.rdev();
            header.set_device_major(rustix::fs::major(device))?;
            header.set_device_minor(rustix::fs::minor(device))?;
        }
        let mut name = name.as_os_str().to_owned();
        if kind.is_dir() {
            name.push("/");
        }
        self.tar.append_data(&mut header, Path::new(&name), io::empty())
    }

    fn header(&self, meta: &Metadata) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        let (uid, gid) = if self.owned_by_root { (0, 0) } else { (meta.uid(), meta.gid()) };
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        header.set_size(0);
        header
    }

    /// Adds a folder with all that is in it, under another name.
    ///
    /// # Errors
    /// Something cannot be read, or the writer fails.
    pub fn tree(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let meta = std::fs::symlink_metadata(path)?;
        self.entry(path, name, &meta)?;
        if !meta.is_dir() {
            return Ok(());
        }
        for child in children(path)? {
            self.tree(&path.join(&child), &name.join(&child))?;
        }
        Ok(())
    }

    /// Adds all in a folder that the patterns do not ignore.
    ///
    /// # Errors
    /// Something cannot be read, or the writer fails.
    pub fn context(&mut self, root: &Path, ignore: &Patterns) -> io::Result<()> {
        walk(root, ignore, &mut |path, name, meta| self.entry(path, name, &meta))
    }
}

/// What is done with each file: its path, its name in the folder, and what is known of it.
pub type Visit<'a> = dyn FnMut(&Path, &Path, Metadata) -> io::Result<()> + 'a;

/// Visits all in a folder that the patterns do not ignore, folders before what is in them, names in byte order.
///
/// # Errors
/// Something cannot be read, or the visitor fails.
pub fn walk(root: &Path, ignore: &Patterns, visit: &mut Visit<'_>) -> io::Result<()> {
    walk_in(root, Path::new(""), ignore, &FolderMatch::default(), visit)
}

fn walk_in(
    root: &Path,
    at: &Path,
    ignore: &Patterns,
    above: &FolderMatch,
    visit: &mut Visit<'_>,
) -> io::Result<()> {
    for child in children(&root.join(at))? {
        let name = at.join(&child);
        let path = root.join(&name);
        let text = name.to_string_lossy();
        let (ignored, found) = ignore.ignores_within(&text, above);
        let meta = std::fs::symlink_metadata(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let is_dir = meta.is_dir();
        if ignored {
            if is_dir && ignore.may_take_back_in(&text) {
                walk_in(root, &name, ignore, &found, visit)?;
            }
            continue;
        }
        visit(&path, &name, meta)?;
        if is_dir {
            walk_in(root, &name, ignore, &found, visit)?;
        }
    }
    Ok(())
}

/// Names in a folder, in byte order.
fn children(path: &Path) -> io::Result<Vec<PathBuf>> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(named)? {
        names.push(PathBuf::from(entry.map_err(named)?.file_name()));
    }
    names.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(names)
}

/// Just as many bytes as the header says, whatever becomes of the file.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let mut read = self.file.read(&mut buffer[..want])?;
        if read == 0 {
            buffer[..want].fill(0);
            read = want;
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ignore: &str, dir: &Path) -> Vec<String> {
        let mut out = Vec::new();
        let mut packer = Packer::new(&mut out);
        packer.context(dir, &Patterns::parse(ignore).unwrap()).unwrap();
        packer.finish().unwrap();
        let mut tar = tar::Archive::new(out.as_slice());
        tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn contexts_are_ordered_and_filtered() {
        let dir = tempfile::tempdir().unwrap();
        let path = |p: &str| dir.path().join(p);
        std::fs::create_dir_all(path("b/keep")).unwrap();
        for file in ["z", "a.log", "b/1", "b/keep/2"] {
            std::fs::write(path(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", path("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("sock")).unwrap();
        assert_eq!(names("", dir.path()), ["a.log", "b/", "b/1", "b/keep/", "b/keep/2", "link", "z"]);
        assert_eq!(names("*.log\nb\n!b/keep", dir.path()), ["b/keep/", "b/keep/2", "link", "z"]);
    }

    #[test]
    fn long_names_and_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(200);
        std::fs::write(dir.path().join(&long), "x").unwrap();
        assert_eq!(names("", dir.path()), [long]);
    }
}
