//! Capability sets of the calling process (capabilities(7)).

use std::ffi::{c_int, c_ulong};
use std::io;

/// A set of capabilities, bit n for number n.
pub type CapSet = u64;

/// Names in order of their numbers, without `CAP_`.
pub const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Bit of a name with or without `CAP_`, in any case.
pub fn bit(name: &str) -> Option<CapSet> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|&known| known == plain).map(|number| 1 << number)
}

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Permitted set of the calling process.
///
/// # Errors
/// The errno of capget.
pub fn permitted() -> io::Result<CapSet> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 stands for two data elements, which the kernel fills.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Sets effective, permitted and inheritable.
///
/// # Errors
/// `EPERM` for one that is not permitted.
pub fn set(effective: CapSet, permitted: CapSet, inheritable: CapSet) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 stands for two data elements, which the kernel reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })
}

/// Takes everything but `keep` out of the bounding set.
///
/// # Errors
/// `EPERM` without CAP_SETPCAP.
pub fn bound(keep: CapSet) -> io::Result<()> {
    for number in 0..64 {
        // SAFETY: reading and dropping take plain numbers.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, number as c_ulong, 0, 0, 0) };
        if held < 0 {
            break;
        }
        if held == 1 && keep & (1 << number) == 0 {
            // SAFETY: as above.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number as c_ulong, 0, 0, 0) }.into())?;
        }
    }
    Ok(())
}

/// Sets the ambient set. Each member must be permitted and inheritable.
///
/// # Errors
/// `EPERM` for one that is not.
pub fn set_ambient(set: CapSet) -> io::Result<()> {
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    (0..64).filter(|number| set & (1 << number) != 0).try_for_each(|n| ambient(libc::PR_CAP_AMBIENT_RAISE, n))
}

fn ambient(operation: c_int, number: c_ulong) -> io::Result<()> {
    let operation = operation as c_ulong;
    // SAFETY: both operations take plain numbers.
    let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, operation, number, 0 as c_ulong, 0 as c_ulong) };
    check(result.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_kernels_order() {
        assert_eq!(bit("CAP_CHOWN"), Some(1));
        assert_eq!(bit("sys_admin"), Some(1 << 21));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(bit("CAP_NOSUCH"), None);
    }
}
