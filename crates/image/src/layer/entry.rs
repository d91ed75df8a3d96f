//! The entries of a tar, one after the other: headers with what their extensions say, and the data between.

use std::io::{self, BufRead};

use super::header::{BLOCK, Header};
use super::pax::{Pax, number};
use super::sparse::{self, Segment};
use super::{Attribute, LayerError, Problem};

/// Extended headers and long names are read into memory; none is longer.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As it came, not cleaned.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) attributes: Vec<Attribute>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file of this size; where it is sparse, the runs that are stored.
    File {
        size: u64,
        map: Option<Vec<Segment>>,
    },
    Folder,
    HardLink(Vec<u8>),
    SymbolicLink(Vec<u8>),
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// Who keeps what of a tar is not the content of files, see [`super::split`].
pub(crate) trait Keep {
    /// The next bytes of the tar.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError>;
    /// The content of a file stands here, this long.
    fn content(&mut self, path: &[u8], length: u64) -> Result<(), LayerError>;
}

/// Nothing is kept.
impl Keep for () {
    fn bytes(&mut self, _: &[u8]) -> Result<(), LayerError> {
        Ok(())
    }

    fn content(&mut self, _: &[u8], _: u64) -> Result<(), LayerError> {
        Ok(())
    }
}

/// Reads entries from a plain tar.
#[derive(Debug)]
pub(crate) struct Entries<R, K> {
    reader: R,
    keep: K,
    /// Bytes of the current entry not read yet, without and with its padding.
    data: u64,
    padding: u64,
    /// The last name seen, for messages about what has none.
    last: Vec<u8>,
    /// A header has been read: it is a tar.
    begun: bool,
}

#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead, K: Keep> Entries<R, K> {
    pub(crate) fn new(reader: R, keep: K) -> Self {
        Self { reader, keep, data: 0, padding: 0, last: Vec::new(), begun: false }
    }

    /// The next entry; what is left of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            self.skip_rest()?;
            let Some(block) = self.block()? else {
                return if extended { Err(self.wrong(Problem::Truncated)) } else { Ok(None) };
            };
            if block.iter().all(|byte| *byte == 0) {
                self.expect_end()?;
                return if extended { Err(self.wrong(Problem::Truncated)) } else { Ok(None) };
            }
            let header = Header::parse(&block).map_err(|problem| match (self.begun, problem) {
                (false, Problem::Checksum) => LayerError::NotTar,
                (_, problem) => LayerError::entry(Header::raw_name(&block), problem),
            })?;
            self.begun = true;
            self.last.clone_from(&header.name);
            self.data = header.size;
            self.padding = header.size.next_multiple_of(BLOCK as u64) - header.size;
            match header.kind {
                b'x' | b'X' => {
                    let data = self.extension(&header)?;
                    extensions.pax = Pax::parse(&data).map_err(|problem| self.wrong(problem))?;
                }
                // A comment for all that follows; what it could say does not belong into a layer.
                b'g' => {}
                b'L' => extensions.long_name = Some(until_nul(self.extension(&header)?)),
                b'K' => extensions.long_link = Some(until_nul(self.extension(&header)?)),
                _ => return self.entry(header, extensions, &block).map(Some),
            }
            extended |= header.kind != b'g';
        }
    }

    /// Gives the current entry's data piece by piece, until `take` has seen all of it.
    pub(crate) fn for_each_piece(
        &mut self,
        take: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        self.pieces(true, take)
    }

    /// The same, for data that becomes the content of the file `path` as it is.
    pub(crate) fn content(
        &mut self,
        path: &[u8],
        take: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        self.keep.content(path, self.data)?;
        self.pieces(false, take)
    }

    /// What follows the end mark; gives back who has kept.
    pub(crate) fn rest(mut self) -> Result<K, LayerError> {
        loop {
            let piece = self.reader.fill_buf().map_err(LayerError::Stream)?;
            let count = piece.len();
            if count == 0 {
                return Ok(self.keep);
            }
            self.keep.bytes(piece)?;
            self.reader.consume(count);
        }
    }

    fn pieces(
        &mut self,
        kept: bool,
        mut take: impl FnMut(&[u8]) -> Result<(), LayerError>,
    ) -> Result<(), LayerError> {
        while self.data > 0 {
            let most = self.data;
            let piece = self.reader.fill_buf().map_err(LayerError::Stream)?;
            let count = piece.len().min(usize::try_from(most).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(self.wrong(Problem::Truncated));
            }
            if kept {
                self.keep.bytes(&piece[..count])?;
            }
            take(&piece[..count])?;
            self.reader.consume(count);
            self.data -= count as u64;
        }
        Ok(())
    }

    /// The current entry's data, up to `count` bytes of it, in one piece of memory of the caller.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..most]).map_err(LayerError::Stream)?;
        if count == 0 {
            return Err(self.wrong(Problem::Truncated));
        }
        self.keep.bytes(&buffer[..count])?;
        self.data -= count as u64;
        Ok(count)
    }

    /// The reader, and how much of the current entry's data is to come from it.
    pub(crate) fn ahead(&self) -> (&R, u64) {
        (&self.reader, self.data)
    }

    /// Leaves out what is left of the current entry's data: the caller has it from somewhere else, and tells the reader
    /// to go so many bytes on.
    pub(crate) fn pass_over(
        &mut self,
        pass: impl FnOnce(&mut R, u64) -> io::Result<()>,
    ) -> Result<(), LayerError> {
        pass(&mut self.reader, std::mem::take(&mut self.data)).map_err(LayerError::Stream)
    }

    fn entry(
        &mut self,
        header: Header,
        extensions: Extensions,
        block: &[u8; BLOCK],
    ) -> Result<Entry, LayerError> {
        let Extensions { pax, long_name, long_link } = extensions;
        let sparse_name = pax.sparse.name.clone();
        let name = pax.path.clone().or(long_name).unwrap_or_else(|| header.name.clone());
        let name = sparse_name.unwrap_or(name);
        self.last.clone_from(&name);
        if let Some(size) = pax.size {
            self.data = size;
            self.padding = size.checked_next_multiple_of(BLOCK as u64).map_or(0, |end| end - size);
        }
        let link = pax.link.clone().or(long_link).unwrap_or_else(|| header.link.clone());
        let kind = self.kind(&header, &pax, link, &name, block)?;
        let id = |id: u64, what| match u32::try_from(id) {
            // The highest number means "nobody" to the system calls.
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(LayerError::entry(&name, Problem::Number(what))),
        };
        Ok(Entry {
            kind,
            mode: header.mode,
            uid: id(pax.uid.unwrap_or(header.uid), "user ID")?,
            gid: id(pax.gid.unwrap_or(header.gid), "group ID")?,
            mtime: pax.mtime.unwrap_or((header.mtime, 0)),
            attributes: pax.attributes,
            name,
        })
    }

    fn kind(
        &mut self,
        header: &Header,
        pax: &Pax,
        link: Vec<u8>,
        name: &[u8],
        block: &[u8; BLOCK],
    ) -> Result<Kind, LayerError> {
        let wrong = |problem| LayerError::entry(name, problem);
        let target = |link: Vec<u8>| match link.is_empty() || link.contains(&0) {
            true => Err(LayerError::entry(name, Problem::LinkEmpty)),
            false => Ok(link),
        };
        Ok(match header.kind {
            // Before ustar a folder was a file whose name ends with a slash.
            b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Folder,
            b'0' | 0 | b'7' if pax.sparse.present => self.sparse_file(pax, name)?,
            b'0' | 0 | b'7' => Kind::File { size: self.data, map: None },
            b'S' => self.gnu_sparse_file(block).map_err(|error| error.unwrap_or_else(wrong))?,
            b'1' => Kind::HardLink(target(link)?),
            b'2' => Kind::SymbolicLink(target(link)?),
            b'3' => Kind::CharacterDevice(header.major, header.minor),
            b'4' => Kind::BlockDevice(header.major, header.minor),
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            other => return Err(wrong(Problem::Type(char::from(other)))),
        })
    }

    fn gnu_sparse_file(&mut self, block: &[u8; BLOCK]) -> Result<Kind, ProblemOr> {
        let (mut map, size, mut more) = sparse::gnu_header(block)?;
        while more {
            let block = self.block().map_err(ProblemOr::Error)?.ok_or(Problem::Truncated)?;
            let (runs, again) = sparse::gnu_extension(&block)?;
            map.extend(runs);
            more = again;
            if map.len() > sparse::MOST_SEGMENTS {
                return Err(Problem::Sparse.into());
            }
        }
        Ok(Kind::File { size, map: Some(sparse::check(map, size, self.data)?) })
    }

    fn sparse_file(&mut self, pax: &Pax, name: &[u8]) -> Result<Kind, LayerError> {
        let wrong = |problem| LayerError::entry(name, problem);
        let size = pax.sparse.size.ok_or_else(|| wrong(Problem::Sparse))?;
        let map = match (pax.sparse.major, pax.sparse.minor) {
            (Some(1), Some(0)) => self.map_in_data(name)?,
            (None | Some(0), _) => pax.sparse.map.clone(),
            _ => return Err(wrong(Problem::Sparse)),
        };
        let map = sparse::check(map, size, self.data).map_err(wrong)?;
        Ok(Kind::File { size, map: Some(map) })
    }

    /// Version 1.0: the map stands before the data, decimal numbers on lines, filled up to a block.
    fn map_in_data(&mut self, name: &[u8]) -> Result<Vec<Segment>, LayerError> {
        let wrong = || LayerError::entry(name, Problem::Sparse);
        let mut lines = Lines { entries: self, block: [0; BLOCK], position: BLOCK };
        let count = lines.number().map_err(|error| error.unwrap_or_else(|_| wrong()))?;
        let count = usize::try_from(count).ok().filter(|count| *count <= sparse::MOST_SEGMENTS);
        let mut map = Vec::new();
        for _ in 0..count.ok_or_else(wrong)? {
            let offset = lines.number().map_err(|error| error.unwrap_or_else(|_| wrong()))?;
            let length = lines.number().map_err(|error| error.unwrap_or_else(|_| wrong()))?;
            map.push(Segment { offset, length });
        }
        Ok(map)
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        if header.size > LONGEST_EXTENSION {
            return Err(self.wrong(Problem::HeaderTooLong(header.size)));
        }
        let mut data = Vec::with_capacity(header.size as usize);
        self.for_each_piece(|piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(data)
    }

    fn skip_rest(&mut self) -> Result<(), LayerError> {
        self.for_each_piece(|_| Ok(()))?;
        self.data = std::mem::take(&mut self.padding);
        self.for_each_piece(|_| Ok(()))
    }

    /// The next block; none at the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) if !self.begun => return Err(LayerError::NotTar),
                Ok(0) => return Err(self.wrong(Problem::Truncated)),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LayerError::Stream(error)),
            }
        }
        self.keep.bytes(&block)?;
        Ok(Some(block))
    }

    /// After one block of zeros there is a second one, or nothing.
    fn expect_end(&mut self) -> Result<(), LayerError> {
        match self.block()? {
            Some(block) if block.iter().any(|byte| *byte != 0) => Err(self.wrong(Problem::AfterEnd)),
            _ => Ok(()),
        }
    }

    fn wrong(&self, problem: Problem) -> LayerError {
        LayerError::entry(&self.last, problem)
    }
}

/// A problem whose entry is not known yet, or a whole error.
enum ProblemOr {
    Problem(Problem),
    Error(LayerError),
}

impl ProblemOr {
    fn unwrap_or_else(self, wrong: impl FnOnce(Problem) -> LayerError) -> LayerError {
        match self {
            Self::Problem(problem) => wrong(problem),
            Self::Error(error) => error,
        }
    }
}

impl From<Problem> for ProblemOr {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Numbers on lines at the beginning of an entry's data.
struct Lines<'a, R, K> {
    entries: &'a mut Entries<R, K>,
    block: [u8; BLOCK],
    position: usize,
}

impl<R: BufRead, K: Keep> Lines<'_, R, K> {
    fn number(&mut self) -> Result<u64, ProblemOr> {
        let mut digits = Vec::new();
        loop {
            if self.position == BLOCK {
                self.fill()?;
            }
            let byte = self.block[self.position];
            self.position += 1;
            match byte {
                b'\n' => return Ok(number(&digits, "sparse map").map_err(|_| Problem::Sparse)?),
                _ if digits.len() > 20 => return Err(Problem::Sparse.into()),
                byte => digits.push(byte),
            }
        }
    }

    fn fill(&mut self) -> Result<(), ProblemOr> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.entries.read(&mut self.block[filled..]).map_err(ProblemOr::Error)? {
                0 => return Err(Problem::Sparse.into()),
                count => filled += count,
            }
        }
        self.position = 0;
        Ok(())
    }
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}
