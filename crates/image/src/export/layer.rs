//! One layer as a blob: the one it came in, one that was packed before, or packed now.

use std::io::{self, Write};

use dray_spec::{Descriptor, Digest};
use dray_store::{LayerId, Store};

use super::{ImageFormat, Packing};
use crate::exact::Source;
use crate::layer::{LayerError, decompress};
use crate::push::gzip::ParallelGzip;
use crate::{Error, Result, origin};

/// The blob of a layer in the format that is wanted. A layer that was `kept` from elsewhere stays as it is unless
/// the format forces it.
pub(super) fn blob(
    store: &Store,
    id: LayerId,
    diff_id: &Digest,
    kept: bool,
    format: &ImageFormat,
) -> Result<Descriptor> {
    let wanted = format.packing.unwrap_or(Packing::Gzip);
    let known = origin::blob_of(store, diff_id);
    if let Some(known) = &known {
        let free = format.packing.is_none() || (kept && !format.force);
        let same = Packing::of(&known.media_type) == wanted && (format.level.is_none() || !format.force);
        if free || same {
            return Ok(known.clone());
        }
    }
    let packed = pack(store, id, diff_id, wanted, format.level)?;
    // Another packing is this manifest's alone.
    if known.is_none() && wanted == Packing::Gzip {
        origin::remember_blob(store, diff_id, &packed);
    }
    Ok(packed)
}

/// Packs a layer's exact tar.
fn pack(
    store: &Store,
    id: LayerId,
    diff_id: &Digest,
    packing: Packing,
    level: Option<i32>,
) -> Result<Descriptor> {
    let failed = |source: io::Error| Error::layer(diff_id)(LayerError::Write(source));
    let spool = store.blobs().spool()?;
    let spool = match packing {
        Packing::Plain => {
            let mut plain = io::BufWriter::with_capacity(256 << 10, spool);
            write(store, id, diff_id, &mut plain)?;
            plain.into_inner().map_err(|error| failed(error.into_error()))?
        }
        Packing::Gzip => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let level = level.and_then(|level| u32::try_from(level).ok());
            let mut gzip = ParallelGzip::with_level(spool, threads, level).map_err(failed)?;
            write(store, id, diff_id, &mut gzip)?;
            gzip.finish().map_err(failed)?
        }
        Packing::Zstd => {
            let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            let mut encoder = zstd::Encoder::new(spool, level).map_err(failed)?;
            write(store, id, diff_id, &mut encoder)?;
            encoder.finish().map_err(failed)?
        }
    };
    let (digest, size) = spool.commit_as_is_relaxed()?;
    // Whoever names it in a manifest says it in the manifest's own family of types.
    Ok(Descriptor::new(packing.layer_type(packing == Packing::Zstd), digest, size))
}

/// Writes the tar that the diff ID is the digest of: made of the folder, or out of the blob where only that has it.
fn write(store: &Store, id: LayerId, diff_id: &Digest, out: &mut impl Write) -> Result<()> {
    let failed = || Error::layer(diff_id);
    if let Some((source, _)) = Source::find(store, id, diff_id)? {
        return match source.write(store, id, out).map_err(failed())? {
            digest if digest == *diff_id => Ok(()),
            _ => Err(Error::LayerLost(diff_id.clone())),
        };
    }
    let blob = origin::blob_of(store, diff_id).ok_or_else(|| Error::LayerLost(diff_id.clone()))?;
    let mut plain = decompress(store.blobs().open(&blob.digest)?).map_err(failed())?;
    io::copy(&mut plain, out).map(drop).map_err(|error| failed()(LayerError::Stream(error)))
}
