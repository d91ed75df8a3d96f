//! Subvolumes of btrfs and what they may take (`linux/btrfs.h`): what a volume with a size is made of.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use crate::ioctl::ioctl;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; NAME_SIZE],
}

const NAME_SIZE: usize = 4088;

/// `struct btrfs_ioctl_qgroup_limit_args` with the `struct btrfs_qgroup_limit` in it.
#[repr(C)]
struct LimitArgs {
    group: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved_referenced: u64,
    reserved_exclusive: u64,
}

const MAX_REFERENCED: u64 = 1;

const MAGIC: u32 = 0x94;
const WRITE: u32 = 1;
const READ: u32 = 2;

/// The number of an ioctl, as `_IOC` makes it.
const fn request<T>(direction: u32, number: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "arguments of ioctls are small")]
    let size = size_of::<T>() as u32;
    (direction << 30) | (size << 16) | (MAGIC << 8) | number
}

const SUBVOL_CREATE: u32 = request::<VolumeArgs>(WRITE, 14);
const QGROUP_LIMIT: u32 = request::<LimitArgs>(READ, 43);

/// Makes an empty subvolume in a folder.
///
/// # Errors
/// What the kernel says: `ENOTTY` where the folder is on another file system, `EEXIST`.
pub fn create_subvolume(folder: impl AsFd, name: &CStr) -> io::Result<()> {
    let mut args = VolumeArgs { fd: 0, name: [0; NAME_SIZE] };
    let bytes = name.to_bytes();
    // One zero byte stays at the end.
    if bytes.len() >= NAME_SIZE {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    args.name[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: `VolumeArgs` has the layout that SUBVOL_CREATE reads; the kernel writes nothing into it.
    unsafe { ioctl(folder, SUBVOL_CREATE, &raw mut args) }
}

/// Says how many bytes a subvolume may refer to.
///
/// # Errors
/// What the kernel says: `ENOTCONN` where the file system counts no quotas, `ENOTTY` where it is another one.
pub fn limit(subvolume: impl AsFd, bytes: u64) -> io::Result<()> {
    let mut args = LimitArgs {
        // The subvolume's own.
        group: 0,
        flags: MAX_REFERENCED,
        max_referenced: bytes,
        max_exclusive: 0,
        reserved_referenced: 0,
        reserved_exclusive: 0,
    };
    // SAFETY: `LimitArgs` has the layout that QGROUP_LIMIT reads; the kernel writes nothing into it.
    unsafe { ioctl(subvolume, QGROUP_LIMIT, &raw mut args) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_numbers() {
        assert_eq!((SUBVOL_CREATE, QGROUP_LIMIT), (0x5000_940e, 0x8030_942b));
    }

    #[test]
    fn other_file_systems_do_not_know_them() {
        let folder = std::fs::File::open("/proc").unwrap();
        let kind = create_subvolume(&folder, c"x").unwrap_err().raw_os_error();
        assert_eq!(kind, Some(libc::ENOTTY));
        assert_eq!(limit(&folder, 1).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
