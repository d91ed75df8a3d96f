//! Extended attributes, of any size.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs as rfs;
use rustix::io::Errno;

use super::tree::os;

/// Whose attributes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    /// An open file or folder.
    Open(&'a OwnedFd),
    /// What has this path, links not followed.
    Path(&'a Path),
    /// What this path leads to: a descriptor that only names its file, through `/proc/self/fd`.
    Followed(&'a Path),
}

/// Larger than a list or value may be on Linux.
const MOST: usize = 64 * 1024 + 1;

impl Of<'_> {
    /// The names of all attributes; none where the file system has no attributes.
    pub(super) fn names(self) -> Result<Vec<Vec<u8>>, Errno> {
        let list = grow(|buffer| match self {
            Self::Open(fd) => rfs::flistxattr(fd, buffer),
            Self::Path(path) => rfs::llistxattr(path, buffer),
            Self::Followed(path) => rfs::listxattr(path, buffer),
        });
        match list {
            Ok(list) => {
                Ok(list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(Into::into).collect())
            }
            Err(Errno::NOTSUP) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }

    /// An attribute's value.
    pub(super) fn value(self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        grow(|buffer| match self {
            Self::Open(fd) => rfs::fgetxattr(fd, os(name), buffer),
            Self::Path(path) => rfs::lgetxattr(path, os(name), buffer),
            Self::Followed(path) => rfs::getxattr(path, os(name), buffer),
        })
    }
}

/// Calls with a small buffer first; it is enough nearly always.
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; 512];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; MOST];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(errno) => Err(errno),
    }
}
