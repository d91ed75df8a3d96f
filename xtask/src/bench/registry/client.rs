//! The smallest client of a registry: one connection that is kept, so that what is measured is the server. The same for
//! all of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// What all manifests here are. Older registries give it only to those who say that they take it.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// How much of a body is read at once.
const PIECE: usize = 256 * 1024;

/// A connection to a registry.
pub struct Client {
    stream: BufReader<TcpStream>,
    port: u16,
}

/// An answer whose body has been read.
pub struct Answer {
    status: u16,
    location: Option<String>,
    /// Length of the body.
    pub length: usize,
}

impl Client {
    /// Connects to a registry on this machine.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("connect to the registry")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(PIECE, stream), port })
    }

    /// Sends a request and reads the whole answer, whose body is thrown away.
    fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nAccept: {MANIFEST}, */*\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        let stream = self.stream.get_mut();
        match body.len() {
            // One packet, where it is small.
            0..65_536 => stream.write_all(&[head.as_bytes(), body].concat())?,
            _ => {
                stream.write_all(head.as_bytes())?;
                stream.write_all(body)?;
            }
        }
        self.answer().with_context(|| format!("{method} {path}"))
    }

    fn answer(&mut self) -> Result<Answer> {
        let status = self.line()?.split(' ').nth(1).and_then(|code| code.parse().ok()).context("a status")?;
        let mut answer = Answer { status, location: None, length: 0 };
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().context("a length")?,
                "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
                "location" => answer.location = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        if !chunked {
            self.skip(length)?;
            answer.length = length;
            return Ok(answer);
        }
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16).context("a chunk")?;
            self.skip(size)?;
            answer.length += size;
            self.line()?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the registry has hung up");
        Ok(line.trim_end().to_owned())
    }

    fn skip(&mut self, mut left: usize) -> Result<()> {
        let mut piece = vec![0; PIECE.min(left)];
        while left > 0 {
            let wanted = piece.len().min(left);
            let read = self.stream.read(&mut piece[..wanted])?;
            ensure!(read > 0, "the body broke off");
            left -= read;
        }
        Ok(())
    }

    /// Pushes a blob, as Docker does where it knows the digest: a session, and the bytes with its end.
    pub fn push_blob(&mut self, repository: &str, digest: &str, bytes: &[u8]) -> Result<()> {
        let kind = "application/octet-stream";
        let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), kind, b"")?;
        ensure!(begun.status == 202, "an upload was answered with {}", begun.status);
        let location = begun.location.context("an upload without a Location")?;
        // Some name themselves, some don't.
        let path = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
            None => location,
        };
        let mark = if path.contains('?') { '&' } else { '?' };
        let done = self.ask("PUT", &format!("{path}{mark}digest={digest}"), kind, bytes)?;
        ensure!(done.status == 201, "a blob was answered with {}", done.status);
        Ok(())
    }

    /// Pushes a manifest.
    pub fn push_manifest(&mut self, repository: &str, tag: &str, text: &str) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let done = self.ask("PUT", &path, MANIFEST, text.as_bytes())?;
        ensure!(done.status == 201, "a manifest was answered with {}", done.status);
        Ok(())
    }

    /// Pulls something and gives how long it is.
    pub fn pull(&mut self, path: &str) -> Result<usize> {
        let got = self.ask("GET", path, "text/plain", b"")?;
        if got.status == 307 {
            bail!("the registry sends its clients elsewhere");
        }
        ensure!(got.status == 200, "{path} was answered with {}", got.status);
        Ok(got.length)
    }
}

/// A digest as registries write it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Bytes that nothing can compress and that are others for each seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A manifest of one configuration and some layers; `name` makes it another.
pub fn manifest(name: &str, config: &[u8], layers: &[(&str, usize)]) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            serde_json::json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size })
        })
        .collect();
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": config.len() },
        "layers": layers,
        "annotations": { "org.opencontainers.image.title": name },
    })
    .to_string()
}
