//! A view of our own binary that no container can write to (CVE-2019-5736).
//!
//! While the init or an exec is about to become the user's program, `/proc/<pid>/exe` inside the container is
//! our binary. It is run from a detached read-only mount of itself: opening it for writing through that link
//! fails with EROFS, and the mount belongs to no namespace in which anybody could make it writable again.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dray_sys::mount::{MountAttr, attr};
use rustix::fs::{CWD, StatVfsMountFlags};

use crate::error::{StartError, Step};
use crate::init::At;

type View = (std::path::PathBuf, std::sync::Arc<OwnedFd>);
static VIEW: Mutex<Option<View>> = Mutex::new(None);

/// A read-only view of a program, made once for the life of the process.
///
/// # Errors
/// If the file cannot be found, or the mount cannot be made.
pub fn read_only_view(exe: &Path) -> Result<std::sync::Arc<OwnedFd>, StartError> {
    let mut slot = VIEW.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((path, view)) = slot.as_ref()
        && path == exe
        && is_same_file(view, exe)
    {
        return Ok(view.clone());
    }
    let view = std::sync::Arc::new(make(exe)?);
    *slot = Some((exe.to_owned(), view.clone()));
    Ok(view)
}

/// An upgraded daemon binary is a new file under the old name.
fn is_same_file(view: &OwnedFd, exe: &Path) -> bool {
    let (Ok(a), Ok(b)) = (rustix::fs::fstat(view), rustix::fs::stat(exe)) else { return true };
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn make(exe: &Path) -> Result<OwnedFd, StartError> {
    let subject = || exe.display().to_string();
    let view = dray_sys::mount::clone_detached(CWD, exe, false).at(Step::Spawn, subject())?;
    let change = MountAttr { set: attr::RDONLY | attr::NOSUID, ..MountAttr::default() };
    dray_sys::mount::set_attr(view.as_fd(), change, false).at(Step::Spawn, subject())?;
    // Out of the way of the descriptors a child is given by number before it runs the program.
    rustix::io::fcntl_dupfd_cloexec(&view, 10).at(Step::Spawn, subject())
}

/// Runs this very program again from a read-only view, unless it runs from one already. For the face that
/// others call by its path.
///
/// # Errors
/// If the view cannot be made; a success does not return.
pub fn ensure(args: &[std::ffi::OsString]) -> Result<(), StartError> {
    let own = Path::new("/proc/self/exe");
    let stat = rustix::fs::statvfs(own).at(Step::Spawn, "/proc/self/exe")?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let view = make(own)?;
    let strings = |list: &mut dyn Iterator<Item = Vec<u8>>| -> Vec<CString> {
        list.filter_map(|bytes| CString::new(bytes).ok()).collect()
    };
    let argv = strings(&mut args.iter().map(|arg| arg.as_bytes().to_vec()));
    let env = strings(
        &mut std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()),
    );
    let error = dray_sys::process::exec_fd(view.as_fd(), &argv, &env);
    Err(StartError::io(Step::Spawn, "/proc/self/exe", &error))
}
