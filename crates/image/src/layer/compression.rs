//! Compression, told by the first bytes.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::LayerError;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

const LONGEST_MAGIC: usize = 6;

impl Compression {
    /// Tells it by a stream's first six bytes (fewer if it is shorter).
    ///
    /// # Errors
    /// If it is a compression that is known but not supported.
    pub fn detect(beginning: &[u8]) -> Result<Self, LayerError> {
        match beginning {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // Zstandard's skippable frames.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(LayerError::Compression("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(LayerError::Compression("xz")),
            _ => Ok(Self::None),
        }
    }
}

/// Reads a stream decompressed, whatever its compression.
///
/// # Errors
/// If its first bytes cannot be read, or its compression is not supported.
pub fn decompress<'a>(mut reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, LayerError> {
    let mut beginning = [0; LONGEST_MAGIC];
    let mut length = 0;
    while length < LONGEST_MAGIC {
        match reader.read(&mut beginning[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LayerError::Stream(error)),
        }
    }
    let beginning = beginning[..length].to_vec();
    let compression = Compression::detect(&beginning)?;
    let whole = Cursor::new(beginning).chain(reader);
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(128 * 1024, whole))),
        Compression::Zstd => Box::new(zstd::Decoder::new(whole).map_err(LayerError::Stream)?),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decompress(bytes).unwrap().read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn all_kinds_give_the_same() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let mut gzip = gzip.finish().unwrap();
        assert_eq!(plain(b"hello"), b"hello");
        assert_eq!(plain(b""), b"");
        assert_eq!(plain(&gzip), b"hello");
        gzip.extend(gzip.clone());
        assert_eq!(plain(&gzip), b"hellohello");
        assert_eq!(plain(&zstd::encode_all(&b"hello"[..], 1).unwrap()), b"hello");
    }

    #[test]
    fn others_are_named() {
        let error = decompress(&b"BZh91AY"[..]).err().unwrap().to_string();
        assert_eq!(error, "bzip2 compression is not supported; gzip, zstd and none are");
        assert!(decompress(&b"\xfd7zXZ\0\0"[..]).is_err());
    }
}
