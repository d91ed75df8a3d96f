//! The json-file log: one JSON object per line of output, byte for byte as Docker's `json-file` driver.
//!
//! ```text
//! {"log":"…\n","stream":"stdout","attrs":{…},"time":"2026-01-02T03:04:05.678Z"}
//! ```
//!
//! A line longer than 16 KiB is split: its pieces have no newline and carry the time of the first. `file` keeps and
//! rotates the files, `ring` stands between when the program must not wait for them.

mod file;
mod ring;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use dray_sys::process as proc;

use self::file::{Keeping, LogFile};
use self::ring::Ring;
use super::request::LogTarget;
use crate::clock::Stamp;

pub use file::PACK;
pub use ring::WRITE;

/// Longest piece of a line.
pub const MAX_LINE: usize = 16 * 1024;

/// A log that is being written.
#[derive(Debug)]
pub struct JsonLog {
    sink: Sink,
    /// `"attrs":{…},` or nothing.
    attrs: Vec<u8>,
    streams: [Line; 2],
    scratch: Vec<u8>,
}

/// Where entries go.
#[derive(Debug)]
enum Sink {
    File(LogFile),
    Ring(Ring),
}

/// What of a line has come.
#[derive(Debug, Default)]
struct Line {
    buffer: Vec<u8>,
    /// Time of the first piece, if pieces of it are written already.
    since: Option<Stamp>,
}

impl JsonLog {
    /// Opens the log of a request; `None` if there is to be none.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(target: &LogTarget) -> io::Result<Option<JsonLog>> {
        let LogTarget::JsonFile { path, max_size, max_file, compress, buffer, attrs } = target else {
            return Ok(None);
        };
        let keeping =
            Keeping { path: path.clone(), max_size: *max_size, max_file: *max_file, compress: *compress };
        // Opened here even if another process writes: that it cannot be is told at the start.
        let file = LogFile::open(keeping.clone())?;
        let sink = match buffer {
            None => Sink::File(file),
            Some(limit) => Sink::Ring(Ring::start(keeping, *limit)?),
        };
        let mut text = Vec::new();
        if !attrs.is_empty() {
            text.extend_from_slice(b"\"attrs\":");
            serde_json::to_writer(&mut text, attrs)?;
            text.push(b',');
        }
        Ok(Some(JsonLog {
            sink,
            attrs: text,
            streams: [Line::default(), Line::default()],
            scratch: Vec::new(),
        }))
    }

    /// Takes output of stream 0 (stdout) or 1 (stderr).
    pub fn write(&mut self, stream: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let pending = self.streams[stream].buffer.len();
            let room = MAX_LINE - pending;
            let newline = bytes.iter().take(room).position(|&byte| byte == b'\n');
            match newline {
                Some(at) => {
                    self.entry(stream, &bytes[..at], true);
                    bytes = &bytes[at + 1..];
                }
                None if bytes.len() >= room => {
                    self.entry(stream, &bytes[..room], false);
                    bytes = &bytes[room..];
                }
                None => {
                    self.streams[stream].buffer.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// The streams have ended: what is there of their last lines is written, and what was taken is in the file.
    pub fn finish(&mut self) {
        for stream in 0..2 {
            if !self.streams[stream].buffer.is_empty() {
                self.entry(stream, &[], false);
            }
        }
        match &mut self.sink {
            Sink::File(file) => file.finish(),
            Sink::Ring(ring) => ring.finish(),
        }
    }

    /// Writes the pending bytes and `more` as one entry.
    fn entry(&mut self, stream: usize, more: &[u8], whole: bool) {
        let line = &mut self.streams[stream];
        let stamp = line.since.unwrap_or_else(Stamp::now);
        line.since = if whole { None } else { Some(stamp) };
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        text.push(b'{');
        let mut log = std::mem::take(&mut line.buffer);
        log.extend_from_slice(more);
        if whole {
            log.push(b'\n');
        }
        if !log.is_empty() {
            text.extend_from_slice(b"\"log\":");
            quote(&log, &mut text);
            text.push(b',');
        }
        text.extend_from_slice(if stream == 0 {
            b"\"stream\":\"stdout\","
        } else {
            b"\"stream\":\"stderr\","
        });
        text.extend_from_slice(&self.attrs);
        text.extend_from_slice(b"\"time\":\"");
        stamp.write(&mut text);
        text.extend_from_slice(b"\"}\n");
        match &mut self.sink {
            Sink::File(file) => file.append(&text),
            Sink::Ring(ring) => ring.append(&text),
        }
        log.clear();
        // A long line now and then must not be paid for as long as the container lives.
        if log.capacity() <= 512 {
            self.streams[stream].buffer = log;
        }
        if text.capacity() <= 1024 {
            self.scratch = text;
        }
    }
}

/// The processes beside a shim that work for its log: `None` if `args` ask for neither.
pub fn main(args: &[OsString]) -> Option<ExitCode> {
    let word = args.get(1)?;
    let done = if word == PACK {
        args.get(2)
            .map_or_else(|| Err(io::ErrorKind::InvalidInput.into()), |path| file::pack(Path::new(path)))
    } else if word == WRITE {
        // Nobody stops it but the end of what it reads.
        let _held = proc::signal_fd(&super::server::SIGNALS);
        ring::write(&args[2..])
    } else {
        return None;
    };
    Some(if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A JSON string as Go's encoder writes it: HTML characters and line separators escaped, bad UTF-8 replaced.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_char(character, out);
        }
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn quote_char(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        }
        plain => {
            let mut buffer = [0; 4];
            out.extend_from_slice(plain.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn log(name: &str, max_size: Option<u64>, max_file: u32, attrs: &[(&str, &str)]) -> (PathBuf, JsonLog) {
        let dir = std::env::temp_dir().join(format!("runtime-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let attrs: BTreeMap<String, String> =
            attrs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let target = LogTarget::JsonFile {
            path: dir.join("x.log"),
            max_size,
            max_file,
            compress: false,
            buffer: None,
            attrs,
        };
        (dir, JsonLog::open(&target).unwrap().unwrap())
    }

    fn lines(dir: &std::path::Path, name: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn lines_come_whole_whatever_the_reads_were() {
        let (dir, mut log) = log("whole", None, 1, &[("a", "b")]);
        log.write(0, b"one\ntw");
        log.write(1, b"err\n");
        log.write(0, b"o\nlast");
        log.finish();
        let lines = lines(&dir, "x.log");
        let said: Vec<&str> = lines.iter().map(|l| l["log"].as_str().unwrap()).collect();
        assert_eq!(said, ["one\n", "err\n", "two\n", "last"]);
        assert_eq!(lines[1]["stream"], "stderr");
        assert_eq!(lines[0]["attrs"]["a"], "b");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn long_lines_are_split_at_16_kib_with_one_time() {
        let (dir, mut log) = log("long", None, 1, &[]);
        let line = vec![b'x'; MAX_LINE + 10];
        log.write(0, &line[..100]);
        log.write(0, &line[100..]);
        log.write(0, b"\n");
        let lines = lines(&dir, "x.log");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["log"].as_str().unwrap().len(), MAX_LINE);
        assert_eq!(lines[1]["log"], "xxxxxxxxxx\n");
        assert_eq!(lines[0]["time"], lines[1]["time"]);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn rotation_keeps_the_wanted_number_of_files() {
        let (dir, mut log) = log("rotate", Some(100), 3, &[]);
        for number in 0..10 {
            log.write(0, format!("line {number} {}\n", "y".repeat(60)).as_bytes());
        }
        let mut names: Vec<String> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["x.log", "x.log.1", "x.log.2"]);
        assert!(lines(&dir, "x.log")[0]["log"].as_str().unwrap().starts_with("line 9"));
        assert!(lines(&dir, "x.log.1")[0]["log"].as_str().unwrap().starts_with("line 8"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn bytes_are_quoted_as_go_does() {
        let mut out = Vec::new();
        quote(b"<a href=\"x\">\t\\ \xff \xe2\x80\xa8 \xc3\xa4\r\n", &mut out);
        let expected = "\"\\u003ca href=\\\"x\\\"\\u003e\\u0009\\\\ \\ufffd \\u2028 \u{e4}\\r\\n\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
