//! Reading a rotated log: its lines from the oldest wanted one on, and on past each rotation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::part::Part;

/// Bytes read at once.
const BLOCK: usize = 64 * 1024;
/// A line longer than this is no log line; the shim splits at 16 KiB before escaping.
pub(super) const LONGEST_LINE: usize = 1024 * 1024;

/// One line of a log file.
#[derive(Debug, Deserialize)]
pub struct Entry<'a> {
    /// What the program wrote, its newline included when the line is whole.
    #[serde(borrow, default)]
    pub log: Cow<'a, str>,
    /// `stdout` or `stderr`.
    #[serde(borrow, default)]
    pub stream: Cow<'a, str>,
    /// What the options say of the container.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// When it was read from the program.
    pub time: Timestamp,
}

impl Entry<'_> {
    /// Reads a line; none when it is damaged.
    pub fn parse(line: &[u8]) -> Option<Entry<'_>> {
        serde_json::from_slice(line).ok()
    }
}

/// The lines of a log, oldest wanted first.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    /// The file being read, or its unpacked copy; none while there is no log yet.
    current: Option<File>,
    /// What was read and not yet handed out: `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
}

impl Lines {
    /// Opens the log at `path` at the last `tail` lines, or at its very beginning.
    pub fn open(path: &Path, tail: Option<u64>) -> io::Result<Self> {
        let mut lines = Self { path: path.to_owned(), current: None, buffer: Vec::new(), start: 0 };
        let mut parts = Part::list(path)?;
        lines.current = match tail {
            None => parts.pop().map(|oldest| oldest.into_plain(path)).transpose()?,
            Some(count) => tail_start(parts, count, path)?,
        };
        Ok(lines)
    }

    /// The next whole line without its newline; none at the present end of the log, which may
    /// have grown when this is called again.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = 0;
        loop {
            if let Some(length) = self.buffer[self.start + searched..].iter().position(|byte| *byte == b'\n')
            {
                let from = self.start;
                self.start = from + searched + length + 1;
                return Ok(Some(&self.buffer[from..self.start - 1]));
            }
            searched = self.buffer.len() - self.start;
            if searched > LONGEST_LINE {
                self.buffer.clear();
                self.start = 0;
                searched = 0;
            }
            if self.fill()? == 0 && !self.advance()? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let Some(file) = &mut self.current else { return Ok(0) };
        self.buffer.drain(..self.start);
        self.start = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + BLOCK, 0);
        let read = file.read(&mut self.buffer[old..]);
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        read
    }

    /// At the end of a file: goes on to the next newer one if the log was rotated meanwhile.
    /// True when there may be more to read.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(current) = &self.current else {
            let oldest = Part::list(&self.path)?.pop();
            self.current = oldest.map(|part| part.into_plain(&self.path)).transpose()?;
            return Ok(self.current.is_some());
        };
        // Nearly always it is the newest that is followed: nothing else needs to be opened.
        match Part::newest(&self.path)? {
            None => return Ok(false),
            Some(newest) if newest.is(current)? => return Ok(false),
            Some(_) => {}
        }
        // Nothing is written to the old file any more; what came since our last read is.
        if self.fill()? > 0 {
            return Ok(true);
        }
        let Some(current) = &self.current else { return Ok(false) };
        let mut parts = Part::list(&self.path)?;
        for at in 0..parts.len() {
            if parts[at].is(current)? {
                parts.truncate(at);
                break;
            }
        }
        // The file after it in time: the last of those that are newer; of all, if it is there no more.
        self.current = parts.pop().map(|part| part.into_plain(&self.path)).transpose()?;
        Ok(self.current.is_some())
    }
}

/// The file in which the last `count` lines begin, at the first of them; `parts` are newest first.
fn tail_start(parts: Vec<Part>, count: u64, path: &Path) -> io::Result<Option<File>> {
    let mut left = count;
    // The file after the one that is looked at, from its beginning.
    let mut newer = None;
    for part in parts {
        let mut file = part.into_plain(path)?;
        let size = file.metadata()?.len();
        if left == 0 {
            if newer.is_none() {
                file.seek(SeekFrom::Start(size))?;
                newer = Some(file);
            }
            return Ok(newer);
        }
        if let Some(offset) = last_lines(&file, size, &mut left)? {
            file.seek(SeekFrom::Start(offset))?;
            return Ok(Some(file));
        }
        newer = Some(file);
    }
    Ok(newer)
}

/// Where the last `left` lines of a file begin; none if it has fewer, which are then taken from `left`, or just as
/// many.
fn last_lines(file: &File, size: u64, left: &mut u64) -> io::Result<Option<u64>> {
    let mut end = size;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let from = end.saturating_sub(BLOCK as u64);
        let length = usize::try_from(end - from).unwrap_or(BLOCK);
        file.read_exact_at(&mut block[..length], from)?;
        for at in (0..length).rev().filter(|at| block[*at] == b'\n') {
            // The newline that ends the file begins no line.
            if from + at as u64 + 1 == size {
                continue;
            }
            *left -= 1;
            if *left == 0 {
                return Ok(Some(from + at as u64 + 1));
            }
        }
        end = from;
    }
    if size > 0 {
        *left -= 1; // the file's first line has no newline before it
        if *left == 0 {
            return Ok(Some(0));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn all(lines: &mut Lines) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            read.push(String::from_utf8(line.to_vec()).unwrap());
        }
        read
    }

    fn three_files(dir: &Path) -> PathBuf {
        let path = dir.join("x-json.log");
        fs::write(dir.join("x-json.log.2"), "1\n2\n").unwrap();
        fs::write(dir.join("x-json.log.1"), "3\n4\n5\n").unwrap();
        fs::write(&path, "6\n7\n").unwrap();
        path
    }

    #[test]
    fn reads_rotated_files_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = three_files(dir.path());
        assert_eq!(all(&mut Lines::open(&path, None).unwrap()), ["1", "2", "3", "4", "5", "6", "7"]);
    }

    #[test]
    fn tail_crosses_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = three_files(dir.path());
        for count in 0..9 {
            let want: Vec<String> =
                (1..=7).skip(7_usize.saturating_sub(count)).map(|n| n.to_string()).collect();
            assert_eq!(all(&mut Lines::open(&path, Some(count as u64)).unwrap()), want, "tail {count}");
        }
    }

    #[test]
    fn goes_on_after_growth_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let mut lines = Lines::open(&path, None).unwrap();
        assert_eq!(all(&mut lines), Vec::<String>::new());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"a\nb").unwrap();
        assert_eq!(all(&mut lines), ["a"]);
        file.write_all(b"b\nc\n").unwrap();
        fs::rename(&path, dir.path().join("x-json.log.1")).unwrap();
        assert_eq!(all(&mut lines), ["bb", "c"]);
        fs::write(&path, "d\n").unwrap();
        assert_eq!(all(&mut lines), ["d"]);
        fs::rename(dir.path().join("x-json.log.1"), dir.path().join("x-json.log.2")).unwrap();
        fs::rename(&path, dir.path().join("x-json.log.1")).unwrap();
        fs::write(&path, "e\n").unwrap();
        assert_eq!(all(&mut lines), ["e"]);
    }

    fn pack(path: &Path) {
        let name = format!("{}.gz", path.display());
        let mut packed = flate2::write::GzEncoder::new(File::create(name).unwrap(), Default::default());
        packed.write_all(&fs::read(path).unwrap()).unwrap();
        packed.finish().unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn packed_files_are_read_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = three_files(dir.path());
        pack(&dir.path().join("x-json.log.2"));
        pack(&dir.path().join("x-json.log.1"));
        assert_eq!(all(&mut Lines::open(&path, None).unwrap()), ["1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(all(&mut Lines::open(&path, Some(4)).unwrap()), ["4", "5", "6", "7"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no unpacked copy is left");
    }

    #[test]
    fn a_file_packed_while_it_is_read_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = three_files(dir.path());
        let mut lines = Lines::open(&path, Some(7)).unwrap();
        let oldest = dir.path().join("x-json.log.2");
        assert_eq!(lines.next_line().unwrap().unwrap(), b"1");
        // A rotation and a packing between two reads: every file has another name and another inode.
        fs::rename(&oldest, dir.path().join("x-json.log.3")).unwrap();
        fs::rename(dir.path().join("x-json.log.1"), &oldest).unwrap();
        fs::rename(&path, dir.path().join("x-json.log.1")).unwrap();
        fs::write(&path, "8\n").unwrap();
        for older in ["x-json.log.3", "x-json.log.2", "x-json.log.1"] {
            pack(&dir.path().join(older));
        }
        assert_eq!(all(&mut lines), ["2", "3", "4", "5", "6", "7", "8"]);
    }

    #[test]
    fn entries_and_damage() {
        let entry =
            Entry::parse(br#"{"log":"a\"\u0041\n","stream":"stderr","time":"2023-11-14T22:13:20.5Z"}"#)
                .unwrap();
        assert_eq!((entry.log.as_ref(), entry.stream.as_ref()), ("a\"A\n", "stderr"));
        assert!(Entry::parse(b"\0\0\0{").is_none());
        assert!(Entry::parse(br#"{"log":"half"#).is_none());
    }

    #[test]
    fn a_damaged_endless_line_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let mut bytes = vec![b'x'; LONGEST_LINE + 2 * BLOCK];
        bytes.extend_from_slice(b"\ngood\n");
        fs::write(&path, bytes).unwrap();
        let read = all(&mut Lines::open(&path, None).unwrap());
        assert_eq!(read.last().map(String::as_str), Some("good"));
    }
}
