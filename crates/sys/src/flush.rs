//! Writing back early: what is under way already need not be waited for later (sync_file_range(2)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Asks the kernel to begin bringing this part of a file to the disk, without waiting for it.
///
/// # Errors
/// What the kernel says; some file systems do not know it.
pub fn begin(file: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = i64::try_from(offset).map_err(invalid)?;
    let length = i64::try_from(length).map_err(invalid)?;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and the call takes no pointers.
    match unsafe { libc::sync_file_range(fd, offset, length, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
