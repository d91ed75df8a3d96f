//! Installing a system call filter (seccomp(2)).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// One instruction of classic BPF, as the kernel takes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

/// Log actions other than allow.
pub const FLAG_LOG: u32 = 2;
/// Do not turn on mitigations against speculative store bypass.
pub const FLAG_SPEC_ALLOW: u32 = 4;
/// Return a descriptor on which notified calls are answered.
pub const FLAG_NEW_LISTENER: u32 = 8;
/// A notified call waits killably.
pub const FLAG_WAIT_KILLABLE: u32 = 32;

/// Installs a filter on the calling process. Needs CAP_SYS_ADMIN or no_new_privs.
///
/// # Errors
/// The errno of seccomp.
pub fn install(filter: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    const SET_MODE_FILTER: u32 = 1;
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` describes the slice, which outlives the call; the kernel copies and checks it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) };
    match result {
        r if r < 0 => Err(io::Error::last_os_error()),
        // SAFETY: with this flag the result is a new descriptor that nobody else owns.
        r if flags & FLAG_NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(r as RawFd) })),
        _ => Ok(None),
    }
}

/// A filter as bytes, to be kept in a file.
pub fn to_bytes(filter: &[Instruction]) -> Vec<u8> {
    filter
        .iter()
        .flat_map(|i| {
            let (code, k) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
            [code[0], code[1], i.jt, i.jf, k[0], k[1], k[2], k[3]]
        })
        .collect()
}

/// A filter from its bytes.
pub fn from_bytes(bytes: &[u8]) -> Vec<Instruction> {
    bytes
        .chunks_exact(8)
        .map(|b| Instruction {
            code: u16::from_ne_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        })
        .collect()
}
