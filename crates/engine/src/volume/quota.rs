//! The local driver's option `size`: what a volume may take. On btrfs its content is a subvolume with a limit, which the
//! file system keeps by itself; nothing has to be done at a start. Other file systems have no limit for a folder here.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dray_api::Labels;
use dray_sys::btrfs;
use rustix::io::Errno;

use super::{Error, Record};

/// The name of a volume's content in its folder.
const DATA: &std::ffi::CStr = c"_data";

/// How many bytes the options allow; none if they say nothing, or zero.
///
/// # Errors
/// For a size that is none.
pub(super) fn asked(name: &str, options: &Labels) -> Result<Option<u64>, Error> {
    let Some(text) = options.get("size") else { return Ok(None) };
    let wrong = |reason| Error::Size { name: name.to_owned(), reason };
    let bytes = dray_api::size::parse_binary(text).map_err(wrong)?;
    Ok(u64::try_from(bytes).ok().filter(|bytes| *bytes > 0))
}

/// Makes the place of a volume's content in its folder: one that takes so many bytes at most.
///
/// # Errors
/// Where the file system has no quotas, or counts none; nothing is left then.
pub(super) fn make(name: &str, folder: &Path, bytes: u64) -> Result<(), Error> {
    let data = folder.join("_data");
    let made = File::open(folder).and_then(|parent| btrfs::create_subvolume(&parent, DATA));
    made.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTTY) => Error::NoQuota(name.to_owned()),
        _ => Error::io("create volume", &data)(error),
    })?;
    let limited = || {
        std::fs::set_permissions(&data, Permissions::from_mode(0o755))?;
        btrfs::limit(File::open(&data)?, bytes)
    };
    limited().map_err(|error| {
        let _ = std::fs::remove_dir(&data);
        match Errno::from_io_error(&error) {
            Some(Errno::NOTCONN) => Error::QuotaOff { name: name.to_owned(), path: folder.to_owned() },
            _ => Error::io("limit volume", &data)(error),
        }
    })
}

impl Record {
    /// How many bytes it may take.
    pub(super) fn limit(&self) -> Option<u64> {
        asked(&self.name, self.options.as_ref().filter(|_| self.is_local())?).ok().flatten()
    }
}
