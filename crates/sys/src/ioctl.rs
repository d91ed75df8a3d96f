//! ioctl(2) with a structure, for requests of file systems.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// # Safety
/// `T` is what the kernel reads and writes for this request.
pub(crate) unsafe fn ioctl<T>(file: impl AsFd, request: u32, args: *mut T) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call; the caller vouches for the argument.
    match unsafe { libc::ioctl(fd, libc::Ioctl::from(request), args) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
