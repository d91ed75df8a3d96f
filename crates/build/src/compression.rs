//! Compressed streams, told apart by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// What a stream that begins with `start` is.
    pub(crate) fn detect(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // Skippable frames may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            _ => Compression::None,
        }
    }
}

/// The stream behind `reader`, decompressed.
pub(crate) fn decompressed<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    // A pipe may give less than six bytes at first; the buffer cannot ask for more without dropping them.
    let start: Vec<u8> = reader.fill_buf()?.iter().copied().take(6).collect();
    let start = if start.is_empty() || start.len() >= 6 {
        start
    } else {
        let mut more = start;
        let mut rest = [0; 6];
        reader.consume(more.len());
        let wanted = 6 - more.len();
        let got = read_up_to(&mut reader, &mut rest[..wanted])?;
        more.extend_from_slice(&rest[..got]);
        return decompressed_as(Compression::detect(&more), io::Cursor::new(more).chain(reader));
    };
    decompressed_as(Compression::detect(&start), reader)
}

fn decompressed_as<'a>(
    compression: Compression,
    reader: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(reader)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(reader, true)),
    })
}

/// Fills `buffer` as far as the stream goes.
pub(crate) fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
