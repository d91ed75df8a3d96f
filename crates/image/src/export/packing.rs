//! How a layer's tar is packed in a blob.

use std::ops::RangeInclusive;

use dray_spec::media_type;

/// A packing of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// The tar as it is.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878; OCI only.
    Zstd,
}

/// A name of a packing that is none here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported layer compression type {0}")]
pub struct PackingError(pub String);

impl std::str::FromStr for Packing {
    type Err = PackingError;

    /// By BuildKit's names.
    fn from_str(text: &str) -> Result<Self, PackingError> {
        match text {
            "uncompressed" => Ok(Packing::Plain),
            "gzip" => Ok(Packing::Gzip),
            "zstd" => Ok(Packing::Zstd),
            other => Err(PackingError(other.to_owned())),
        }
    }
}

impl Packing {
    /// That of a layer's media type.
    #[must_use]
    pub fn of(layer_type: &str) -> Self {
        match layer_type {
            t if t.ends_with("zstd") => Packing::Zstd,
            t if t.ends_with("gzip") => Packing::Gzip,
            _ => Packing::Plain,
        }
    }

    /// The levels it has.
    #[must_use]
    pub fn levels(self) -> RangeInclusive<i32> {
        match self {
            Packing::Plain => 0..=0,
            Packing::Gzip => 0..=9,
            Packing::Zstd => 0..=22,
        }
    }

    /// The media type of a layer that is packed so.
    pub(crate) fn layer_type(self, oci: bool) -> &'static str {
        match (self, oci) {
            (Packing::Plain, true) => media_type::OCI_LAYER,
            (Packing::Gzip, true) => media_type::OCI_LAYER_GZIP,
            (Packing::Zstd, _) => media_type::OCI_LAYER_ZSTD,
            (Packing::Plain, false) => media_type::DOCKER_LAYER,
            (Packing::Gzip, false) => media_type::DOCKER_LAYER_GZIP,
        }
    }
}
