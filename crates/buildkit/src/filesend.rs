//! Results on their way to a client, over its session: an archive as a stream of bytes, or files one by one.
//!
//! ```text
//! daemon                         client
//! bytes …                 ──►    writes them where the exporter of this number goes           archive
//!
//! STAT path, mode, size   ──►    makes folders and links                                      files
//! STAT (none)             ──►    …the last
//!                         ◄──    REQ n: the content of the n-th STAT
//! DATA n, bytes …, DATA n ──►
//!                         ◄──    FIN, when nothing is missing
//! FIN                     ──►
//! ```
//! A thread of its own reads and sends; when the call is dropped, or breaks, it ends at its next message.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::grpc::{Code, Status, Uploading};
use crate::proto::control::BytesMessage;
use crate::proto::session::{Packet, PacketType, Stat};
use crate::{FileSyncError, Session};

/// The method of clients that take results.
pub const DIFF_COPY: &str = "/moby.filesync.v1.FileSend/DiffCopy";
/// The header with the number of the exporter, among those of the build.
pub const EXPORTER_ID: &str = "buildkit-attachable-exporter-id";
/// What stands before the names of what is told of a result.
const NOTE: &str = "exporter-md-";
/// Bytes of an archive in one message.
const PIECE: usize = 1 << 20;
/// Bytes of a file in one message.
const FILE_PIECE: usize = 128 << 10;

/// Files to be sent.
pub trait SentFiles: Send + 'static {
    /// Visits all of them, each folder before what is in it, names in the order of their bytes.
    ///
    /// # Errors
    /// If they cannot be read, or the visitor's own.
    fn walk(&mut self, visit: &mut dyn FnMut(Stat) -> io::Result<()>) -> io::Result<()>;

    /// The content of the `n`-th one visited, from 0.
    ///
    /// # Errors
    /// If it cannot be read, or is no file.
    fn open(&mut self, n: u32) -> io::Result<Box<dyn Read>>;
}

/// The end of an archive that is written to, from a thread that may block.
pub struct ArchiveWriter {
    uploading: Uploading,
    piece: Vec<u8>,
}

impl ArchiveWriter {
    /// Ends the archive. One that is dropped before reaches nobody as a whole.
    ///
    /// # Errors
    /// If the client has gone.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.uploading.finish();
        Ok(())
    }
}

impl Write for ArchiveWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)).into();
        self.uploading.blocking_send(&BytesMessage { data })
    }
}

impl Session {
    /// Begins to send an archive to the exporter of this number; the future is done when the client has taken all of
    /// it. A client that has the result already takes nothing.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn send_archive(
        &self,
        exporter: usize,
        notes: &HashMap<String, String>,
    ) -> Result<(ArchiveWriter, impl Future<Output = Result<(), Status>> + Send + use<>), Status> {
        let headers = metadata(exporter, notes);
        let (uploading, answer) = self.channel().upload(DIFF_COPY, headers).await?;
        let taken = async move {
            let taken = async { answer.await?.next::<BytesMessage>().await };
            match taken.await {
                Err(status) if status.code != Code::AlreadyExists => Err(status),
                _ => Ok(()),
            }
        };
        Ok((ArchiveWriter { uploading, piece: Vec::new() }, taken))
    }

    /// Sends files to the folder of the exporter of this number.
    ///
    /// # Errors
    /// [`FileSyncError`].
    pub async fn send_files(&self, exporter: usize, files: impl SentFiles) -> Result<(), FileSyncError> {
        let headers = metadata(exporter, &HashMap::new());
        let (uploading, answer) = self.channel().upload(DIFF_COPY, headers).await?;
        let (wanted, asked) = channel();
        let sending = tokio::task::spawn_blocking(move || send_all(files, uploading, &asked));
        let answered = async {
            let mut messages = answer.await?;
            while let Some(packet) = messages.next::<Packet>().await? {
                match packet.kind() {
                    PacketType::Req => drop(wanted.send(Some(packet.id))),
                    PacketType::Fin => drop(wanted.send(None)),
                    PacketType::Err => {
                        return Err(FileSyncError::Receiver(
                            String::from_utf8_lossy(&packet.data).into_owned(),
                        ));
                    }
                    _ => return Err(FileSyncError::Protocol("files from the receiver")),
                }
            }
            Ok(())
        };
        let answered = answered.await;
        drop(wanted);
        let sent = sending.await.map_err(|error| FileSyncError::Source(io::Error::other(error)))?;
        match (sent, answered) {
            // Why it takes no more, the client says itself.
            (Err(error), Err(answer)) if error.kind() == io::ErrorKind::BrokenPipe => Err(answer),
            (Err(error), _) => Err(FileSyncError::Source(error)),
            (Ok(()), answered) => answered,
        }
    }
}

fn metadata(exporter: usize, notes: &HashMap<String, String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let notes = notes.iter().map(|(name, value)| (format!("{NOTE}{name}"), value.clone()));
    for (name, value) in notes.chain([(EXPORTER_ID.to_owned(), exporter.to_string())]) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Sends all that there is, then what is asked for, until nothing more is.
fn send_all(
    mut files: impl SentFiles,
    uploading: Uploading,
    asked: &Receiver<Option<u32>>,
) -> io::Result<()> {
    let packet = |kind: PacketType| Packet { kind: kind as i32, ..Packet::default() };
    files.walk(&mut |stat| {
        uploading.blocking_send(&Packet { stat: Some(stat), ..packet(PacketType::Stat) })
    })?;
    uploading.blocking_send(&packet(PacketType::Stat))?;
    loop {
        match asked.recv() {
            Ok(Some(id)) => send_file(&mut files, id, &uploading)?,
            Ok(None) => {
                uploading.blocking_send(&packet(PacketType::Fin))?;
                uploading.finish();
                return Ok(());
            }
            Err(_) => return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client takes no more")),
        }
    }
}

fn send_file(files: &mut impl SentFiles, id: u32, uploading: &Uploading) -> io::Result<()> {
    let mut file = files.open(id)?;
    let mut buffer = vec![0; FILE_PIECE];
    loop {
        let read = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let data = Bytes::copy_from_slice(&buffer[..read]);
        uploading.blocking_send(&Packet { kind: PacketType::Data as i32, id, data, ..Packet::default() })?;
        if read == 0 {
            return Ok(());
        }
    }
}
