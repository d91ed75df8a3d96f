//! A daemon that knows nothing but canned answers, over a unix socket.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

/// An answer.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

/// Answers by `METHOD path`, without version and query.
pub type Answers = BTreeMap<String, Answer>;

pub fn start(socket: &Path, answers: Answers) {
    let listener = UnixListener::bind(socket).expect("bind");
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answers = answers.clone();
            std::thread::spawn(move || serve(stream, &answers));
        }
    });
}

fn serve(stream: UnixStream, answers: &Answers) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some((method, path)) = request(&mut reader) {
        let answer = find(answers, &method, &path);
        let head = format!(
            "HTTP/1.1 {} X\r\nApi-Version: 1.50\r\nOstype: linux\r\nDocker-Experimental: false\r\nServer: Docker/28.2.2 (linux)\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.content_type,
            answer.body.len()
        );
        let body = if method == "HEAD" { &[][..] } else { &answer.body };
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body)).is_err() {
            return;
        }
    }
}

/// Reads a request with its body.
fn request(reader: &mut BufReader<UnixStream>) -> Option<(String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut chunked) = (0usize, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= header == "transfer-encoding: chunked";
    }
    if chunked {
        read_chunks(reader)?;
    }
    reader.take(length as u64).read_to_end(&mut Vec::new()).ok()?;
    Some((method, target))
}

fn read_chunks(reader: &mut BufReader<UnixStream>) -> Option<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = u64::from_str_radix(size.trim(), 16).ok()?;
        reader.take(size + 2).read_to_end(&mut Vec::new()).ok()?;
        if size == 0 {
            return Some(());
        }
    }
}

fn find(answers: &Answers, method: &str, target: &str) -> Answer {
    let path = target.split('?').next().unwrap_or(target);
    let path = match path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')) {
        Some((_, rest)) => format!("/{rest}"),
        None => path.to_owned(),
    };
    if target.starts_with("/v1.51") {
        let body = br#"{"message":"client version 1.51 is too new. Maximum supported API version is 1.50"}"#
            .to_vec();
        return Answer { status: 400, content_type: "application/json", body };
    }
    let missing = || {
        let name = path.trim_end_matches("/json").rsplit('/').next().unwrap_or_default();
        let kind = path.split('/').nth(1).unwrap_or_default().trim_end_matches('s');
        let message = match kind {
            "network" => format!("network {name} not found"),
            "volume" => format!("get {name}: no such volume"),
            kind => format!("No such {kind}: {name}"),
        };
        let body = format!("{{\"message\":\"{message}\"}}").into_bytes();
        Answer { status: 404, content_type: "application/json", body }
    };
    answers.get(&format!("{method} {path}")).cloned().unwrap_or_else(missing)
}
