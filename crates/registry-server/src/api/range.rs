//! `Range` of a request for a blob (RFC 9110, section 14), and `Content-Range` of a chunk; pure.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything: there is no header, or one that may be ignored (another unit, several parts).
    All,
    /// One part.
    Part(Range<u64>),
    /// A part that does not exist.
    Nothing,
}

/// Reads a `Range` header for something of this size.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Wanted::All };
    if spec.contains(',') {
        return Wanted::All;
    }
    let Some((first, last)) = spec.split_once('-') else { return Wanted::Nothing };
    let part = match (number(first), number(last)) {
        (Ok(None), Ok(Some(suffix))) => size.saturating_sub(suffix)..size,
        (Ok(Some(first)), Ok(None)) => first..size,
        (Ok(Some(first)), Ok(Some(last))) if last >= first => first..size.min(last.saturating_add(1)),
        _ => return Wanted::Nothing,
    };
    if part.is_empty() { Wanted::Nothing } else { Wanted::Part(part) }
}

/// An empty text is no number; one that is too large is the largest.
fn number(text: &str) -> Result<Option<u64>, ()> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// Reads the `Content-Range` of a chunk, `<first>-<last>`; RFC 9110's `bytes <first>-<last>/<size>` is taken too.
pub(super) fn chunk(header: &str) -> Option<Range<u64>> {
    let text = header.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next().unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    let (first, last) = (number(first).ok()??, number(last).ok()??);
    let end = last.checked_add(1)?;
    (last >= first).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_blob() {
        for (header, expected) in [
            (None, Wanted::All),
            (Some("bytes=500-1499"), Wanted::Part(500..1500)),
            (Some("bytes=500-"), Wanted::Part(500..2048)),
            (Some("bytes=-500"), Wanted::Part(1548..2048)),
            (Some("bytes=-5000"), Wanted::Part(0..2048)),
            (Some("bytes=2000-5000"), Wanted::Part(2000..2048)),
            (Some("bytes=0-18446744073709551615"), Wanted::Part(0..2048)),
            (Some("bytes=0-99999999999999999999999"), Wanted::Part(0..2048)),
            (Some("bytes=500-0"), Wanted::Nothing),
            (Some("bytes=5000-10000"), Wanted::Nothing),
            (Some("bytes=2048-"), Wanted::Nothing),
            (Some("bytes=-0"), Wanted::Nothing),
            (Some("bytes=-"), Wanted::Nothing),
            (Some("bytes=x-1"), Wanted::Nothing),
            (Some("bytes=0-1,5-6"), Wanted::All),
            (Some("lines=0-1"), Wanted::All),
        ] {
            assert_eq!(wanted(header, 2048), expected, "{header:?}");
        }
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
    }

    #[test]
    fn chunks() {
        assert_eq!(chunk("0-1023"), Some(0..1024));
        assert_eq!(chunk("bytes 5-9/100"), Some(5..10));
        let endless = "18446744073709551615-99999999999999999999";
        for bad in ["", "5", "-5", "5-", "9-5", "a-b", "1--2", endless] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
    }
}
