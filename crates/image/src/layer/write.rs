//! The tar format on its way out: ustar headers, with pax records only where they cannot say it.

use std::io::Write;

use dray_spec::{Digest, Hasher};
use rustix::fs as rfs;
use rustix::fs::Stat;

use super::header::BLOCK;
use super::{Attribute, LayerError};

/// The size of reads and writes.
pub(crate) const BUFFER: usize = 256 * 1024;

/// A tar being written: counted and, unless nobody asks for its digest, hashed; in big writes.
pub(crate) struct TarWriter<W> {
    out: W,
    hasher: Option<Hasher>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, hasher: Some(Hasher::new()), buffer: Vec::with_capacity(BUFFER), bytes: 0 }
    }

    /// A tar of which nobody wants the digest.
    pub(crate) fn unhashed(out: W) -> Self {
        Self { hasher: None, ..Self::new(out) }
    }

    /// Adds bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        match bytes.len() >= BUFFER {
            true => self.emit(bytes),
            false => {
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), LayerError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.emit(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(LayerError::Write)
    }

    /// Fills up to a block after that many bytes of data.
    pub(crate) fn pad(&mut self, written: u64) -> Result<(), LayerError> {
        let missing = written.next_multiple_of(BLOCK as u64) - written;
        self.write(&[0; BLOCK][..missing as usize])
    }

    /// Adds a header; the data and its padding are the caller's.
    pub(crate) fn header(
        &mut self,
        meta: &Meta,
        name: &[u8],
        link: &[u8],
        attributes: &[Attribute],
    ) -> Result<(), LayerError> {
        let mut block = [0; BLOCK];
        let mut records = Vec::new();
        meta.fill(&mut block, &mut records);
        fill_name(&mut block, &mut records, name);
        match link.len() <= 100 {
            true => block[157..157 + link.len()].copy_from_slice(link),
            false => record(&mut records, b"linkpath", link),
        }
        for (name, value) in attributes {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            self.pax(&records)?;
        }
        sum(&mut block);
        self.write(&block)
    }

    fn pax(&mut self, records: &[u8]) -> Result<(), LayerError> {
        let mut block = [0; BLOCK];
        let size = records.len() as u64;
        let meta = Meta { kind: b'x', mode: 0o644, uid: 0, gid: 0, size, mtime: 0, device: (0, 0) };
        meta.fill(&mut block, &mut Vec::new());
        let name = b"PaxHeaders.0/entry";
        block[..name.len()].copy_from_slice(name);
        sum(&mut block);
        self.write(&block)?;
        self.write(records)?;
        self.pad(size)
    }

    /// Writes what is held back; gives the length. What follows is somebody else's.
    pub(crate) fn pause(mut self) -> Result<u64, LayerError> {
        self.flush()?;
        Ok(self.bytes)
    }

    /// Ends the tar; gives its digest (that of nothing if it was not hashed) and length.
    pub(crate) fn end(mut self) -> Result<(Digest, u64), LayerError> {
        self.write(&[0; 2 * BLOCK])?;
        self.flush()?;
        self.out.flush().map_err(LayerError::Write)?;
        Ok((self.hasher.unwrap_or_default().finish(), self.bytes))
    }
}

/// The numbers of a header.
pub(crate) struct Meta {
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
}

impl Meta {
    /// Those of a file; its size is left to the caller.
    pub(crate) fn of(stat: &Stat, kind: u8) -> Self {
        let device = matches!(kind, b'3' | b'4');
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: 0,
            mtime: stat.st_mtime,
            device: if device { (rfs::major(stat.st_rdev), rfs::minor(stat.st_rdev)) } else { (0, 0) },
        }
    }

    fn fill(&self, block: &mut [u8; BLOCK], records: &mut Vec<u8>) {
        block[156] = self.kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[100..108], self.mode.into());
        let number = |field: &mut [u8], key: &[u8], value: i64, records: &mut Vec<u8>| {
            let most = 1i64 << (3 * (field.len() - 1));
            match (0..most).contains(&value) {
                true => octal(field, value.unsigned_abs()),
                false => {
                    octal(field, 0);
                    record(records, key, value.to_string().as_bytes());
                }
            }
        };
        number(&mut block[108..116], b"uid", self.uid.into(), records);
        number(&mut block[116..124], b"gid", self.gid.into(), records);
        number(&mut block[124..136], b"size", i64::try_from(self.size).unwrap_or(i64::MAX), records);
        number(&mut block[136..148], b"mtime", self.mtime, records);
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
    }
}

/// Puts the name into the header: whole, split at a slash, or into a record.
fn fill_name(block: &mut [u8; BLOCK], records: &mut Vec<u8>, name: &[u8]) {
    if name.len() <= 100 {
        block[..name.len()].copy_from_slice(name);
        return;
    }
    let split = (0..name.len().min(156))
        .rev()
        .find(|index| name[*index] == b'/' && *index > 0 && *index + 1 < name.len())
        .filter(|index| name.len() - index - 1 <= 100);
    match split {
        Some(slash) => {
            block[345..345 + slash].copy_from_slice(&name[..slash]);
            block[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
        }
        None => {
            block[..100].copy_from_slice(&name[..100]);
            record(records, b"path", name);
        }
    }
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    for (index, byte) in field[..digits].iter_mut().enumerate() {
        *byte = b'0' + ((value >> (3 * (digits - 1 - index))) & 7) as u8;
    }
    field[digits] = 0;
}

fn sum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
    block[155] = b' ';
}

/// Adds `<length> <key>=<value>\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::entry::{Entries, Kind};

    #[test]
    fn numbers_that_a_plain_header_cannot_say() {
        let mut bytes = Vec::new();
        let mut tar = TarWriter::new(&mut bytes);
        let meta = Meta {
            kind: b'0',
            mode: 0o644,
            uid: 3_000_000,
            gid: 7,
            size: 1 << 40,
            mtime: -5,
            device: (0, 0),
        };
        tar.header(&meta, b"huge", b"", &[]).unwrap();
        tar.end().unwrap();
        let entry = Entries::new(&bytes[..], ()).next().unwrap().unwrap();
        assert_eq!(entry.kind, Kind::File { size: 1 << 40, map: None });
        assert_eq!((entry.uid, entry.gid, entry.mtime), (3_000_000, 7, (-5, 0)));
        assert_eq!(bytes.len(), 3 * BLOCK + 2 * BLOCK);
    }

    #[test]
    fn names_whole_split_and_in_a_record() {
        for (name, headers) in [
            ("a".repeat(100), 1),
            (format!("{}/{}", "a".repeat(150), "b".repeat(99)), 1),
            ("a".repeat(101), 3),
        ] {
            let mut bytes = Vec::new();
            let mut tar = TarWriter::new(&mut bytes);
            let meta = Meta { kind: b'0', mode: 0, uid: 0, gid: 0, size: 0, mtime: 0, device: (0, 0) };
            tar.header(&meta, name.as_bytes(), b"", &[]).unwrap();
            tar.end().unwrap();
            assert_eq!(bytes.len(), (headers + 2) * BLOCK, "{name}");
            let entry = Entries::new(&bytes[..], ()).next().unwrap().unwrap();
            assert_eq!(entry.name, name.as_bytes());
        }
    }
}
