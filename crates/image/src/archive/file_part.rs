//! Where an archive comes from: a stream, which is gone once it is read, or a file on this machine, whose parts can
//! be read where they stand.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says that nobody waits any more for what is made of a file, or into one: work ends with an error then.
#[derive(Debug, Clone, Default)]
pub struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// Nobody waits any more.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::other("it was given up")),
            false => Ok(()),
        }
    }
}

/// A file, or a part of one. What reads it moves no offset but its own.
///
/// Somebody may write to the file meanwhile: what is read twice need not be the same, and what is believed of it must
/// have been looked at in the bytes that are used.
#[derive(Debug, Clone)]
pub struct FilePart {
    file: Arc<File>,
    at: u64,
    end: u64,
    given_up: GivenUp,
}

impl FilePart {
    /// From the offset that the file stands at to its end.
    ///
    /// # Errors
    /// If it is no regular file, or cannot be looked at.
    pub fn of(mut file: File, given_up: GivenUp) -> io::Result<Self> {
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let at = file.stream_position()?;
        Ok(Self { file: Arc::new(file), at, end: about.len(), given_up })
    }

    /// Moves the file's own offset to the end, as who reads a stream would: it may be shared with others.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn pass_file(&self) -> io::Result<()> {
        (&*self.file).seek(SeekFrom::Start(self.end)).map(drop)
    }

    /// Bytes from here to the end.
    pub(super) fn length(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// The next so many bytes; none if there are not as many.
    fn part(&self, from: u64, length: u64) -> Option<Self> {
        let end = from.checked_add(length).filter(|end| *end <= self.end)?;
        Some(Self { at: from, end, ..self.clone() })
    }
}

impl Read for FilePart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.given_up.check()?;
        let most = usize::try_from(self.length()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// What an archive's entries are read from.
pub(super) trait Source: BufRead {
    /// Where the next so many bytes stand, if they can be read there too.
    fn part(&self, length: u64) -> Option<FilePart>;

    /// Passes over bytes that are read elsewhere.
    fn pass(&mut self, count: u64) -> io::Result<()>;
}

/// A stream.
impl Source for BufReader<Box<dyn Read + Send + '_>> {
    fn part(&self, _: u64) -> Option<FilePart> {
        None
    }

    fn pass(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut self.take(count), &mut io::sink())? == count {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Source for BufReader<FilePart> {
    fn part(&self, length: u64) -> Option<FilePart> {
        let inner = self.get_ref();
        inner.part(inner.at - self.buffer().len() as u64, length)
    }

    fn pass(&mut self, count: u64) -> io::Result<()> {
        let buffered = self.buffer().len().min(usize::try_from(count).unwrap_or(usize::MAX));
        self.consume(buffered);
        let inner = self.get_mut();
        inner.at += count - buffered as u64;
        match inner.at <= inner.end {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn parts_are_read_where_they_stand_and_passed_over() {
        let whole = FilePart::of(file(b"0123456789"), GivenUp::default()).unwrap();
        let mut source = BufReader::with_capacity(4, whole);
        let mut first = [0; 2];
        source.read_exact(&mut first).unwrap();
        let mut part = source.part(5).unwrap();
        source.pass(5).unwrap();
        let (mut there, mut rest) = (String::new(), String::new());
        source.read_to_string(&mut rest).unwrap();
        part.read_to_string(&mut there).unwrap();
        assert_eq!((&first, there.as_str(), rest.as_str()), (b"01", "23456", "789"));
        assert!(source.part(1).is_none() && source.pass(1).is_err());
    }

    #[test]
    fn it_begins_at_the_file_s_offset_and_leaves_it_alone() {
        let mut file = file(b"abcdef");
        file.seek(SeekFrom::Start(2)).unwrap();
        let mut whole = FilePart::of(file.try_clone().unwrap(), GivenUp::default()).unwrap();
        let mut text = String::new();
        whole.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), file.stream_position().unwrap()), ("cdef", 2));
        whole.pass_file().unwrap();
        assert_eq!(file.stream_position().unwrap(), 6);
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error_not_an_end() {
        let file = file(b"0123456789");
        let mut whole = FilePart::of(file.try_clone().unwrap(), GivenUp::default()).unwrap();
        file.set_len(4).unwrap();
        let error = whole.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the file has become shorter");
    }

    #[test]
    fn what_was_given_up_is_not_read() {
        let given_up = GivenUp::default();
        let mut whole = FilePart::of(file(b"x"), given_up.clone()).unwrap();
        given_up.set();
        assert!(whole.read(&mut [0]).is_err());
        assert!(FilePart::of(File::open("/").unwrap(), given_up).is_err());
    }
}
