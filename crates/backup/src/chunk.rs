//! Where files are cut: FastCDC, at positions that the bytes before them decide.

use std::io::{self, Read};

use fastcdc::v2020::{Error as CutError, StreamCDC};

/// What is no longer than this is one chunk.
pub const MIN: usize = 256 << 10;
/// What most chunks are near.
const AVERAGE: usize = 1 << 20;
/// No chunk is longer.
pub const MAX: usize = 4 << 20;

/// Cuts `length` bytes of a stream into chunks and gives each with its place. A stream that ends before has fewer.
pub fn cut(
    mut from: impl Read,
    length: u64,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if length <= MIN as u64 {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(MIN));
        from.take(length).read_to_end(&mut bytes)?;
        return if bytes.is_empty() { Ok(()) } else { each(0, &bytes) };
    }
    for chunk in StreamCDC::new(from.by_ref().take(length), MIN, AVERAGE, MAX) {
        match chunk {
            Ok(chunk) => each(chunk.offset, &chunk.data)?,
            Err(CutError::Empty) => return Ok(()),
            Err(CutError::IoError(error)) => return Err(error),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without a period.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(next).flatten().take(length).collect()
    }

    fn chunks(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        cut(bytes, bytes.len() as u64, |offset, chunk| {
            assert_eq!(offset as usize, all.iter().map(Vec::len).sum::<usize>());
            all.push(chunk.to_vec());
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn chunks_are_the_whole() {
        for length in [0, 1, MIN, MIN + 1, 5 << 20] {
            let bytes = noise(length);
            let all = chunks(&bytes);
            assert_eq!(all.concat(), bytes);
            assert!(all.iter().all(|chunk| chunk.len() <= MAX));
        }
    }

    #[test]
    fn an_insertion_leaves_what_is_behind_it() {
        let bytes = noise(12 << 20);
        let mut longer = bytes.clone();
        longer.splice(1000..1000, *b"inserted");
        let (before, after) = (chunks(&bytes), chunks(&longer));
        let kept = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(before.len() > 3 && kept >= before.len() - 2, "{kept} of {}", before.len());
    }
}
