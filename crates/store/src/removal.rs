//! Removal of whole trees, as deep as whoever made them liked.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, unlinkat};
use rustix::io::Errno;

use crate::tree::{Stopped, Visitor, open_folder, walk};

/// Removes a file, a link (not what it leads to) or a folder with everything in it; fine if it is gone already.
///
/// Unlike [`std::fs::remove_dir_all`] it does not recurse: a container or a layer can have folders in folders until
/// any stack is used up. What is mounted in the tree stays as it is and makes the removal fail.
///
/// # Errors
/// The first that the kernel gives, with the folder in which it was met.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    remove_tree_at(CWD, path.as_os_str())
}

/// [`remove_tree`] of what is called `name` in an open folder.
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_tree_at(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    let (folder, name) = (folder.as_fd(), CString::new(name.as_bytes())?);
    if !unlink(folder, &name)? {
        return Ok(());
    }
    let Some(top) = open_folder(folder, &name)? else { return Ok(()) };
    walk(top, &mut Removal).map_err(|Stopped { path, source }| match path.as_os_str().is_empty() {
        true => source,
        false => io::Error::new(source.kind(), format!("in {}: {source}", path.display())),
    })?;
    Removal.done(folder, &name)
}

struct Removal;

impl Visitor for Removal {
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, kind: FileType) -> io::Result<bool> {
        Ok(kind == FileType::Directory || unlink(folder, name)?)
    }

    fn done(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        // Two may be at it.
        gone(unlinkat(parent, name, AtFlags::REMOVEDIR))
    }
}

/// Unlinks what is no folder; true if it is one.
fn unlink(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(true),
        other => gone(other).map(|()| false),
    }
}

fn gone(removed: Result<(), Errno>) -> io::Result<()> {
    match removed {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::thread;

    use rustix::fs::{Mode, OFlags, mkdirat, openat};

    use super::*;

    /// Folders in folders, each with a file.
    fn nested(top: &Path, depth: usize) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut folder = openat(CWD, top, flags, Mode::empty()).unwrap();
        for _ in 0..depth {
            mkdirat(&folder, "d", Mode::RWXU).unwrap();
            openat(&folder, "f", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).unwrap();
            folder = openat(&folder, "d", flags, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn folders_in_folders_use_up_neither_stack_nor_descriptors_nor_names() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        fs::create_dir(&top).unwrap();
        nested(&top, 20_000);
        let measured = top.clone();
        let removing = move || {
            let usage = crate::usage(&measured).unwrap();
            remove_tree(&measured).unwrap();
            usage.inodes
        };
        let small = thread::Builder::new().stack_size(128 << 10).spawn(removing).unwrap();
        assert_eq!(small.join().unwrap(), 40_001);
        assert!(!top.exists());
    }

    #[test]
    fn many_branches_as_deep_as_what_is_open_go_as_well() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        for branch in 0..3 {
            let folder = top.join(format!("{branch}/{}", "d/".repeat(100)));
            for inner in 0..3 {
                let inner = folder.join(format!("{inner}"));
                fs::create_dir_all(&inner).unwrap();
                nested(&inner, 70);
            }
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn links_are_removed_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (kept, top) = (place.path().join("kept"), place.path().join("top"));
        fs::create_dir_all(kept.join("inner")).unwrap();
        fs::create_dir(&top).unwrap();
        symlink(&kept, top.join("link")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        symlink(&kept, place.path().join("itself")).unwrap();
        remove_tree(&top).unwrap();
        remove_tree(&place.path().join("itself")).unwrap();
        let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [kept.as_path()]);
        assert!(kept.join("inner").is_dir());
    }

    #[test]
    fn what_is_gone_or_a_file_is_fine() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "x").unwrap();
        remove_tree(&file).unwrap();
        remove_tree(&file).unwrap();
        remove_tree(&place.path().join("no/such")).unwrap();
        assert!(!file.exists());
    }
}
