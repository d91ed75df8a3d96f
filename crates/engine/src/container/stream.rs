//! Joining a client's connection to a program's streams.
//!
//! ```text
//! client ──bytes──▶ detach keys? ──stdin frames──▶ shim ──▶ program
//! client ◀─────── frames as they are, or bare for a terminal ─────── shim
//! ```
//! The shim's frames are Docker's own, so that output goes through untouched.

use std::io;

use dray_runtime::{FRAME_HEADER, Frame, StreamKind};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::Error;

/// Bytes read from a client at once.
const PIECE: usize = 32 * 1024;

/// What a session carries.
#[derive(Debug, Clone, Default)]
pub struct Wiring {
    /// The program has a terminal: bytes are bare, and keys detach.
    pub tty: bool,
    /// The client may write.
    pub stdin: bool,
    /// The client reads standard output.
    pub stdout: bool,
    /// The client reads standard error.
    pub stderr: bool,
    /// The end of the client's input is the end of the program's.
    pub close_stdin: bool,
    /// Keys that detach.
    pub keys: Vec<u8>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The program did, with this exit code.
    Exited(i32),
    /// The client typed the keys.
    Detached,
    /// One of both sides went away.
    Gone,
}

#[derive(Deserialize)]
struct Control {
    exit: i32,
}

/// Carries bytes both ways until one side ends. The client's side is left open for a last word.
pub async fn carry<S: AsyncRead + AsyncWrite>(
    client: &mut (ReadHalf<S>, WriteHalf<S>),
    shim: UnixStream,
    wiring: &Wiring,
) -> Ended {
    let (from_shim, to_shim) = shim.into_split();
    let (from_client, to_client) = client;
    let output = output(from_shim, to_client, wiring);
    let input = input(from_client, to_shim, wiring);
    tokio::select! {
        ended = output => ended,
        ended = input => ended,
    }
}

async fn output<S: AsyncWrite>(mut from: OwnedReadHalf, to: &mut WriteHalf<S>, wiring: &Wiring) -> Ended {
    let mut buffer = vec![0; FRAME_HEADER + PIECE];
    loop {
        let frame = match read_frame(&mut from, &mut buffer).await {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(_) => return Ended::Gone,
        };
        let whole = &buffer[..FRAME_HEADER + frame.len];
        let wanted = match frame.stream {
            StreamKind::Stdout => wiring.stdout,
            StreamKind::Stderr => wiring.stderr,
            StreamKind::Stdin => false,
            StreamKind::Control => {
                return serde_json::from_slice::<Control>(&whole[FRAME_HEADER..])
                    .map_or(Ended::Gone, |control| Ended::Exited(control.exit));
            }
        };
        let bytes = if wiring.tty { &whole[FRAME_HEADER..] } else { whole };
        if wanted && (to.write_all(bytes).await.is_err() || to.flush().await.is_err()) {
            return Ended::Gone;
        }
    }
}

/// Reads one frame into `buffer`, header and all; none at the end.
async fn read_frame(from: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> io::Result<Option<Frame>> {
    match from.read_exact(&mut buffer[..FRAME_HEADER]).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut header = [0; FRAME_HEADER];
    header.copy_from_slice(&buffer[..FRAME_HEADER]);
    let frame = Frame::decode(header).ok_or(io::ErrorKind::InvalidData)?;
    if buffer.len() < FRAME_HEADER + frame.len {
        buffer.resize(FRAME_HEADER + frame.len, 0);
    }
    from.read_exact(&mut buffer[FRAME_HEADER..FRAME_HEADER + frame.len]).await?;
    Ok(Some(frame))
}

async fn input<S: AsyncRead>(from: &mut ReadHalf<S>, mut to: OwnedWriteHalf, wiring: &Wiring) -> Ended {
    if !wiring.stdin {
        // Such a client may close its side at once; that is no hanging up.
        return std::future::pending().await;
    }
    let mut keys = DetachKeys::new(if wiring.tty { &wiring.keys } else { &[] });
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(read) => read,
            Err(_) => return Ended::Gone,
        };
        if read == 0 {
            if !wiring.close_stdin || wiring.tty {
                return Ended::Gone;
            }
            if send_stdin(&mut to, &[]).await.is_err() {
                return std::future::pending().await;
            }
            // The output goes on; the write half must stay open until it ends.
            let _open = to;
            return std::future::pending().await;
        }
        let (bytes, detached) = keys.filter(&buffer[..read]);
        // A program that no longer reads is no reason to stop showing what it writes.
        if !bytes.is_empty() && send_stdin(&mut to, &bytes).await.is_err() {
            return std::future::pending().await;
        }
        if detached {
            return Ended::Detached;
        }
    }
}

async fn send_stdin(to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    let header = Frame { stream: StreamKind::Stdin, len: bytes.len() }.encode();
    to.write_all(&[&header[..], bytes].concat()).await
}

/// Looks for the keys that detach in what a client types.
#[derive(Debug)]
struct DetachKeys<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl<'a> DetachKeys<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Self { keys, matched: 0 }
    }

    /// What is to be passed on, and whether the keys were typed. A beginning of them is held back
    /// until it is clear that they do not follow.
    fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(*byte == self.keys[0]);
            if self.matched == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

/// The keys that detach when none are given: ctrl-p, ctrl-q.
const DEFAULT_KEYS: &[u8] = &[16, 17];

/// Reads keys like `ctrl-p,ctrl-q` or `a,b`; empty is the default.
///
/// # Errors
/// For anything that is no key.
pub fn parse_keys(raw: &str) -> Result<Vec<u8>, Error> {
    if raw.is_empty() {
        return Ok(DEFAULT_KEYS.to_vec());
    }
    let one = |key: &str| match key.as_bytes() {
        [plain] => Some(*plain),
        [b'c', b't', b'r', b'l', b'-', letter] => match letter {
            b'a'..=b'z' => Some(letter - b'a' + 1),
            b'@' => Some(0),
            b'[' => Some(27),
            b'\\' => Some(28),
            b']' => Some(29),
            b'^' => Some(30),
            b'_' => Some(31),
            _ => None,
        },
        b"DEL" => Some(127),
        _ => None,
    };
    raw.split(',').map(one).collect::<Option<Vec<u8>>>().ok_or_else(|| Error::DetachKeys(raw.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    fn wiring() -> Wiring {
        Wiring { stdin: true, stdout: true, stderr: true, close_stdin: true, ..Wiring::default() }
    }

    fn frame(stream: StreamKind, bytes: &[u8]) -> Vec<u8> {
        [&Frame { stream, len: bytes.len() }.encode()[..], bytes].concat()
    }

    /// Runs a session; gives the client's end, the shim's end and how it ended.
    fn session(wiring: Wiring) -> (DuplexStream, UnixStream, tokio::task::JoinHandle<Ended>) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (ours, shim) = UnixStream::pair().unwrap();
        let task = tokio::spawn(async move {
            let mut halves = tokio::io::split(server);
            let ended = carry(&mut halves, ours, &wiring).await;
            let _ = halves.1.shutdown().await;
            ended
        });
        (client, shim, task)
    }

    #[tokio::test]
    async fn frames_pass_untouched_and_the_exit_ends_it() {
        let (mut client, mut shim, task) = session(wiring());
        let frames = [frame(StreamKind::Stdout, b"out"), frame(StreamKind::Stderr, b"err")].concat();
        shim.write_all(&frames).await.unwrap();
        shim.write_all(&frame(StreamKind::Control, br#"{"exit":3}"#)).await.unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, frames);
        assert_eq!(task.await.unwrap(), Ended::Exited(3));
    }

    #[tokio::test]
    async fn only_what_was_asked_for_and_bare_for_a_terminal() {
        let (mut client, mut shim, task) = session(Wiring { stderr: false, tty: true, ..wiring() });
        shim.write_all(&frame(StreamKind::Stderr, b"no")).await.unwrap();
        shim.write_all(&frame(StreamKind::Stdout, b"yes")).await.unwrap();
        drop(shim);
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"yes");
        assert_eq!(task.await.unwrap(), Ended::Gone);
    }

    #[tokio::test]
    async fn input_and_its_end_are_framed_and_output_goes_on() {
        let (mut client, mut shim, task) = session(wiring());
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = vec![0; 8 + 2 + 8];
        shim.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [frame(StreamKind::Stdin, b"in"), frame(StreamKind::Stdin, b"")].concat());
        shim.write_all(&frame(StreamKind::Stdout, b"later")).await.unwrap();
        let mut got = vec![0; 13];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got[8..], b"later");
        task.abort();
    }

    #[tokio::test]
    async fn typed_keys_detach() {
        let keys = parse_keys("").unwrap();
        let (mut client, mut shim, task) = session(Wiring { tty: true, keys, ..wiring() });
        client.write_all(&[b'a', 16, b'b', 16, 17, b'c']).await.unwrap();
        assert_eq!(task.await.unwrap(), Ended::Detached);
        let mut got = vec![0; 11];
        shim.read_exact(&mut got).await.unwrap();
        assert_eq!(&got[8..], [b'a', 16, b'b']);
    }

    #[test]
    fn keys_across_pieces() {
        let mut keys = DetachKeys::new(&[16, 17]);
        assert_eq!(keys.filter(&[b'x', 16]), (vec![b'x'], false));
        assert_eq!(keys.filter(&[16]), (vec![16], false));
        assert_eq!(keys.filter(&[17, b'y']), (vec![], true));
    }

    #[test]
    fn keys_by_name() {
        assert_eq!(parse_keys("ctrl-a,ctrl-\\,x").unwrap(), [1, 28, b'x']);
        assert_eq!(parse_keys("ctrl-1").unwrap_err().to_string(), "Invalid detach keys (ctrl-1) provided");
        assert!(parse_keys("a,,b").is_err());
    }
}
