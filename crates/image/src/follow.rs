//! A reader of a file that is still being written: the unpacking runs behind the download, or behind the archive.
//!
//! The bytes go through the page cache, so neither side waits for the other's buffers, and what an earlier
//! attempt has left on disk is simply there already.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far a file has grown, told by its writer.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    state: Mutex<Written>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Written {
    bytes: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Cancelled,
}

impl Growth {
    /// The file has `bytes` bytes without a hole now.
    pub(crate) fn reached(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes = state.bytes.max(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// All bytes are there.
    pub(crate) fn finish(&self) {
        self.end(End::Whole);
    }

    /// The rest won't come; readers get an error.
    pub(crate) fn cancel(&self) {
        self.end(End::Cancelled);
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something after `at`, or the end.
    pub(crate) fn wait_past(&self, at: u64) -> io::Result<u64> {
        let mut state = self.lock();
        loop {
            match state.end {
                Some(End::Cancelled) => return Err(io::Error::other("what comes next was given up")),
                Some(End::Whole) => return Ok(state.bytes),
                None if state.bytes > at => return Ok(state.bytes),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Cancels the growth unless it was finished, whatever makes the writer go away.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Arc<Growth>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Reads the file as it grows.
pub(crate) struct Follow<F> {
    file: File,
    at: u64,
    growth: Arc<Growth>,
    on_read: F,
}

impl<F: FnMut(u64)> Follow<F> {
    /// Reads `file` from its start; `on_read` is told how far it has come.
    pub(crate) fn new(file: File, growth: Arc<Growth>, on_read: F) -> Self {
        Follow { file, at: 0, growth, on_read }
    }
}

impl<F: FnMut(u64)> Read for Follow<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.growth.wait_past(self.at)?;
        let left = usize::try_from(there.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += read as u64;
        (self.on_read)(self.at);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pair() -> (File, Arc<Growth>, Follow<impl FnMut(u64)>) {
        let file = tempfile::tempfile().unwrap();
        let growth = Arc::new(Growth::default());
        let follow = Follow::new(file.try_clone().unwrap(), growth.clone(), |_| {});
        (file, growth, follow)
    }

    #[test]
    fn follows_the_writer_to_the_end() {
        let (mut file, growth, mut follow) = pair();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            follow.read_to_end(&mut all).map(|_| all)
        });
        let mut written = 0;
        for n in 0..100u8 {
            file.write_all(&[n; 1000]).unwrap();
            written += 1000;
            growth.reached(written);
        }
        growth.finish();
        let all = reader.join().unwrap().unwrap();
        assert_eq!(all.len(), 100_000);
        assert_eq!((all[0], all[99_999]), (0, 99));
    }

    #[test]
    fn does_not_read_past_what_was_told() {
        let (mut file, growth, mut follow) = pair();
        file.write_all(b"0123456789").unwrap();
        growth.reached(4);
        let mut buffer = [0; 10];
        assert_eq!(follow.read(&mut buffer).unwrap(), 4);
    }

    #[test]
    fn a_writer_that_goes_away_is_an_error_not_an_end() {
        let (_file, growth, mut follow) = pair();
        let reader = std::thread::spawn(move || follow.read(&mut [0; 10]));
        drop(CancelOnDrop(growth));
        assert!(reader.join().unwrap().is_err());
    }

    #[test]
    fn finished_stays_finished() {
        let (mut file, growth, mut follow) = pair();
        file.write_all(b"abc").unwrap();
        growth.reached(3);
        growth.finish();
        drop(CancelOnDrop(growth));
        let mut all = String::new();
        follow.read_to_string(&mut all).unwrap();
        assert_eq!(all, "abc");
    }
}
