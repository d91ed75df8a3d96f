//! Starting a program from a large, threaded process without copying its page tables.
//!
//! glibc's posix_spawn clones with `CLONE_VM | CLONE_VFORK` on a stack of its own, so its cost does not grow
//! with the daemon.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::raw::{c_char, c_short};
use std::path::Path;

/// Starts `exe` in a session of its own, with stdio on /dev/null, an empty signal mask, default signal
/// dispositions and `fd` as its descriptor 3. Returns its process id; the caller has to reap it.
///
/// # Errors
/// The errno of the spawn, e.g. `ENOENT` for a missing program.
pub fn spawn_with_fd(exe: &Path, argv: &[CString], env: &[CString], fd: BorrowedFd<'_>) -> io::Result<i32> {
    use std::os::unix::ffi::OsStrExt;
    let exe = CString::new(exe.as_os_str().as_bytes())?;
    let args: Vec<*mut c_char> = pointers(argv);
    let vars: Vec<*mut c_char> = pointers(env);
    let mut actions = Actions::new()?;
    actions.dev_null()?;
    actions.dup(fd, 3)?;
    let attributes = Attributes::new()?;
    let mut pid: libc::pid_t = 0;
    // SAFETY: `exe`, `args` and `vars` are NUL-terminated (lists too) and outlive the call; `actions` and
    // `attributes` were initialised by their constructors.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            exe.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            args.as_ptr(),
            vars.as_ptr(),
        )
    };
    check(error)?;
    Ok(pid)
}

fn pointers(strings: &[CString]) -> Vec<*mut c_char> {
    strings.iter().map(|s| s.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
}

fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Actions> {
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: init fills the structure it is given; it is read only if that succeeded.
        unsafe {
            check(libc::posix_spawn_file_actions_init(raw.as_mut_ptr()))?;
            Ok(Actions(raw.assume_init()))
        }
    }

    fn dev_null(&mut self) -> io::Result<()> {
        // SAFETY: the structure is initialised and the path is a C string with static lifetime.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, 0, c"/dev/null".as_ptr(), libc::O_RDWR, 0)
        })?;
        for target in [1, 2] {
            // SAFETY: the structure is initialised; the numbers are copied.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, 0, target) })?;
        }
        Ok(())
    }

    fn dup(&mut self, from: BorrowedFd<'_>, to: i32) -> io::Result<()> {
        // SAFETY: the structure is initialised; the numbers are copied, and `from` is open during the spawn.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from.as_raw_fd(), to) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the structure was initialised in `new` and is not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let flags =
            i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: init fills the structure; the signal sets are filled before they are read; all pointers are
        // to locals that outlive the calls, which copy what they need.
        unsafe {
            check(libc::posix_spawnattr_init(raw.as_mut_ptr()))?;
            let mut attributes = Attributes(raw.assume_init());
            let mut set = std::mem::MaybeUninit::uninit();
            libc::sigemptyset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, set.as_ptr()))?;
            libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
            check(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, set.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags as c_short))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the structure was initialised in `new` and is not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
