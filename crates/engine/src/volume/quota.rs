//! The local driver's option `size`: what a volume may take. On btrfs its content is a subvolume with a limit, on XFS and
//! ext4 a project with one. The file system keeps it by itself; nothing has to be done at a start.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dray_api::Labels;
use dray_sys::{btrfs, project};
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
    let made = File::open(folder).and_then(|parent| btrfs::create_subvolume(&parent, DATA));
    let data = folder.join("_data");
    let limited = match made {
        Ok(()) => limit_subvolume(name, folder, &data, bytes),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {
            std::fs::create_dir(&data).map_err(Error::io("create volume", &data))?;
            limit_project(name, &data, bytes)
        }
        Err(error) => return Err(Error::io("create volume", &data)(error)),
    };
    limited.inspect_err(|_| {
        let _ = std::fs::remove_dir(&data);
    })
}

fn limit_subvolume(name: &str, folder: &Path, data: &Path, bytes: u64) -> Result<(), Error> {
    let limit = || {
        std::fs::set_permissions(data, Permissions::from_mode(0o755))?;
        btrfs::limit(File::open(data)?, bytes)
    };
    limit().map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOTCONN) => Error::QuotaOff { name: name.to_owned(), path: folder.to_owned() },
        _ => Error::io("limit volume", data)(error),
    })
}

/// The first project that may be a volume's: far from those that people number by hand.
const FIRST_PROJECT: u32 = 0x4472_0000;

/// Makes the folder a project of its own. Which are free only the file system knows, so nobody else looks meanwhile.
fn limit_project(name: &str, data: &Path, bytes: u64) -> Result<(), Error> {
    static CHOICE: Mutex<()> = Mutex::new(());
    let limit = || {
        std::fs::set_permissions(data, Permissions::from_mode(0o755))?;
        let folder = File::open(data)?;
        let _alone = CHOICE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut id = FIRST_PROJECT;
        while project::is_used(&folder, id)? {
            id += 1;
        }
        project::limit(&folder, id, bytes)?;
        project::assign(&folder, id).inspect_err(|_| {
            let _ = project::limit(&folder, id, 0);
        })
    };
    limit().map_err(|error| match Errno::from_io_error(&error) {
        // Each file system has its own way of saying that it has none, or that they are off.
        Some(Errno::NOSYS | Errno::SRCH | Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NODEV) => {
            Error::NoQuota(name.to_owned())
        }
        _ => Error::io("limit volume", data)(error),
    })
}

/// Deletes a volume's folder, and the limit that it had as a project: the next one is to find the project free.
pub(super) fn remove_tree(folder: &Path) -> std::io::Result<()> {
    let project = File::open(folder.join("_data")).and_then(project::of).ok().flatten();
    let removed = dray_store::remove_tree(folder);
    if let (Ok(()), Some(project), Some(parent)) = (&removed, project, folder.parent())
        && let Err(error) = File::open(parent).and_then(|parent| project::limit(parent, project, 0))
    {
        tracing::warn!(%error, project, "the limit of a volume that is gone stays");
    }
    removed
}

impl Record {
    /// How many bytes it may take.
    pub(super) fn limit(&self) -> Option<u64> {
        asked(&self.name, self.options.as_ref().filter(|_| self.is_local())?).ok().flatten()
    }
}
