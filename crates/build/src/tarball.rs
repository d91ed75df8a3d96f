//! Reading tar archives of strangers: entry by entry, with bounded memory and nothing taken on trust.
//!
//! Understands what GNU tar and the pax format write: long names, long links, pax headers with times, sizes and
//! extended attributes. Sparse files are refused: nobody sends them, and a few bytes of them fill a disk.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::compression::read_up_to;

/// A header block and a data block.
const BLOCK: usize = 512;

/// The most that a long name or a pax header may take.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Dir,
    Symlink,
    Hardlink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// An entry's header. Names are as sent.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) size: u64,
    pub(crate) link: Vec<u8>,
    /// Number of a device.
    pub(crate) device: u64,
    /// Extended attributes by name.
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The archive could not be read, or decompressed.
    #[error("reading the archive: {0}")]
    Read(#[from] io::Error),
    /// The stream ends within an entry.
    #[error("unexpected end of archive")]
    Truncated,
    /// A block is no tar header.
    #[error("invalid tar header")]
    Header,
    /// A name or header that takes too much memory.
    #[error("tar header is too long")]
    TooLong,
    /// A sparse file.
    #[error("sparse file {0:?} is not supported in an archive")]
    Sparse(String),
}

/// An archive being read.
pub(crate) struct Tarball<R> {
    reader: R,
    /// Bytes of the current entry's content that have not been read, and the padding behind it.
    left: u64,
    padding: u64,
    global: BTreeMap<String, Vec<u8>>,
}

impl<R: Read> Tarball<R> {
    pub(crate) fn new(reader: R) -> Self {
        Tarball { reader, left: 0, padding: 0, global: BTreeMap::new() }
    }

    /// The next entry; what was not read of the one before is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut pax = self.global.clone();
        let (mut long_path, mut long_link) = (None, None);
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| TarError::Header)?;
            match header.entry_type().as_byte() {
                b'L' => long_path = Some(self.extension_name(size)?),
                b'K' => long_link = Some(self.extension_name(size)?),
                b'x' => pax.extend(pax_records(&self.extension(size)?)?),
                b'g' => {
                    let records = pax_records(&self.extension(size)?)?;
                    pax.extend(records.clone());
                    self.global.extend(records);
                }
                kind => {
                    let entry = entry(&header, kind, size, pax, long_path, long_link)?;
                    self.begin(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn begin(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn header(&mut self) -> Result<Option<tar::Header>, TarError> {
        let mut header = tar::Header::new_old();
        let got = read_up_to(&mut self.reader, header.as_mut_bytes())?;
        // An archive may end without the two empty blocks.
        if got == 0 || (got == BLOCK && header.as_bytes().iter().all(|byte| *byte == 0)) {
            return Ok(None);
        }
        if got < BLOCK {
            return Err(TarError::Truncated);
        }
        let sum: u32 = header.as_bytes()[..148].iter().map(|byte| u32::from(*byte)).sum::<u32>()
            + 8 * u32::from(b' ')
            + header.as_bytes()[156..].iter().map(|byte| u32::from(*byte)).sum::<u32>();
        match header.cksum() {
            Ok(cksum) if cksum == sum => Ok(Some(header)),
            _ => Err(TarError::Header),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(TarError::TooLong);
        }
        self.begin(size);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        self.by_ref_content().read_to_end(&mut bytes)?;
        if self.left > 0 { Err(TarError::Truncated) } else { Ok(bytes) }
    }

    fn extension_name(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut name = self.extension(size)?;
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn by_ref_content(&mut self) -> Content<'_, R> {
        Content { tarball: self }
    }

    /// The content of the current entry. Ends early only if the archive does.
    pub(crate) fn content(&mut self) -> Content<'_, R> {
        self.by_ref_content()
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let wanted = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(wanted), &mut io::sink())?;
        // The padding of the last entry may be missing.
        if skipped < self.left {
            return Err(TarError::Truncated);
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

/// Reads the content of an entry.
pub(crate) struct Content<'a, R> {
    tarball: &'a mut Tarball<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.tarball.left).unwrap_or(usize::MAX));
        let got = self.tarball.reader.read(&mut buffer[..wanted])?;
        self.tarball.left -= got as u64;
        Ok(got)
    }
}

fn entry(
    header: &tar::Header,
    kind: u8,
    size: u64,
    pax: BTreeMap<String, Vec<u8>>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
) -> Result<Entry, TarError> {
    let text = |key: &str| pax.get(key).and_then(|value| std::str::from_utf8(value).ok());
    let path = pax.get("path").cloned().or(long_path).unwrap_or_else(|| header.path_bytes().into_owned());
    let shown = || String::from_utf8_lossy(&path).into_owned();
    if kind == b'S' || pax.keys().any(|key| key.starts_with("GNU.sparse.")) {
        return Err(TarError::Sparse(shown()));
    }
    let kind = match kind {
        b'0' | b'\0' | b'7' if path.ends_with(b"/") => Kind::Dir,
        b'0' | b'\0' | b'7' => Kind::File,
        b'1' => Kind::Hardlink,
        b'2' => Kind::Symlink,
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        _ => return Err(TarError::Header),
    };
    let number = |key: &str, field: Option<u64>| {
        let value = text(key).and_then(|text| text.parse::<u64>().ok()).or(field).unwrap_or(0);
        u32::try_from(value).unwrap_or(0)
    };
    let size = text("size").and_then(|text| text.parse().ok()).unwrap_or(size);
    Ok(Entry {
        mode: header.mode().map_err(|_| TarError::Header)? & 0o7777,
        uid: number("uid", header.uid().ok()),
        gid: number("gid", header.gid().ok()),
        mtime: text("mtime").and_then(pax_time).unwrap_or_else(|| (seconds(header), 0)),
        // Links and directories may claim a size, but have no content.
        size: if kind == Kind::File { size } else { 0 },
        device: device(header),
        link: pax
            .get("linkpath")
            .cloned()
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(|link| link.into_owned()))
            .unwrap_or_default(),
        xattrs: pax
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("SCHILY.xattr.")?.to_owned(), value.clone())))
            .collect(),
        path,
        kind,
    })
}

fn device(header: &tar::Header) -> u64 {
    let number = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    rustix::fs::makedev(number(header.device_major()), number(header.device_minor()))
}

fn seconds(header: &tar::Header) -> i64 {
    header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0)
}

/// `1700000000.25` as seconds and nanoseconds.
fn pax_time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match whole.starts_with('-') && nanos > 0 {
        true => Some((seconds - 1, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

/// The records of a pax header: `<length> <key>=<value>\n`, where the length counts the whole record.
fn pax_records(mut bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, TarError> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ').ok_or(TarError::Header)?;
        let length = std::str::from_utf8(&bytes[..blank]).ok().and_then(|text| text.parse::<usize>().ok());
        let length = length.filter(|length| (blank + 2..=bytes.len()).contains(length));
        let (record, rest) = bytes.split_at(length.ok_or(TarError::Header)?);
        let record = record[blank + 1..].strip_suffix(b"\n").ok_or(TarError::Header)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(TarError::Header)?;
        let key = String::from_utf8_lossy(&record[..equals]).into_owned();
        match &record[equals + 1..] {
            [] => records.remove(&key),
            value => records.insert(key, value.to_vec()),
        };
        bytes = rest;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
            let mut tarball = Tarball::new(bytes.as_slice());
            while let Ok(Some(_)) = tarball.next_entry() {}
            let _ = pax_records(&bytes);
        }
    }

    #[test]
    fn pax_headers_give_long_names_times_and_attributes() {
        let records = pax_records(b"30 mtime=1700000000.250000000\n19 path=long/name/\n").expect("valid");
        assert_eq!(records["path"], b"long/name/");
        assert_eq!(pax_time("1700000000.25"), Some((1_700_000_000, 250_000_000)));
        assert_eq!(pax_time("-1.5"), Some((-2, 500_000_000)));
        assert!(pax_records(b"99 path=x\n").is_err());
        assert!(pax_records(b"5 ab\n").is_err());
    }
}
