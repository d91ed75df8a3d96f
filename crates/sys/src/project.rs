//! Projects of ext4 and XFS and what they may take (quotactl(2), `linux/dqblk_xfs.h`, `linux/fs.h`): what a volume with a
//! size is made of there. All below a folder that belongs to a project belongs to it too.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::ioctl::ioctl;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct fs_disk_quota`.
#[repr(C)]
#[derive(Default)]
struct Quota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    /// In blocks of 512 bytes, as all of them.
    blocks_hard: u64,
    blocks_soft: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    blocks: u64,
    inodes: u64,
    timers: [i32; 2],
    warnings: [u16; 2],
    timers_high: [i8; 4],
    realtime: [u64; 3],
    realtime_timer: i32,
    realtime_warnings: u16,
    padding: [u8; 10],
}

const BLOCK: u64 = 512;
const GET_ATTRIBUTES: u32 = 0x801c_581f;
const SET_ATTRIBUTES: u32 = 0x401c_5820;
const INHERIT: u32 = 0x200;
const VERSION: i8 = 1;
const OF_PROJECT: i8 = 2;
const SOFT_AND_HARD: u16 = 4 | 8;
const GET: u32 = command(0x5803);
const SET: u32 = command(0x5804);

/// A command about a project (`PRJQUOTA`), as `QCMD` makes it.
const fn command(number: u32) -> u32 {
    (number << 8) | 2
}

/// The project of a folder whose content inherits it; none if it has none.
///
/// # Errors
/// What the kernel says: `ENOTTY` where the file system knows no projects.
pub fn of(folder: impl AsFd) -> io::Result<Option<u32>> {
    let attributes = attributes(&folder)?;
    Ok(Some(attributes.project).filter(|&project| project != 0 && attributes.flags & INHERIT != 0))
}

/// Makes a folder, and all that will be made in it, a project's.
///
/// # Errors
/// What the kernel says: `ENOTTY` or `EOPNOTSUPP` where the file system knows no projects.
pub fn assign(folder: impl AsFd, project: u32) -> io::Result<()> {
    let mut attributes = attributes(&folder)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: `Attributes` has the layout that SET_ATTRIBUTES reads; the kernel writes nothing into it.
    unsafe { ioctl(&folder, SET_ATTRIBUTES, &raw mut attributes) }
}

/// Whether a project of the file system that `file` is on has a limit or takes something.
///
/// # Errors
/// What the kernel says: `ENOSYS`, `ESRCH` and others where no quotas of projects are on.
pub fn is_used(file: impl AsFd, project: u32) -> io::Result<bool> {
    let mut quota = Quota::default();
    match quotactl(file, GET, project, &mut quota) {
        Ok(()) => Ok(quota.inodes > 0 || quota.blocks > 0 || quota.blocks_hard > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says how many bytes a project of the file system that `file` is on may take; 0 is no limit.
///
/// # Errors
/// What the kernel says: `ENOSYS`, `ESRCH` and others where no quotas of projects are on.
pub fn limit(file: impl AsFd, project: u32, bytes: u64) -> io::Result<()> {
    let blocks = bytes.div_ceil(BLOCK);
    let mut quota = Quota {
        version: VERSION,
        flags: OF_PROJECT,
        fields: SOFT_AND_HARD,
        id: project,
        blocks_hard: blocks,
        blocks_soft: blocks,
        ..Quota::default()
    };
    quotactl(file, SET, project, &mut quota)
}

fn attributes(folder: impl AsFd) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: `Attributes` has the layout that GET_ATTRIBUTES fills.
    unsafe { ioctl(folder, GET_ATTRIBUTES, &raw mut attributes) }?;
    Ok(attributes)
}

fn quotactl(file: impl AsFd, command: u32, project: u32, quota: &mut Quota) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and `Quota` has the layout that both commands take.
    match unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, command, project, std::ptr::from_mut(quota)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!((size_of::<Attributes>(), size_of::<Quota>()), (28, 112));
        assert_eq!((GET, SET), (0x58_0302, 0x58_0402));
    }

    #[test]
    fn other_file_systems_do_not_know_them() {
        let folder = std::fs::File::open("/proc").unwrap();
        assert_eq!(of(&folder).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert!(limit(&folder, 7, 1 << 20).is_err());
    }
}
