//! How far the loading of a layer is, as it is shown.

use std::io::{self, Read};

use crate::progress::{Progress, ProgressEvent};

/// Bytes between two movements.
const EVERY: u64 = 512 * 1024;

/// The bar of one layer.
pub(super) struct Bar<'a> {
    progress: &'a dyn Progress,
    /// How the layer is called in the progress.
    row: String,
    total: u64,
    shown: u64,
}

impl<'a> Bar<'a> {
    pub(super) fn new(progress: &'a dyn Progress, row: &str, total: u64) -> Self {
        Self { progress, row: row.to_owned(), total, shown: 0 }
    }

    /// So many bytes of it have been read.
    pub(super) fn reached(&mut self, read: u64) {
        if read - self.shown >= EVERY {
            self.show(read);
        }
    }

    /// There were no more than these.
    pub(super) fn end(&mut self, read: u64) {
        if read != self.shown {
            self.show(read);
        }
    }

    fn show(&mut self, read: u64) {
        self.shown = read;
        let event = ProgressEvent::bar(&self.row, "Loading layer", read, Some(self.total));
        self.progress.event(event);
    }
}

/// A reader whose progress is shown, if anybody knows what of.
pub(super) struct Watched<'a, R> {
    reader: R,
    bar: Option<Bar<'a>>,
    read: u64,
}

impl<'a, R> Watched<'a, R> {
    pub(super) fn new(reader: R, bar: Option<Bar<'a>>) -> Self {
        Self { reader, bar, read: 0 }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.read += count as u64;
        if let Some(bar) = &mut self.bar {
            match count {
                0 => bar.end(self.read),
                _ => bar.reached(self.read),
            }
        }
        Ok(count)
    }
}
