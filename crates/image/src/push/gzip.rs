//! gzip on several cores: blocks are deflated independently and joined to one member (RFC 1952), which any
//! reader takes for an ordinary file.
//!
//! ```text
//! write ─► 1 MiB blocks ─► workers: deflate, ended on a byte boundary ─► in order ─► out
//! ```
//!
//! The result depends on the bytes alone, not on how many cores there are.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression, Crc, FlushCompress};

const BLOCK: usize = 1024 * 1024;
/// No name, no time, made on Unix: the same input always gives the same bytes.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
/// An empty last deflate block.
const LAST_BLOCK: [u8; 2] = [3, 0];

type Deflated = io::Result<Vec<u8>>;

struct Job {
    block: Vec<u8>,
    level: Compression,
    done: SyncSender<Deflated>,
}

/// Compresses what is written to it.
pub(crate) struct ParallelGzip<W: Write> {
    out: W,
    block: Vec<u8>,
    jobs: SyncSender<Job>,
    running: VecDeque<Receiver<Deflated>>,
    workers: Vec<JoinHandle<()>>,
    level: Compression,
    crc: Crc,
}

impl<W: Write> ParallelGzip<W> {
    /// Starts `threads` workers.
    ///
    /// # Errors
    /// If the header can't be written or no thread be started.
    pub(crate) fn new(out: W, threads: usize) -> io::Result<Self> {
        Self::with_level(out, threads, None)
    }

    /// As [`ParallelGzip::new`], at a level from 0 to 9; the usual one if none.
    ///
    /// # Errors
    /// As [`ParallelGzip::new`].
    pub(crate) fn with_level(mut out: W, threads: usize, level: Option<u32>) -> io::Result<Self> {
        let level = level.map_or_else(Compression::default, |level| Compression::new(level.min(9)));
        out.write_all(&HEADER)?;
        let threads = threads.clamp(1, 16);
        let (jobs, queue) = sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        let start = |_| {
            let queue = queue.clone();
            std::thread::Builder::new().name("gzip".into()).spawn(move || work(&queue))
        };
        let workers = (0..threads).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(ParallelGzip {
            out,
            block: Vec::with_capacity(BLOCK),
            jobs,
            running: VecDeque::new(),
            workers,
            level,
            crc: Crc::new(),
        })
    }

    /// Writes the rest and the trailer, and gives back what was written to.
    ///
    /// # Errors
    /// If a block can't be compressed or written.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.submit()?;
        }
        while !self.running.is_empty() {
            self.write_oldest()?;
        }
        self.out.write_all(&LAST_BLOCK)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        self.out.flush()?;
        let ParallelGzip { out, jobs, workers, .. } = self;
        // Without jobs to come the workers end.
        drop(jobs);
        for worker in workers {
            let _ = worker.join();
        }
        Ok(out)
    }

    fn submit(&mut self) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let (done, result) = sync_channel(1);
        self.jobs
            .send(Job { block, level: self.level, done })
            .map_err(|_| io::Error::other("gzip worker is gone"))?;
        self.running.push_back(result);
        if self.running.len() > 2 * self.workers.len() { self.write_oldest() } else { Ok(()) }
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.running.pop_front() else { return Ok(()) };
        let deflated = oldest.recv().map_err(|_| io::Error::other("gzip worker is gone"))??;
        self.out.write_all(&deflated)
    }
}

impl<W: Write> Write for ParallelGzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        self.crc.update(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.submit()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let _ = job.done.send(deflate(&job.block, job.level));
    }
}

/// Raw deflate, ended by an empty stored block so that the next one begins at a byte.
fn deflate(block: &[u8], level: Compression) -> Deflated {
    let mut compress = Compress::new(level, false);
    let mut out = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(block.len()).min(block.len());
        let before = (read, out.len());
        compress.compress_vec(&block[read..], &mut out, FlushCompress::Sync)?;
        let read = usize::try_from(compress.total_in()).unwrap_or(block.len());
        // The flush is complete when there was room left after it.
        if out.len() < out.capacity() {
            match read == block.len() {
                true => return Ok(out),
                false if before == (read, out.len()) => {
                    return Err(io::Error::other("deflate makes no progress"));
                }
                false => {}
            }
        }
        out.reserve(block.len() / 2 + 1024);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn round_trip(input: &[u8], threads: usize) -> Vec<u8> {
        let mut gzip = ParallelGzip::new(Vec::new(), threads).unwrap();
        gzip.write_all(input).unwrap();
        let packed = gzip.finish().unwrap();
        let mut decoder = GzDecoder::new(packed.as_slice());
        let mut back = Vec::new();
        decoder.read_to_end(&mut back).unwrap();
        assert!(back == input, "{} bytes come back as {}", input.len(), back.len());
        assert!(decoder.into_inner().is_empty(), "one member");
        packed
    }

    /// Bytes that don't compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn sizes_around_the_block() {
        let text: Vec<u8> = b"all work and no play ".iter().copied().cycle().take(3 * BLOCK + 7).collect();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
            round_trip(&text[..length], 3);
        }
        assert!(round_trip(&text, 2).len() < text.len() / 50);
    }

    #[test]
    fn bytes_that_do_not_compress() {
        let noise = noise(2 * BLOCK + 12_345);
        let packed = round_trip(&noise, 2);
        assert!(packed.len() < noise.len() + noise.len() / 100);
    }

    #[test]
    fn the_same_bytes_on_any_number_of_cores() {
        let mut input = noise(BLOCK);
        input.extend(vec![7; 2 * BLOCK]);
        assert_eq!(round_trip(&input, 1), round_trip(&input, 7));
    }

    #[test]
    fn gunzip_of_others_agrees() {
        let mut gzip = ParallelGzip::new(Vec::new(), 2).unwrap();
        gzip.write_all(&vec![b'x'; 3 * BLOCK]).unwrap();
        let packed = gzip.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layer.gz");
        std::fs::write(&file, packed).unwrap();
        let tested = std::process::Command::new("gzip").arg("-t").arg(&file).output().unwrap();
        assert!(tested.status.success(), "{tested:?}");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut gzip = ParallelGzip::new(Full(BLOCK), 2).unwrap();
        let written = gzip.write_all(&noise(8 * BLOCK)).and_then(|()| gzip.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
