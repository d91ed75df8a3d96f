//! Tars made by hand, right and wrong.

use tar::{EntryType, Header};

/// A tar being written.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header with any bytes as name and link.
pub(crate) fn header(kind: u8, name: &[u8], link: &[u8], size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size);
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
    header.set_cksum();
    header
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a header as it is, and data filled up to a block.
    pub(crate) fn raw(mut self, header: &Header, data: &[u8]) -> Self {
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a header changed by `change`.
    pub(crate) fn with(self, kind: u8, name: &str, data: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = header(kind, name.as_bytes(), b"", data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.raw(&header, data)
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.with(b'0', name, data, |_| {})
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.with(b'5', name, b"", |_| {})
    }

    pub(crate) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.raw(&header(kind, name.as_bytes(), target.as_bytes(), 0), b"")
    }

    pub(crate) fn device(self, kind: u8, name: &str, major: u32, minor: u32) -> Self {
        self.with(kind, name, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// Adds an extended header for the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(&header(b'x', b"pax", b"", data.len() as u64), &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
