//! What can be wrong with a layer. Every message names the entry.

use std::io;

/// A layer cannot be unpacked or packed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream broke, or its compression is damaged.
    #[error("cannot read it: {0}")]
    Stream(io::Error),
    /// The stream is compressed in a way that is not known here.
    #[error("{0} compression is not supported; gzip, zstd and none are")]
    Compression(&'static str),
    /// Its first bytes are not those of a tar.
    #[error("it is not a tar archive")]
    NotTar,
    /// The tar could not be written.
    #[error("cannot write it: {0}")]
    Write(io::Error),
    /// An entry says something that cannot or must not be done.
    #[error("entry {entry:?}: {problem}")]
    Entry {
        /// The entry's name as it came.
        entry: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The system refused to do what an entry says.
    #[error("entry {entry:?}: {operation}: {source}")]
    Io {
        /// The entry's name.
        entry: String,
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Too many entries.
    #[error("it has more than {0} entries")]
    Entries(u64),
    /// It is too long.
    #[error("it unpacks to more than the {0} bytes there is room for")]
    TooLong(u64),
    /// The folder to unpack into cannot be worked on.
    #[error("{operation}: {source}")]
    Folder {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The archive ends too early.
    #[error("the archive ends within it")]
    Truncated,
    /// The header's checksum is wrong.
    #[error("its header has a wrong checksum")]
    Checksum,
    /// A number in the header is none, or out of range.
    #[error("its header has an invalid {0}")]
    Number(&'static str),
    /// Something other than zeros follows the archive's end mark.
    #[error("the archive goes on after its end mark")]
    AfterEnd,
    /// An extended header is too long.
    #[error("its extended header has {0} bytes, more than 1 MiB")]
    HeaderTooLong(u64),
    /// An extended header cannot be read.
    #[error("its extended header is malformed")]
    Pax,
    /// The name leads out of the layer.
    #[error("its name leads out of the layer")]
    Escapes,
    /// The name cannot be one of a file.
    #[error("its name is empty or has a NUL in it")]
    Name,
    /// The name is too long.
    #[error("its name has {0} bytes, more than 4096")]
    NameTooLong(usize),
    /// The layer's root can only be a folder.
    #[error("the root of a layer can only be a folder")]
    Root,
    /// The whiteout hides a name that no file can have.
    #[error("it is a whiteout of {0:?}, which cannot be a file")]
    Whiteout(String),
    /// The device would be taken for a whiteout.
    #[error("a character device 0:0 would be taken for a whiteout")]
    WhiteoutDevice,
    /// Not a type of file.
    #[error("its type {0:?} is not supported")]
    Type(char),
    /// The attribute would change how the layer itself is read.
    #[error("extended attribute {0:?} is not allowed in a layer")]
    Attribute(String),
    /// The hard link's target is nowhere.
    #[error("it is a hard link to {0:?}, which is not in the layer")]
    LinkTarget(String),
    /// The hard link's target leads out of the layer.
    #[error("it is a hard link to {0:?}, which leads out of the layer")]
    LinkEscapes(String),
    /// A link without a target.
    #[error("it is a link to nothing")]
    LinkEmpty,
    /// The parent is not a folder.
    #[error("its parent {0:?} is not a folder")]
    Parent(String),
    /// The map of a sparse file contradicts itself.
    #[error("its sparse map is malformed")]
    Sparse,
    /// The file is too big.
    #[error("its {size} bytes are more than the {limit} there is room for")]
    TooBig {
        /// The file's size.
        size: u64,
        /// The room left.
        limit: u64,
    },
    /// The file moved within the overlay and cannot be shown on its own.
    #[error("it refers to a lower layer ({0}) and cannot be packed on its own")]
    Redirected(&'static str),
}

impl LayerError {
    /// True if the layer is at fault, not the system.
    #[must_use]
    pub fn is_hostile(&self) -> bool {
        match self {
            Self::Entry { .. }
            | Self::Entries(_)
            | Self::TooLong(_)
            | Self::Compression(_)
            | Self::NotTar => true,
            Self::Stream(error) => {
                matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
                )
            }
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory
            ),
            Self::Write(_) | Self::Folder { .. } => false,
        }
    }

    /// True if the layer has a hard link to a file that can only be in a layer below: unpack it again with
    /// [`super::Options::below`] once those are unpacked.
    #[must_use]
    pub fn needs_layers_below(&self) -> bool {
        matches!(self, Self::Entry { problem: Problem::LinkTarget(_), .. })
    }

    pub(super) fn entry(name: &[u8], problem: Problem) -> Self {
        Self::Entry { entry: shown(name), problem }
    }

    pub(crate) fn io(name: &[u8], operation: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        let entry = shown(name);
        move |errno| Self::Io { entry, operation, source: errno.into() }
    }

    pub(crate) fn std_io(name: &[u8], operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        let entry = shown(name);
        move |source| Self::Io { entry, operation, source }
    }
}

/// A name for people: cut, and with what is not UTF-8 replaced.
pub(super) fn shown(name: &[u8]) -> String {
    const MOST: usize = 256;
    let cut = &name[..name.len().min(MOST)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if name.len() > MOST {
        text.push('…');
    }
    text
}
