//! What is in a volume: one node for each name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path or a link's target: any bytes but NUL. In JSON a text, or `{"base64": …}` where it is no UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PathText(pub Vec<u8>);

impl PathText {
    /// As a path.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The path of the folder that it is in, and its name there. The root has neither.
    #[must_use]
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            // A path from the top of the host is in no folder that a tree could have.
            Some(slash) => Some((&self.0[..slash.max(1)], &self.0[slash + 1..])),
            None => Some((b"", &self.0)),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathJson {
    Text(String),
    Bytes { base64: String },
}

impl Serialize for PathText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => PathJson::Bytes { base64: STANDARD.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match PathJson::deserialize(deserializer)? {
            PathJson::Text(text) => Ok(PathText(text.into_bytes())),
            PathJson::Bytes { base64 } => {
                STANDARD.decode(base64).map(PathText).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Time(pub i64, pub u32);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// What a file looked like when it was read, if nothing can have changed it since without changing this: a later backup
/// need not read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Inode.
    pub ino: u64,
    /// Last change of the inode.
    pub ctime: Time,
}

/// A name in the volume. Folders stand before what is in them; the first node is the root, whose path is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Path from the volume's root, without slashes around it.
    pub path: PathText,
    /// What it is.
    pub kind: Kind,
    /// The twelve bits of permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
    /// Bytes of a regular file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// Where in the file which chunk is (by its number, counted through the packs); what is between them is a hole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<(u64, u32)>,
    /// A symbolic link's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PathText>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// It is another name of an earlier node's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    /// Extended attributes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(PathText, PathText)>,
    /// For the next backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}
