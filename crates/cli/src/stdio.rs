//! Joins the terminal or pipes of this process to a container's streams.
//!
//! ```text
//! stdin ──thread──> detach keys ──> connection        end of input: half-close, the program sees it
//! connection ──frames or raw──> stdout, stderr         its end ends the whole
//! signals ──> kill; SIGWINCH ──> resize
//! ```

use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use dray_client::{Channel, Client, Frames, Hijacked};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::command_error::Error;
use crate::terminal::{self, DetachKeys};

/// A pipe takes so much without blocking when it takes anything (POSIX's PIPE_BUF).
const PIPE_CHUNK: usize = 4096;

/// Which streams are joined, and how.
pub struct Join {
    /// Whether the container has a terminal: output is raw.
    pub tty: bool,
    /// Whether standard input is sent.
    pub stdin: bool,
    /// Whether output is shown on standard output.
    pub stdout: bool,
    /// Whether errors are shown on standard error.
    pub stderr: bool,
    /// Keys that detach; only looked for on a terminal.
    pub keys: Option<DetachKeys>,
}

/// How a join ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The container's streams ended.
    Closed,
    /// The keys were typed.
    Detached,
}

/// Runs until the container's output ends or the keys are typed.
///
/// # Errors
/// A stream fails.
pub async fn join(connection: Hijacked, how: Join) -> Result<End, Error> {
    let Hijacked { output, input } = connection;
    let shows = how.stdout || how.stderr;
    let keys = how.keys.clone();
    let mut feeding = Box::pin(feed(input, how.stdin, keys));
    let mut showing = Box::pin(show(output, how.tty, how.stdout, how.stderr));
    tokio::select! {
        shown = &mut showing => return shown.map(|()| End::Closed),
        fed = &mut feeding => if fed? == End::Detached || !shows {
            return Ok(End::Detached);
        },
    }
    showing.await.map(|()| End::Closed)
}

/// Sends standard input, then the end of it. Without standard input it never ends.
async fn feed(
    mut to: impl tokio::io::AsyncWrite + Unpin,
    wanted: bool,
    mut keys: Option<DetachKeys>,
) -> Result<End, Error> {
    if !wanted {
        std::future::pending::<()>().await;
    }
    let mut typed = read_stdin();
    while let Some(bytes) = typed.recv().await {
        let (bytes, detach) = match &mut keys {
            Some(keys) => {
                let scan = keys.scan(&bytes);
                (scan.pass, scan.detach)
            }
            None => (bytes, false),
        };
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            // The program has gone; its output says how.
            return Ok(End::Closed);
        }
        if detach {
            return Ok(End::Detached);
        }
    }
    // A program that has gone needs no end of input.
    let _ = to.shutdown().await;
    Ok(End::Closed)
}

/// Standard input, read by a thread: it may be a terminal or a file, which cannot be waited for otherwise.
pub fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = stdin.read(&mut buffer) {
            if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn show(
    from: impl tokio::io::AsyncRead + Unpin,
    raw: bool,
    stdout: bool,
    stderr: bool,
) -> Result<(), Error> {
    let (out_stream, err_stream) = (std::io::stdout(), std::io::stderr());
    let mut out = Output::new(out_stream.as_fd());
    let mut err = Output::new(err_stream.as_fd());
    if raw {
        return show_raw(from, &mut out, stdout).await;
    }
    let mut frames = Frames::new(from);
    while let Some((channel, content)) =
        frames.next().await.map_err(Error::io("read the container's output"))?
    {
        match channel {
            Channel::Stdout if stdout => out.write(&content).await?,
            Channel::Stderr if stderr => err.write(&content).await?,
            _ => {}
        }
    }
    Ok(())
}

async fn show_raw(
    mut from: impl tokio::io::AsyncRead + Unpin,
    out: &mut Output<'_>,
    stdout: bool,
) -> Result<(), Error> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(read) if stdout => out.write(&buffer[..read]).await?,
            Ok(_) => {}
            // A daemon that closes a terminal's connection may reset it.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => return Err(Error::io("read the container's output")(e)),
        }
    }
}

/// Shows multiplexed or raw output until its end, as `logs` does.
///
/// # Errors
/// A stream fails.
pub async fn show_all(from: impl tokio::io::AsyncRead + Unpin, raw: bool) -> Result<(), Error> {
    show(from, raw, true, true).await
}

/// Standard output or error. Writes at once what they take without blocking and waits for the rest in another
/// thread, so that signals are seen while a pipe is full.
struct Output<'a> {
    fd: BorrowedFd<'a>,
    chunk: usize,
}

impl<'a> Output<'a> {
    fn new(fd: BorrowedFd<'a>) -> Self {
        let is_file = rustix::fs::fstat(fd).is_ok_and(|s| {
            rustix::fs::FileType::from_raw_mode(s.st_mode) == rustix::fs::FileType::RegularFile
        });
        Output { fd, chunk: if is_file { usize::MAX } else { PIPE_CHUNK } }
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.ready().await?;
            match rustix::io::write(self.fd, &bytes[..bytes.len().min(self.chunk)]) {
                Ok(written) => bytes = &bytes[written..],
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Error::io("write the container's output")(e.into())),
            }
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), Error> {
        let mut wait = Duration::from_micros(50);
        loop {
            let mut fds = [PollFd::new(&self.fd, PollFlags::OUT)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            match poll(&mut fds, Some(&now)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(Error::io("wait for standard output")(e.into())),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(20));
        }
    }
}

/// Signals that go on to a container's program, with the names the API takes.
const FORWARDED: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (6, "ABRT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (28, "WINCH"),
    (30, "PWR"),
];

/// Passes signals to a container until dropped; must be made before the container starts, so that none is lost.
pub struct SignalProxy {
    received: mpsc::UnboundedReceiver<&'static str>,
}

impl SignalProxy {
    /// Catches the signals.
    ///
    /// # Errors
    /// The system refuses.
    pub fn catch() -> Result<SignalProxy, Error> {
        let (sender, received) = mpsc::unbounded_channel();
        for (number, name) in FORWARDED {
            let mut caught = signal(SignalKind::from_raw(*number)).map_err(Error::io("catch a signal"))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while caught.recv().await.is_some() {
                    if sender.send(*name).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(SignalProxy { received })
    }

    /// Passes signals on; never ends.
    pub async fn forward(&mut self, client: &Client, container: &str) {
        while let Some(name) = self.received.recv().await {
            // A container that has ended takes no signal; its exit is seen elsewhere.
            let _ = client.container_kill(container, name).await;
        }
        std::future::pending::<()>().await;
    }
}

/// Ends the program on a signal that asks for it, with the terminal as it was before; never ends otherwise. For
/// commands that do not pass signals on.
pub async fn end_on_signals() {
    let mut ends = Vec::new();
    for number in [1, 3, 15] {
        let Ok(mut caught) = signal(SignalKind::from_raw(number)) else { continue };
        ends.push(Box::pin(async move {
            caught.recv().await;
            number
        }));
    }
    if ends.is_empty() {
        std::future::pending::<()>().await;
    }
    let (number, ..) = futures_util::future::select_all(ends).await;
    terminal::restore_now();
    std::process::exit(128 + number);
}

/// What has a terminal: a container, or a command in one.
#[derive(Clone, Copy)]
pub enum Sized<'a> {
    /// A container.
    Container(&'a str),
    /// A command.
    Exec(&'a str),
}

/// Keeps the size of a terminal equal to that of standard output; never ends.
pub async fn follow_size(client: &Client, what: Sized<'_>) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return std::future::pending().await };
    loop {
        if let Some((height, width)) = terminal::size(std::io::stdout().as_fd()) {
            // A program that has just ended has no terminal to resize.
            let _ = match what {
                Sized::Container(id) => client.container_resize(id, height, width).await,
                Sized::Exec(id) => client.exec_resize(id, height, width).await,
            };
        }
        if changed.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
