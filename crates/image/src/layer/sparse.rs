//! Sparse files: where in the file the stored bytes belong.

use super::Problem;
use super::header::{BLOCK, unsigned};

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// More runs than any real file has.
pub(super) const MOST_SEGMENTS: usize = 1 << 18;

/// Drops empty runs, and checks that the rest are in order, within the file, and as long as what is stored.
pub(super) fn check(mut map: Vec<Segment>, size: u64, stored: u64) -> Result<Vec<Segment>, Problem> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in &map {
        let next = segment.offset.checked_add(segment.length).ok_or(Problem::Sparse)?;
        if segment.offset < end || next > size {
            return Err(Problem::Sparse);
        }
        end = next;
        sum = sum.checked_add(segment.length).ok_or(Problem::Sparse)?;
    }
    if sum != stored || map.len() > MOST_SEGMENTS {
        return Err(Problem::Sparse);
    }
    map.retain(|segment| segment.length > 0);
    Ok(map)
}

/// The map in an old GNU header: its runs, the file's size, and whether a further block of runs follows.
pub(super) fn gnu_header(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, u64, bool), Problem> {
    let size = unsigned(&block[483..495], "size")?;
    Ok((runs(&block[386..482])?, size, block[482] != 0))
}

/// A further block of runs, and whether yet another follows.
pub(super) fn gnu_extension(block: &[u8; BLOCK]) -> Result<(Vec<Segment>, bool), Problem> {
    Ok((runs(&block[..504])?, block[504] != 0))
}

fn runs(field: &[u8]) -> Result<Vec<Segment>, Problem> {
    field
        .chunks_exact(24)
        .take_while(|run| run[0] != 0)
        .map(|run| {
            let number = |part| unsigned(part, "sparse map").map_err(|_| Problem::Sparse);
            Ok(Segment { offset: number(&run[..12])?, length: number(&run[12..])? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    #[test]
    fn maps_are_checked() {
        let good = vec![segment(0, 5), segment(10, 5), segment(20, 0)];
        assert_eq!(check(good, 20, 10), Ok(vec![segment(0, 5), segment(10, 5)]));
        for (map, size, stored) in [
            (vec![segment(5, 5), segment(0, 5)], 20, 10),
            (vec![segment(0, 6), segment(5, 5)], 20, 11),
            (vec![segment(18, 5)], 20, 5),
            (vec![segment(u64::MAX, 5)], 20, 5),
            (vec![segment(0, 5)], 20, 6),
        ] {
            assert_eq!(check(map, size, stored), Err(Problem::Sparse));
        }
    }
}
