//! A log as a stream of bytes in the form the API sends: each entry a frame of Docker's
//! multiplexed stdio, or bare for a container with a terminal.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use jiff::Timestamp;
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::file::{Entry, Lines};
use super::{Error, LogOptions, attribute};
use crate::timestamp;

/// A piece is sent when it has grown to this.
const PIECE: usize = 64 * 1024;

/// The log to read.
#[derive(Debug)]
pub struct Source {
    /// The newest file of the log.
    pub path: PathBuf,
    /// The container has a terminal: entries are sent without frames.
    pub tty: bool,
    /// True while the container runs; a follower ends when it no longer does.
    pub running: watch::Receiver<bool>,
}

/// Pieces of a log, ready to be sent. Dropping it ends the reading.
#[derive(Debug)]
pub struct LogStream {
    pieces: mpsc::Receiver<Result<Bytes, Error>>,
}

impl Stream for LogStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context)
    }
}

impl LogStream {
    /// Starts reading. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When neither stream is wanted.
    pub fn open(source: Source, options: LogOptions) -> Result<Self, Error> {
        if !options.stdout && !options.stderr {
            return Err(Error::NoStream);
        }
        let (sender, pieces) = mpsc::channel(4);
        tokio::spawn(async move {
            let path = source.path.clone();
            if let Err(Stop::Failed(error)) = send_all(source, options, &sender).await {
                // A client that has gone does not need to know.
                let _ = sender.send(Err(Error::Read { path, source: error })).await;
            }
        });
        Ok(Self { pieces })
    }
}

/// Why sending ends early.
enum Stop {
    /// The client has gone.
    Gone,
    /// The log cannot be read.
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

async fn send_all(
    mut source: Source,
    options: LogOptions,
    sender: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(), Stop> {
    let follow = options.follow && *source.running.borrow();
    // The watch is set before the first read, so that no growth falls between them.
    let mut watcher = if follow { Some(Watcher::new(&source.path)?) } else { None };
    let (path, tail) = (source.path.clone(), options.tail);
    let opened = tokio::task::spawn_blocking(move || Lines::open(&path, tail)).await;
    let mut lines = opened.map_err(|gone| io::Error::other(gone.to_string()))??;
    let until = options.until;
    let form = Arc::new(Form { tty: source.tty, options });
    loop {
        // Looked at before reading: when it had ended by then, what is read is all there is.
        let ended = !*source.running.borrow_and_update();
        let flow;
        (lines, flow) = send_present(lines, &form, sender).await?;
        if flow.is_break() || ended {
            return Ok(());
        }
        let Some(watcher) = &mut watcher else { return Ok(()) };
        let deadline = sleep_until(until);
        tokio::select! {
            changed = watcher.changed() => changed?,
            _ = source.running.changed() => {}
            () = deadline => return Ok(()),
            () = sender.closed() => return Err(Stop::Gone),
        }
    }
}

/// What a piece of a log was followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// There is more.
    More,
    /// Nothing yet.
    Present,
    /// Nothing that is wanted.
    End,
}

/// Sends what the log holds now; breaks when the last wanted entry is passed. Only reading is done where it may take
/// its time: a client that takes its own holds none of these threads.
async fn send_present(
    mut lines: Lines,
    form: &Arc<Form>,
    sender: &mpsc::Sender<Result<Bytes, Error>>,
) -> Result<(Lines, ControlFlow<()>), Stop> {
    loop {
        let form = Arc::clone(form);
        let read = tokio::task::spawn_blocking(move || {
            let piece = read_piece(&mut lines, &form);
            (lines, piece)
        });
        let (back, piece) = read.await.map_err(|gone| io::Error::other(gone.to_string()))?;
        lines = back;
        let (piece, then) = piece?;
        if !piece.is_empty() {
            sender.send(Ok(piece)).await.map_err(|_| Stop::Gone)?;
        }
        match then {
            Then::More => {}
            Then::Present => return Ok((lines, ControlFlow::Continue(()))),
            Then::End => return Ok((lines, ControlFlow::Break(()))),
        }
    }
}

/// Reads as much as is sent at once.
fn read_piece(lines: &mut Lines, form: &Form) -> io::Result<(Bytes, Then)> {
    let mut piece = BytesMut::new();
    while piece.len() < PIECE {
        let Some(line) = lines.next_line()? else { return Ok((piece.freeze(), Then::Present)) };
        let Some(entry) = Entry::parse(line) else { continue };
        if form.options.until.is_some_and(|until| entry.time > until) {
            return Ok((piece.freeze(), Then::End));
        }
        form.put(&entry, &mut piece);
    }
    Ok((piece.freeze(), Then::More))
}

async fn sleep_until(time: Option<Timestamp>) {
    match time {
        None => std::future::pending().await,
        Some(time) => {
            let left = time.duration_since(Timestamp::now());
            tokio::time::sleep(left.try_into().unwrap_or_default()).await;
        }
    }
}

/// How entries are written.
struct Form {
    tty: bool,
    options: LogOptions,
}

impl Form {
    fn put(&self, entry: &Entry<'_>, out: &mut BytesMut) {
        let stderr = entry.stream == "stderr";
        let wanted = if stderr { self.options.stderr } else { self.options.stdout };
        if !wanted || self.options.since.is_some_and(|since| entry.time < since) {
            return;
        }
        let mut before = String::new();
        if self.options.timestamps {
            before.push_str(&timestamp::rfc3339_fixed(entry.time));
            before.push(' ');
        }
        if self.options.details {
            before.push_str(&attribute::details(&entry.attrs));
            before.push(' ');
        }
        let length = before.len() + entry.log.len();
        out.reserve(length + 8);
        if !self.tty {
            out.put_u8(if stderr { 2 } else { 1 });
            out.put_slice(&[0; 3]);
            out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        }
        out.put_slice(before.as_bytes());
        out.put_slice(entry.log.as_bytes());
    }
}

/// Says when something in the log's folder has changed.
struct Watcher {
    inotify: AsyncFd<OwnedFd>,
}

impl Watcher {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&inotify, folder, what)?;
        // The new name is unsafe for types that may give up their descriptor; an `OwnedFd` does not.
        #[allow(deprecated)]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self { inotify })
    }

    async fn changed(&mut self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut events = [0; 4096];
        // Which file changed does not matter: the reader looks at all of them.
        while matches!(rustix::io::read(self.inotify.get_ref(), &mut events), Ok(read) if read > 0) {}
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::time::Duration;

    fn line(text: &str, stream: &str, second: u32) -> String {
        format!(
            "{{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\"attrs\":{{\"app\":\"web\"}},\"time\":\"2023-11-14T22:13:{second:02}Z\"}}\n"
        )
    }

    fn source(path: &Path, tty: bool, running: watch::Receiver<bool>) -> Source {
        Source { path: path.to_owned(), tty, running }
    }

    async fn collect(mut stream: LogStream) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece.unwrap());
        }
        all
    }

    fn both() -> LogOptions {
        LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
    }

    #[tokio::test]
    async fn frames_prefixes_and_selection() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(
            &path,
            line("a", "stdout", 1) + "garbage\n" + &line("b", "stderr", 2) + &line("c", "stdout", 3),
        )
        .unwrap();
        let (_sender, stopped) = watch::channel(false);
        let read =
            |tty, options| collect(LogStream::open(source(&path, tty, stopped.clone()), options).unwrap());
        assert_eq!(
            read(false, both()).await,
            b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\x02b\n\x01\0\0\0\0\0\0\x02c\n"
        );
        assert_eq!(read(true, LogOptions { stderr: false, ..both() }).await, b"a\nc\n");
        let decorated = LogOptions { timestamps: true, details: true, tail: Some(1), ..both() };
        assert_eq!(read(true, decorated).await, b"2023-11-14T22:13:03.000000000Z app=web c\n");
        let time = |second| timestamp::parse("since", &format!("2023-11-14T22:13:{second:02}Z")).unwrap();
        let span = LogOptions { since: time(2), until: time(2), follow: true, ..both() };
        assert_eq!(read(true, span).await, b"b\n");
        let neither = LogOptions::default();
        assert!(LogStream::open(source(&path, true, stopped.clone()), neither).is_err());
    }

    #[tokio::test]
    async fn follows_until_the_container_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, line("a", "stdout", 1)).unwrap();
        let (state, running) = watch::channel(true);
        let options = LogOptions { follow: true, ..both() };
        let mut stream = LogStream::open(source(&path, true, running), options).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "a\n");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(line("b", "stdout", 2).as_bytes()).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "b\n");
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        std::fs::write(&path, line("c", "stdout", 3)).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "c\n");
        std::fs::write(&path, line("c", "stdout", 3) + &line("d", "stdout", 4)).unwrap();
        state.send(false).unwrap();
        let rest = tokio::time::timeout(Duration::from_secs(5), collect(stream)).await.unwrap();
        assert_eq!(rest, b"d\n");
    }
}
