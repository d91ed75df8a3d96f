//! Files of a client, fetched over its session and handed on as a tar: what unpacks a classic build's context,
//! with all its checks of hostile names, unpacks this one too.
//!
//! ```text
//! client                         daemon
//! STAT path, mode, size   ──►    folders and links go into the tar as they come
//! STAT (none)             ──►    …the last
//!                         ◄──    REQ n: the content of the n-th STAT
//! DATA n, bytes …, DATA n ──►    small files are asked for ahead and collected; a large one passes through alone
//!                         ◄──    FIN, when nothing is missing
//! FIN                     ──►
//! ```
//! What is here already as it is there ([`Held`]) is not asked for and not in the tar.
//! What is collected is bounded: [`AHEAD_BYTES`] of small files.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::mpsc;

use crate::Session;
use crate::grpc::{Messages, Outgoing, Status};
use crate::proto::session::{Packet, PacketType, Stat};

const DIFF_COPY: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// A file of at most this size is small.
const SMALL: u64 = 1 << 20;
/// Bytes of small files that are asked for before they are needed.
const AHEAD_BYTES: u64 = 16 << 20;
/// Small files that are asked for before they are needed. The client queues as many without stopping to listen.
const AHEAD_FILES: usize = 128;
/// How much a small file may have grown since it was looked at.
const GROWN: u64 = 8 << 20;
/// Pieces of the tar that wait for whoever unpacks it.
const BLOCK: usize = 512;

/// Go's bits of a file's mode.
mod mode {
    pub const DIR: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const FIFO: u32 = 1 << 25;
    pub const SOCKET: u32 = 1 << 24;
    pub const SETUID: u32 = 1 << 23;
    pub const SETGID: u32 = 1 << 22;
    pub const CHAR_DEVICE: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
    pub const IRREGULAR: u32 = 1 << 19;
    pub const TYPE: u32 = DIR | SYMLINK | DEVICE | FIFO | SOCKET | CHAR_DEVICE | IRREGULAR;
}

/// Which files are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The name under which the client offers a folder: `context`, `dockerfile`.
    pub folder: String,
    /// Patterns of what is not wanted, as in `.dockerignore`.
    pub exclude: Vec<String>,
    /// If any: only these paths, and what they lead to as links.
    pub follow: Vec<String>,
}

/// What of the files is here already, from an earlier transfer.
pub trait Held: Send {
    /// Takes note of a file; true if it is here as it is there. Folders come before what is in them.
    fn holds(&mut self, stat: &Stat) -> bool;
}

/// Nothing is here.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingHeld;

impl Held for NothingHeld {
    fn holds(&mut self, _: &Stat) -> bool {
        false
    }
}

/// Why the files did not come.
#[derive(Debug, thiserror::Error)]
pub enum FileSyncError {
    /// The call failed, or the client did.
    #[error("{0}")]
    Call(#[from] Status),
    /// The client met an error.
    #[error("error from sender: {0}")]
    Sender(String),
    /// The client does not keep to the protocol.
    #[error("files of the client: {0}")]
    Protocol(&'static str),
    /// A file is not what it was when it was looked at.
    #[error("{0} changed while it was sent")]
    Changed(String),
    /// A name or a link that no tar can hold.
    #[error("{path}: {source}")]
    Entry {
        /// The file.
        path: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The client could not take the files.
    #[error("error from receiver: {0}")]
    Receiver(String),
    /// The files could not be read, or not be sent.
    #[error("sending files to the client: {0}")]
    Source(io::Error),
    /// Nobody wants the files any more.
    #[error("nobody reads the files of the client any more")]
    Unwanted,
}

/// The reading end of the tar.
pub struct ArchiveReader {
    pieces: mpsc::Receiver<Result<Bytes, String>>,
    piece: Bytes,
}

impl ArchiveReader {
    /// Both ends of a tar in transfer.
    #[must_use]
    pub fn pipe() -> (mpsc::Sender<Result<Bytes, String>>, ArchiveReader) {
        let (sender, pieces) = mpsc::channel(64);
        (sender, ArchiveReader { pieces, piece: Bytes::new() })
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// Fetches files as a tar; `progress` hears how many bytes have come. A failure reaches the reader too, which
/// must not take what came before for the whole.
///
/// # Errors
/// [`FileSyncError`].
pub async fn copy_as_tar(
    session: &Session,
    wanted: &Wanted,
    held: &mut dyn Held,
    archive: mpsc::Sender<Result<Bytes, String>>,
    progress: impl FnMut(u64) + Send,
) -> Result<u64, FileSyncError> {
    let copied = copy(session, wanted, held, &archive, progress).await;
    if let Err(error) = &copied {
        let _ = archive.send(Err(error.to_string())).await;
    }
    copied
}

async fn copy(
    session: &Session,
    wanted: &Wanted,
    held: &mut dyn Held,
    archive: &mpsc::Sender<Result<Bytes, String>>,
    mut progress: impl FnMut(u64) + Send,
) -> Result<u64, FileSyncError> {
    let (outgoing, mut messages) = session.channel().stream(DIFF_COPY, metadata(wanted)).await?;
    let mut receiver = Receiver {
        outgoing,
        held,
        tar: Tar { archive, scratch: Vec::new() },
        next_id: 0,
        all_known: false,
        waiting: VecDeque::new(),
        ahead: HashMap::new(),
        ahead_bytes: 0,
        alone: None,
        behind: Vec::new(),
        links: Vec::new(),
    };
    let mut came = 0;
    while !receiver.complete() {
        let packet: Packet = next(&mut messages).await?;
        came += (packet.data.len() + packet.stat.as_ref().map_or(0, |stat| stat.path.len() + 64)) as u64;
        progress(came);
        receiver.packet(packet).await?;
    }
    receiver.finish().await?;
    loop {
        match messages.next::<Packet>().await? {
            None => return Ok(came),
            Some(packet) if packet.kind() == PacketType::Err => return Err(sender_error(&packet)),
            Some(_) => {}
        }
    }
}

async fn next(messages: &mut Messages) -> Result<Packet, FileSyncError> {
    messages.next().await?.ok_or(FileSyncError::Protocol("the stream ended before the files were complete"))
}

fn sender_error(packet: &Packet) -> FileSyncError {
    FileSyncError::Sender(String::from_utf8_lossy(&packet.data).into_owned())
}

/// What is wanted, as headers. Values beyond ASCII are escaped, and a header says so.
fn metadata(wanted: &Wanted) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let folder = [wanted.folder.clone()];
    let lists: [(&str, &str, &[String]); 3] = [
        ("dir-name", "dir-name-encoded", &folder),
        ("exclude-patterns", "exclude-patterns-encoded", &wanted.exclude),
        ("followpaths", "followpaths-encoded", &wanted.follow),
    ];
    for (name, flag, values) in lists {
        let plain = values.iter().all(|value| value.bytes().all(|byte| (b' '..0x7f).contains(&byte)));
        for value in values {
            let text = match plain {
                true => value.clone(),
                false => utf8_percent_encode(value, NON_ALPHANUMERIC).to_string(),
            };
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(text)) {
                headers.append(name, value);
            }
        }
        if !plain && let Ok(flag) = HeaderName::try_from(flag) {
            headers.insert(flag, HeaderValue::from_static("1"));
        }
    }
    headers
}

/// A transfer in progress.
struct Receiver<'a> {
    outgoing: Outgoing,
    held: &'a mut dyn Held,
    tar: Tar<'a>,
    /// Of the next `STAT`.
    next_id: u32,
    /// The last `STAT` has come.
    all_known: bool,
    /// Files to be asked for.
    waiting: VecDeque<(u32, Stat)>,
    /// Small files that were asked for, with what has come of them.
    ahead: HashMap<u32, (Stat, Vec<u8>)>,
    ahead_bytes: u64,
    /// A large file that passes through, with what is left of it.
    alone: Option<(u32, Stat, u64)>,
    /// What came while it passes: nothing else can be written meanwhile.
    behind: Vec<Stat>,
    /// Hard links, made when their files are there.
    links: Vec<Stat>,
}

impl Receiver<'_> {
    fn complete(&self) -> bool {
        self.all_known && self.waiting.is_empty() && self.ahead.is_empty() && self.alone.is_none()
    }

    async fn packet(&mut self, packet: Packet) -> Result<(), FileSyncError> {
        match packet.kind() {
            PacketType::Err => return Err(sender_error(&packet)),
            PacketType::Stat => match packet.stat {
                None => self.all_known = true,
                Some(stat) => self.stat(stat).await?,
            },
            PacketType::Data => self.data(packet.id, packet.data).await?,
            PacketType::Fin => return Err(FileSyncError::Protocol("an end before the files were complete")),
            PacketType::Req => return Err(FileSyncError::Protocol("a request from the sender")),
        }
        self.ask().await
    }

    async fn stat(&mut self, stat: Stat) -> Result<(), FileSyncError> {
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(FileSyncError::Protocol("too many files"))?;
        if self.held.holds(&stat) {
            return Ok(());
        }
        if stat.mode & mode::TYPE != 0 {
            if self.alone.is_some() {
                self.behind.push(stat);
                return Ok(());
            }
            return self.tar.special(&stat).await;
        }
        match stat.linkname.is_empty() {
            true => self.waiting.push_back((id, stat)),
            false => self.links.push(stat),
        }
        Ok(())
    }

    /// Asks for as many files as there is room for.
    async fn ask(&mut self) -> Result<(), FileSyncError> {
        while self.alone.is_none()
            && let Some((_, stat)) = self.waiting.front()
        {
            let size = u64::try_from(stat.size).unwrap_or(0);
            let room = match size <= SMALL {
                true => self.ahead.len() < AHEAD_FILES && self.ahead_bytes + size <= AHEAD_BYTES,
                false => self.ahead.is_empty(),
            };
            if !room {
                return Ok(());
            }
            let Some((id, stat)) = self.waiting.pop_front() else { return Ok(()) };
            if size <= SMALL {
                self.ahead_bytes += size;
                self.ahead.insert(id, (stat, Vec::new()));
            } else {
                self.tar.header(&stat, tar::EntryType::Regular, size, None).await?;
                self.alone = Some((id, stat, size));
            }
            let kind = PacketType::Req as i32;
            self.outgoing.send(&Packet { kind, id, ..Packet::default() });
        }
        Ok(())
    }

    async fn data(&mut self, id: u32, data: Bytes) -> Result<(), FileSyncError> {
        if let Some((alone, stat, left)) = &mut self.alone
            && *alone == id
        {
            let changed = || FileSyncError::Changed(stat.path.clone());
            if data.is_empty() {
                if *left != 0 {
                    return Err(changed());
                }
                let size = u64::try_from(stat.size).unwrap_or(0);
                self.alone = None;
                self.tar.pad(size).await?;
                for stat in std::mem::take(&mut self.behind) {
                    self.tar.special(&stat).await?;
                }
                return Ok(());
            }
            *left = left.checked_sub(data.len() as u64).ok_or_else(changed)?;
            return self.tar.send(data).await;
        }
        let unknown = FileSyncError::Protocol("data of a file that nobody asked for");
        let (stat, content) = self.ahead.get_mut(&id).ok_or(unknown)?;
        if (content.len() + data.len()) as u64 > GROWN {
            return Err(FileSyncError::Changed(stat.path.clone()));
        }
        content.extend_from_slice(&data);
        if data.is_empty()
            && let Some((stat, content)) = self.ahead.remove(&id)
        {
            self.ahead_bytes -= u64::try_from(stat.size).unwrap_or(0);
            let size = content.len() as u64;
            self.tar.header(&stat, tar::EntryType::Regular, size, None).await?;
            self.tar.send(content.into()).await?;
            self.tar.pad(size).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), FileSyncError> {
        for stat in std::mem::take(&mut self.links) {
            self.tar.header(&stat, tar::EntryType::Link, 0, Some(&stat.linkname)).await?;
        }
        self.tar.send(Bytes::from_static(&[0; 2 * BLOCK])).await?;
        self.outgoing.send(&Packet { kind: PacketType::Fin as i32, ..Packet::default() });
        Ok(())
    }
}

/// The tar being written.
struct Tar<'a> {
    archive: &'a mpsc::Sender<Result<Bytes, String>>,
    scratch: Vec<u8>,
}

impl Tar<'_> {
    /// Whatever is no file.
    async fn special(&mut self, stat: &Stat) -> Result<(), FileSyncError> {
        let kind = match stat.mode {
            m if m & mode::DIR != 0 => tar::EntryType::Directory,
            m if m & mode::SYMLINK != 0 => {
                return self.header(stat, tar::EntryType::Symlink, 0, Some(&stat.linkname)).await;
            }
            m if m & mode::FIFO != 0 => tar::EntryType::Fifo,
            m if m & mode::CHAR_DEVICE != 0 => tar::EntryType::Char,
            m if m & mode::DEVICE != 0 => tar::EntryType::Block,
            // Sockets are nothing that an image could hold.
            _ => return Ok(()),
        };
        self.header(stat, kind, 0, None).await
    }

    /// The head of an entry, whose content is written behind it.
    async fn header(
        &mut self,
        stat: &Stat,
        kind: tar::EntryType,
        size: u64,
        link: Option<&str>,
    ) -> Result<(), FileSyncError> {
        let bad = |source| FileSyncError::Entry { path: stat.path.clone(), source };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(permissions(stat.mode));
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(stat.mod_time / 1_000_000_000).unwrap_or(0));
        header.set_size(size);
        if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
            let number = |n: i64| u32::try_from(n).unwrap_or(0);
            header.set_device_major(number(stat.devmajor)).map_err(bad)?;
            header.set_device_minor(number(stat.devminor)).map_err(bad)?;
        }
        self.scratch.clear();
        let mut builder = tar::Builder::new(&mut self.scratch);
        match link {
            Some(target) => builder.append_link(&mut header, &stat.path, target).map_err(bad)?,
            None => builder.append_data(&mut header, &stat.path, io::empty()).map_err(bad)?,
        }
        // A builder that is dropped ends the archive; this one goes on.
        std::mem::forget(builder);
        let bytes = Bytes::copy_from_slice(&self.scratch);
        self.send(bytes).await
    }

    async fn pad(&mut self, size: u64) -> Result<(), FileSyncError> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        let over = (size % BLOCK as u64) as usize;
        match over {
            0 => Ok(()),
            over => self.send(Bytes::from_static(&ZEROS[over..])).await,
        }
    }

    async fn send(&self, bytes: Bytes) -> Result<(), FileSyncError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.archive.send(Ok(bytes)).await.map_err(|_| FileSyncError::Unwanted)
    }
}

/// What a file is, by Go's mode and where it is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// A file with content of its own.
    File,
    /// Another name of a file.
    Hardlink,
    /// A directory.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Nothing that an image could hold.
    Socket,
    /// A fifo or a device.
    Special,
}

impl Stat {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> StatKind {
        match self.mode & mode::TYPE {
            0 if self.linkname.is_empty() => StatKind::File,
            0 => StatKind::Hardlink,
            m if m & mode::DIR != 0 => StatKind::Folder,
            m if m & mode::SYMLINK != 0 => StatKind::Symlink,
            m if m & (mode::FIFO | mode::CHAR_DEVICE | mode::DEVICE) != 0 => StatKind::Special,
            _ => StatKind::Socket,
        }
    }
}

/// A file's mode (`st_mode`) as Go has it.
#[must_use]
pub fn go_mode(st_mode: u32) -> u32 {
    let kind = match st_mode & 0o170_000 {
        0o040_000 => mode::DIR,
        0o120_000 => mode::SYMLINK,
        0o010_000 => mode::FIFO,
        0o140_000 => mode::SOCKET,
        0o060_000 => mode::DEVICE,
        0o020_000 => mode::DEVICE | mode::CHAR_DEVICE,
        _ => 0,
    };
    let bit = |from: u32, to: u32| if st_mode & from != 0 { to } else { 0 };
    let special = bit(0o4000, mode::SETUID) | bit(0o2000, mode::SETGID) | bit(0o1000, mode::STICKY);
    (st_mode & 0o777) | kind | special
}

/// Go's mode as a tar has it.
fn permissions(go: u32) -> u32 {
    let bit = |from: u32, to: u32| if go & from != 0 { to } else { 0 };
    (go & 0o777) | bit(mode::SETUID, 0o4000) | bit(mode::SETGID, 0o2000) | bit(mode::STICKY, 0o1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_beyond_ascii_are_escaped() {
        let wanted = Wanted {
            folder: "context".into(),
            exclude: vec!["größe/**".into(), "*.log".into()],
            follow: vec!["a b".into()],
        };
        let headers = metadata(&wanted);
        assert_eq!(headers["dir-name"], "context");
        assert_eq!(headers["exclude-patterns-encoded"], "1");
        let excluded: Vec<_> = headers.get_all("exclude-patterns").iter().collect();
        assert_eq!(excluded, ["gr%C3%B6%C3%9Fe%2F%2A%2A", "%2A%2Elog"]);
        assert_eq!(headers["followpaths"], "a b");
        assert!(!headers.contains_key("followpaths-encoded"));
    }

    #[test]
    fn modes_are_go_s() {
        assert_eq!(permissions(mode::DIR | mode::STICKY | 0o777), 0o1777);
        assert_eq!(permissions(mode::SETUID | mode::SETGID | 0o755), 0o6755);
        for st_mode in [0o041_777, 0o106_755, 0o120_777, 0o020_600] {
            assert_eq!(permissions(go_mode(st_mode)), st_mode & 0o7777, "{st_mode:o}");
        }
    }

    #[test]
    fn entries_follow_each_other_in_one_archive() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let (sender, mut reader) = ArchiveReader::pipe();
        let long = format!("{}/file", "deep/".repeat(60));
        runtime.block_on(async {
            let mut tar = Tar { archive: &sender, scratch: Vec::new() };
            let stat = |path: &str, mode| Stat { path: path.into(), mode, ..Stat::default() };
            tar.special(&stat("dir", mode::DIR | 0o755)).await.expect("dir");
            tar.header(&stat(&long, 0o644), tar::EntryType::Regular, 5, None).await.expect("file");
            tar.send(Bytes::from_static(b"hello")).await.expect("content");
            tar.pad(5).await.expect("padding");
            let link = Stat { linkname: "dir".into(), ..stat("link", mode::SYMLINK | 0o777) };
            tar.special(&link).await.expect("link");
            tar.special(&stat("socket", mode::SOCKET)).await.expect("socket");
        });
        drop(sender);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("read");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("content");
            seen.push((entry.path().expect("path").display().to_string(), text));
        }
        let expected = [("dir".to_owned(), ""), (long, "hello"), ("link".to_owned(), "")];
        assert_eq!(seen, expected.map(|(path, text)| (path, text.to_owned())));
    }
}
