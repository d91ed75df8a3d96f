//! One 512-byte header of a tar: v7, ustar, GNU and star.

use super::Problem;

pub(super) const BLOCK: usize = 512;

/// A header as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// Whether a file that begins like this is a plain tar: its first header's sum is right.
pub(crate) fn is_tar(beginning: &[u8]) -> bool {
    beginning
        .get(..BLOCK)
        .and_then(|block| <&[u8; BLOCK]>::try_from(block).ok())
        .is_some_and(|b| check(b).is_ok())
}

impl Header {
    /// The name alone, for messages about headers that are wrong otherwise.
    pub(super) fn raw_name(block: &[u8; BLOCK]) -> &[u8] {
        text(&block[..100])
    }

    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, Problem> {
        check(block)?;
        let ustar = &block[257..265] == b"ustar\x0000";
        let gnu = &block[257..265] == b"ustar  \0";
        let star = ustar && &block[508..512] == b"tar\0";
        let mut name = Vec::new();
        if ustar {
            let prefix = text(&block[345..if star { 476 } else { 500 }]);
            if !prefix.is_empty() {
                name.extend_from_slice(prefix);
                name.push(b'/');
            }
        }
        name.extend_from_slice(text(&block[..100]));
        let device = |range: &[u8], what| match ustar || gnu {
            true => unsigned(range, what).and_then(|n| u32::try_from(n).map_err(|_| Problem::Number(what))),
            false => Ok(0),
        };
        let kind = block[156];
        let is_device = matches!(kind, b'3' | b'4');
        Ok(Self {
            kind,
            name,
            link: text(&block[157..257]).to_vec(),
            mode: (unsigned(&block[100..108], "mode")? & 0o7777) as u32,
            uid: unsigned(&block[108..116], "user ID")?,
            gid: unsigned(&block[116..124], "group ID")?,
            size: unsigned(&block[124..136], "size")?,
            mtime: signed(&block[136..148], "time")?,
            major: if is_device { device(&block[329..337], "device number")? } else { 0 },
            minor: if is_device { device(&block[337..345], "device number")? } else { 0 },
        })
    }
}

/// The checksum is the sum of all bytes with its own field as spaces; some old programs summed signed bytes.
fn check(block: &[u8; BLOCK]) -> Result<(), Problem> {
    let expected = signed(&block[148..156], "checksum").map_err(|_| Problem::Checksum)?;
    let (mut plain, mut odd) = (0i64, 0i64);
    for (index, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        plain += i64::from(byte);
        odd += i64::from(byte.cast_signed());
    }
    if expected == plain || expected == odd { Ok(()) } else { Err(Problem::Checksum) }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

pub(super) fn unsigned(field: &[u8], what: &'static str) -> Result<u64, Problem> {
    u64::try_from(signed(field, what)?).map_err(|_| Problem::Number(what))
}

/// A number: octal with spaces or NULs around it, or two's complement with the first bit set (GNU, star).
pub(super) fn signed(field: &[u8], what: &'static str) -> Result<i64, Problem> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field, what),
        _ => octal(field, what),
    }
}

fn base256(field: &[u8], what: &'static str) -> Result<i64, Problem> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = if index == 0 { byte & 0x3f | if negative { 0xc0 } else { 0 } } else { *byte };
        value = (value << 8) | i128::from(byte);
        if i64::try_from(value).is_err() {
            return Err(Problem::Number(what));
        }
    }
    i64::try_from(value).map_err(|_| Problem::Number(what))
}

fn octal(field: &[u8], what: &'static str) -> Result<i64, Problem> {
    let start = field.iter().position(|byte| !matches!(byte, b' ' | 0)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|value| value.checked_add(i64::from(byte - b'0')))
            .ok_or(Problem::Number(what)),
        _ => Err(Problem::Number(what)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"        ", 0),
            (b"77777777", 0o77_777_777),
            (b"\x80\0\0\0\0\0\x01\0", 256),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
            (b"\x80\0\0\0\x01\0\0\0\0\0\0\0", 1 << 56),
        ] {
            assert_eq!(signed(field, "x"), Ok(value), "{field:?}");
        }
        for field in [&b"0000648\0"[..], b"-1\0", b"0x1", b"\x8f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert_eq!(signed(field, "x"), Err(Problem::Number("x")), "{field:?}");
        }
        assert_eq!(unsigned(b"\xff\xff\xff\xff\xff\xff\xff\xff", "x"), Err(Problem::Number("x")));
    }

    #[test]
    fn checksum_is_checked() {
        let mut header = tar::Header::new_ustar();
        header.set_path("some/file").unwrap();
        header.set_size(5);
        header.set_mode(0o4755);
        header.set_cksum();
        let mut block = *header.as_bytes();
        let parsed = Header::parse(&block).unwrap();
        assert_eq!((parsed.name.as_slice(), parsed.size, parsed.mode), (&b"some/file"[..], 5, 0o4755));
        block[0] ^= 1;
        assert_eq!(Header::parse(&block), Err(Problem::Checksum));
    }
}
