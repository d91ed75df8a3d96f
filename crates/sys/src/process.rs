//! What a process sets on itself before it becomes another program.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn prctl(option: c_int, value: c_ulong) -> io::Result<()> {
    // SAFETY: only called with options whose arguments are plain numbers.
    check(unsafe { libc::prctl(option, value, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }.into()).map(drop)
}

/// Replaces the program. Returns only if that failed.
pub fn exec(path: &std::ffi::CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let args: Vec<*const c_char> = list(argv);
    let vars: Vec<*const c_char> = list(env);
    // SAFETY: path, lists and their strings are NUL-terminated and outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), vars.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces the program by the file of a descriptor. Returns only if that failed.
pub fn exec_fd(file: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let args: Vec<*const c_char> = list(argv);
    let vars: Vec<*const c_char> = list(env);
    // SAFETY: the empty path, the lists and their strings are NUL-terminated and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            vars.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn list(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Joins the namespace of a descriptor: of one kind, or, for a pidfd, all kinds of `kinds`.
///
/// # Errors
/// The errno of setns.
pub fn setns(fd: BorrowedFd<'_>, kinds: u64) -> io::Result<()> {
    // SAFETY: setns changes the calling task only and takes plain numbers.
    check(unsafe { libc::setns(fd.as_raw_fd(), kinds as c_int) }.into()).map(drop)
}

/// Leaves shared namespaces for new ones.
///
/// # Errors
/// The errno of unshare.
pub fn unshare(kinds: u64) -> io::Result<()> {
    // SAFETY: only namespace bits are passed by callers; memory and descriptors stay shared as they are.
    check(unsafe { libc::unshare(kinds as c_int) }.into()).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec.
///
/// # Errors
/// The errno of close_range.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    // SAFETY: nothing is closed; the descriptors only get a flag.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// Descriptors inherited over exec that the program was told of by number.
///
/// # Errors
/// `EBADF` if it is not open.
pub fn inherited_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only reads.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: the descriptor is open. Callers name one that their own parent handed over for them alone, once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `fd` the descriptor `to`, which stays open over exec.
///
/// # Errors
/// The errno of dup2.
pub fn dup_to(fd: BorrowedFd<'_>, to: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == to {
        // SAFETY: F_SETFD changes a flag only.
        return check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: `to` is one of the standard descriptors or one the caller gives up.
    check(unsafe { libc::dup2(fd.as_raw_fd(), to) }.into()).map(drop)
}

/// Default dispositions for all signals and an empty signal mask, as a new program expects them.
///
/// Asked of the kernel itself: the C library hides the signals it keeps for its threads, and its posix_spawn
/// leaves them ignored.
pub fn reset_signals() {
    /// The kernel's `struct sigaction` for SIG_DFL.
    const DEFAULT: [usize; 4] = [0; 4];
    const SET_SIZE: usize = 8;
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours; the structure has the kernel's size on 64-bit machines and
        // outlives the call. SIGKILL and SIGSTOP are refused.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<usize>(),
                SET_SIZE,
            )
        };
    }
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is filled before it is used; only the calling thread's mask changes.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Sends a signal by its number, real-time ones included, to the process of a pidfd.
///
/// # Errors
/// `ESRCH` once it has ended, `EINVAL` for a number that is no signal.
pub fn signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers and a null siginfo, for which the kernel makes one up.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
    })
    .map(drop)
}

/// Sends a signal by its number to a process id, which the caller knows to be what it means.
///
/// # Errors
/// `ESRCH` if there is none.
pub fn signal_pid(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Blocks signals and reads them from a descriptor instead.
///
/// # Errors
/// The errno of signalfd.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is filled before it is used; signalfd returns a new descriptor that nobody else owns.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        let fd = check(libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Takes one signal off a [`signal_fd`]; `None` if there is none.
pub fn take_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = std::mem::size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes into `info`, which is read only when it wrote all of them.
    unsafe {
        let got = libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size);
        (got == size as isize).then(|| info.assume_init().ssi_signo as i32)
    }
}

/// Sets user and group ids: real, effective and saved.
///
/// # Errors
/// The errno of the call that was refused.
pub fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    set_gid(gid)?;
    // SAFETY: plain numbers; the raw call changes the calling thread only, and this process has no other.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Sets the group ids: real, effective and saved.
///
/// # Errors
/// The errno of setresgid.
pub fn set_gid(gid: u32) -> io::Result<()> {
    // SAFETY: as in `set_ids`.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the supplementary groups.
///
/// # Errors
/// The errno of setgroups.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads `groups.len()` numbers from the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Keeps capabilities over a change of user (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// The errno of prctl.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, c_ulong::from(keep))
}

/// Gives up gaining rights by exec for ever.
///
/// # Errors
/// The errno of prctl.
pub fn no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Keeps others from tracing this process and from opening its files in /proc.
///
/// # Errors
/// The errno of prctl.
pub fn not_dumpable() -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Has a signal sent to this process when its parent ends.
///
/// # Errors
/// The errno of prctl.
pub fn parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as c_ulong)
}

/// Makes this process the parent of its descendants' orphans.
///
/// # Errors
/// The errno of prctl.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Name of the process as `ps` shows it.
///
/// # Errors
/// The errno of prctl.
pub fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the kernel reads a NUL-terminated string that outlives the call.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }.into()).map(drop)
}

/// Sets one resource limit; `u64::MAX` is unlimited.
///
/// # Errors
/// The errno of prlimit.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads `limit`, which outlives the call; no old limit is asked for.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null::<u8>())
    })
    .map(drop)
}

/// A session keyring of its own.
///
/// # Errors
/// The errno of keyctl.
pub fn join_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<c_char>()) })
        .map(drop)
}

/// Sets the execution domain.
///
/// # Errors
/// The errno of personality.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: a plain number.
    check(unsafe { libc::personality(persona.into()) }.into()).map(drop)
}

/// Sets the I/O priority: class in bits 13 and up, level below.
///
/// # Errors
/// The errno of ioprio_set.
pub fn set_io_priority(class: u16, level: u16) -> io::Result<()> {
    // SAFETY: plain numbers; 1 is IOPRIO_WHO_PROCESS, 0 the caller.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, c_int::from(class) << 13 | c_int::from(level)) })
        .map(drop)
}

/// Scheduling attributes (`sched_setattr`).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    /// Size of this structure; set by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Of SCHED_DEADLINE.
    pub runtime: u64,
    /// Of SCHED_DEADLINE.
    pub deadline: u64,
    /// Of SCHED_DEADLINE.
    pub period: u64,
}

/// Sets the scheduling policy.
///
/// # Errors
/// The errno of sched_setattr.
pub fn set_scheduler(mut attr: SchedAttr) -> io::Result<()> {
    attr.size = std::mem::size_of::<SchedAttr>() as u32;
    // SAFETY: the kernel reads `size` bytes of `attr`, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Sets the host name of the UTS namespace.
///
/// # Errors
/// The errno of sethostname.
pub fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `len` bytes of the string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Sets the domain name of the UTS namespace.
///
/// # Errors
/// The errno of setdomainname.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `len` bytes of the string.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Returns the heap's unused pages to the kernel.
pub fn trim_heap() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}
