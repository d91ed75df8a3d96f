//! Attaching over a WebSocket (RFC 6455), as dashboards in a browser do: each message carries bytes of the program's
//! input or output, both outputs in one stream and without Docker's frames.
//!
//! ```text
//! browser                                         daemon
//! GET …/attach/ws  Upgrade: websocket     →
//!                                         ←       101, Sec-WebSocket-Accept
//! masked binary or text messages: stdin   ⇄       binary messages: stdout and stderr
//! close                                   ⇄       close
//! ```

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Mutex;

use crate::error::ApiError;

/// What RFC 6455 §1.3 appends to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Payload of one message to the client, and bytes on their way.
const PIECE: usize = 32 << 10;
/// A control frame's payload at most.
const MAX_CONTROL: u64 = 125;

/// What a frame is.
mod opcode {
    pub const CONTINUATION: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// Why a connection is closed by us.
mod reason {
    pub const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
    pub const PROTOCOL: [u8; 2] = 1002_u16.to_be_bytes();
}

/// Answers the handshake; what comes over the connection goes to and comes from `session`, whose end this is. `framed`
/// says that its output is in Docker's frames.
pub fn upgrade(
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    framed: bool,
    session: DuplexStream,
) -> Response {
    let has = |name: header::HeaderName, value: &str| {
        let text = headers.get(name).and_then(|given| given.to_str().ok()).unwrap_or_default();
        text.split(',').any(|word| word.trim().eq_ignore_ascii_case(value))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    let asked = has(header::UPGRADE, "websocket") && has(header::SEC_WEBSOCKET_VERSION, "13");
    let (Some(key), Some(upgrade), true) = (key, upgrade, asked) else {
        return ApiError::bad_request("this endpoint speaks WebSocket (version 13) only").into_response();
    };
    let accept = HeaderValue::from_str(&accept(key.as_bytes())).unwrap_or(HeaderValue::from_static(""));
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(TokioIo::new(upgraded), framed, session).await,
            Err(error) => tracing::debug!(%error, "client left before the upgrade"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Proves to the client that its key was read.
fn accept(key: &[u8]) -> String {
    let digest = ring::digest::digest(
        // Not for secrecy: the protocol wants this one.
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        &[key, GUID.as_bytes()].concat(),
    );
    base64::engine::general_purpose::STANDARD.encode(digest.as_ref())
}

/// Carries bytes both ways until one side ends.
async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(client: S, framed: bool, session: DuplexStream) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_session, to_session) = tokio::io::split(session);
    let to_client = Arc::new(Mutex::new(to_client));
    let output = send_output(from_session, framed, Arc::clone(&to_client));
    let input = take_input(from_client, to_session, Arc::clone(&to_client));
    let why = tokio::select! {
        _ = output => reason::NORMAL,
        why = input => why,
    };
    let mut client = to_client.lock().await;
    // The client may be gone already.
    let _ = write_frame(&mut *client, opcode::CLOSE, &why).await;
    let _ = client.shutdown().await;
}

async fn send_output<W: AsyncWrite>(
    mut session: ReadHalf<DuplexStream>,
    framed: bool,
    client: Arc<Mutex<WriteHalf<W>>>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut left = usize::MAX;
    loop {
        if framed {
            let mut head = [0; 8];
            session.read_exact(&mut head).await?;
            left = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        }
        while left > 0 {
            let room = PIECE.min(left);
            let read = session.read(&mut piece[..room]).await?;
            if read == 0 {
                return Ok(());
            }
            if framed {
                left -= read;
            }
            write_frame(&mut *client.lock().await, opcode::BINARY, &piece[..read]).await?;
        }
    }
}

/// Gives the reason to close with.
async fn take_input<R: AsyncRead, W: AsyncWrite>(
    mut client: ReadHalf<R>,
    mut session: WriteHalf<DuplexStream>,
    answers: Arc<Mutex<WriteHalf<W>>>,
) -> [u8; 2] {
    loop {
        match take_frame(&mut client, &mut session, &answers).await {
            Ok(true) => {}
            Ok(false) => return reason::NORMAL,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return reason::PROTOCOL,
            Err(_) => return reason::NORMAL,
        }
    }
}

/// Takes one frame; false when it is the last.
async fn take_frame<R: AsyncRead, W: AsyncWrite>(
    client: &mut ReadHalf<R>,
    session: &mut WriteHalf<DuplexStream>,
    answers: &Mutex<WriteHalf<W>>,
) -> io::Result<bool> {
    let mut head = [0; 2];
    client.read_exact(&mut head).await?;
    let (kind, masked) = (head[0] & 0x0f, head[1] & 0x80 != 0);
    let length = match head[1] & 0x7f {
        126 => u64::from(client.read_u16().await?),
        127 => client.read_u64().await?,
        short => u64::from(short),
    };
    let is_control = kind >= opcode::CLOSE;
    // A client must mask what it sends, and no extension was agreed upon.
    if !masked || head[0] & 0x70 != 0 || (is_control && length > MAX_CONTROL) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut mask = [0; 4];
    client.read_exact(&mut mask).await?;
    let mut left = length;
    let mut at = 0;
    let mut control = Vec::new();
    let mut piece = vec![0; usize::try_from(length).unwrap_or(PIECE).min(PIECE)];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(PIECE).min(piece.len());
        client.read_exact(&mut piece[..room]).await?;
        for byte in &mut piece[..room] {
            *byte ^= mask[at % 4];
            at += 1;
        }
        left -= room as u64;
        match kind {
            opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => session.write_all(&piece[..room]).await?,
            _ => control.extend_from_slice(&piece[..room]),
        }
    }
    match kind {
        opcode::PING => write_frame(&mut *answers.lock().await, opcode::PONG, &control).await?,
        opcode::CLOSE => return Ok(false),
        opcode::CONTINUATION | opcode::TEXT | opcode::BINARY | opcode::PONG => {}
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(true)
}

async fn write_frame(client: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 4);
    frame.push(0x80 | kind);
    match payload.len() {
        short @ 0..126 => frame.push(short as u8),
        // Pieces are shorter than 64 KiB.
        long => {
            frame.push(126);
            frame.extend_from_slice(&u16::try_from(long).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    client.write_all(&frame).await?;
    client.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first, 0x80 | payload.len() as u8];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
        frame
    }

    /// A browser's side and a program's side of a served connection.
    fn connected(framed: bool) -> (DuplexStream, DuplexStream) {
        let (browser, ours) = tokio::io::duplex(4096);
        let (program, session) = tokio::io::duplex(4096);
        tokio::spawn(serve(ours, framed, session));
        (browser, program)
    }

    #[test]
    fn the_key_is_answered_as_the_standard_says() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn bytes_go_both_ways_without_dockers_frames() {
        let (mut browser, mut program) = connected(true);
        browser.write_all(&masked(0x82, b"hello")).await.unwrap();
        let mut typed = [0; 5];
        program.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"hello");
        program.write_all(b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err").await.unwrap();
        let mut answer = [0; 10];
        browser.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\x82\x03out\x82\x03err");
        drop(program);
        let mut last = Vec::new();
        browser.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"\x88\x02\x03\xe8", "closed as normal");
    }

    #[tokio::test]
    async fn pings_are_answered_and_a_close_ends_both_sides() {
        let (mut browser, mut program) = connected(false);
        browser.write_all(&masked(0x89, b"hi")).await.unwrap();
        let mut pong = [0; 4];
        browser.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"\x8a\x02hi");
        browser.write_all(&masked(0x88, b"")).await.unwrap();
        let mut rest = Vec::new();
        program.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn unmasked_and_unknown_frames_close_with_a_reason() {
        for frame in [b"\x82\x01x".to_vec(), masked(0x83, b"x"), masked(0xc2, b"x")] {
            let (mut browser, _program) = connected(false);
            browser.write_all(&frame).await.unwrap();
            let mut last = Vec::new();
            browser.read_to_end(&mut last).await.unwrap();
            assert_eq!(last, b"\x88\x02\x03\xea");
        }
    }
}
