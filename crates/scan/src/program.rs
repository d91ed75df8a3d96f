//! Sections of ELF programs, read without the rest of them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use object::read::ReadCache;
use object::{Object, ObjectSection};

/// The most of a section that is read.
const MAX_SECTION: u64 = 32 << 20;

/// The content of a section; none if the file is no program, or has no such section.
pub(crate) fn section(file: &File, name: &str) -> Option<Vec<u8>> {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).ok()?;
    if magic != *b"\x7fELF" {
        return None;
    }
    let length = file.metadata().ok()?.len();
    let cache = ReadCache::new(file);
    let object = object::File::parse(&cache).ok()?;
    let section = object.section_by_name(name)?;
    let (start, size) = section.file_range()?;
    // What the header says is not believed.
    if size > MAX_SECTION || start.checked_add(size)? > length {
        return None;
    }
    let mut content = vec![0; usize::try_from(size).ok()?];
    file.read_exact_at(&mut content, start).ok()?;
    Some(content)
}

/// What a zlib stream holds, if that is no more than a section may be.
pub(crate) fn inflated(packed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(packed).take(MAX_SECTION + 1).read_to_end(&mut plain).ok()?;
    (plain.len() as u64 <= MAX_SECTION).then_some(plain)
}
