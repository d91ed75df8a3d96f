//! A walk through a tree of files whose depth somebody else has chosen: a container, a layer, a build.
//!
//! There is no recursion, and no path but the names of the folders: neither the stack, nor the descriptors, nor
//! PATH_MAX bounds the depth. A folder is opened from the one that it is in, never through a link and never across a
//! mount. Only the innermost ones are open: one further up is opened again as its child's `..` when the walk comes back
//! to it, and must be the folder that it was.
//!
//! ```text
//! top/a/b/ … /x/y/z      walking in z
//! └ closed ┘ └ open ┘     z done: y goes on; all open ones done: the innermost closed one is opened from below
//! ```

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

/// How many folders of a walk are open at a time.
const OPEN: usize = 64;

/// How much of a place's name an error tells.
const TOLD: usize = 1024;

/// What is done on the way. An error ends the walk.
pub trait Visitor {
    /// An entry of a folder has been read; true to have what is in it visited, after the folder's other entries.
    ///
    /// # Errors
    /// The visitor's own.
    fn entry(&mut self, folder: BorrowedFd<'_>, name: &CStr, kind: FileType) -> io::Result<bool>;

    /// What comes next is in the folder `name`, until [`Visitor::done`] is told of it.
    ///
    /// # Errors
    /// The visitor's own.
    fn enter(&mut self, name: &CStr) -> io::Result<()> {
        let _ = name;
        Ok(())
    }

    /// Everything in the folder `name` has been visited; nothing, if something is mounted on it.
    ///
    /// # Errors
    /// The visitor's own.
    fn done(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let _ = (parent, name);
        Ok(())
    }
}

/// Where a walk ended early, and why.
#[derive(Debug)]
pub struct Stopped {
    /// The folder, from the top on; its end is left out when it is long.
    pub path: PathBuf,
    /// What the kernel or the visitor said.
    pub source: io::Error,
}

/// Visits everything below a folder. What vanishes meanwhile is left out.
///
/// # Errors
/// A folder cannot be read, or the visitor's own.
pub fn walk(top: OwnedFd, visitor: &mut impl Visitor) -> Result<(), Stopped> {
    let mut walk = Walk { levels: Vec::new(), visitor };
    walk.all(top).map_err(|source| Stopped { path: walk.path(), source })
}

/// Opens a folder that is no link and no mount. `None` if it is gone.
pub(crate) fn open_folder(parent: impl AsFd, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    match open_in(parent, name, ResolveFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn open_in(parent: impl AsFd, name: &CStr, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(parent, name, flags, Mode::empty(), how)
}

struct Walk<'a, V> {
    /// From the top to where the walk is; the last one is open.
    levels: Vec<Level>,
    visitor: &'a mut V,
}

struct Level {
    name: CString,
    /// What is in it and still to be entered.
    folders: std::vec::IntoIter<CString>,
    place: Place,
}

enum Place {
    Open(Dir),
    /// Its device and number.
    Closed(u64, u64),
}

impl<V: Visitor> Walk<'_, V> {
    fn all(&mut self, top: OwnedFd) -> io::Result<()> {
        self.read(CString::default(), top)?;
        while let Some(level) = self.levels.last_mut() {
            match level.folders.next() {
                Some(name) => self.descend(name)?,
                None => self.ascend()?,
            }
        }
        Ok(())
    }

    fn descend(&mut self, name: CString) -> io::Result<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let parent = level.open()?;
        match open_in(parent, &name, ResolveFlags::NO_XDEV) {
            Ok(folder) => {
                self.visitor.enter(&name)?;
                self.read(name, folder)
            }
            Err(Errno::NOENT) => Ok(()),
            // What is mounted there is none of this tree.
            Err(Errno::XDEV) => {
                self.visitor.enter(&name)?;
                self.visitor.done(parent, &name)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Visits the entries of a folder and notes those to be entered.
    fn read(&mut self, name: CString, folder: OwnedFd) -> io::Result<()> {
        if let Some(outermost) = self.levels.len().checked_sub(OPEN) {
            self.levels[outermost].close()?;
        }
        let mut dir = Dir::new(folder)?;
        let mut folders = Vec::new();
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name();
            let itself = matches!(name.to_bytes(), b"." | b"..");
            if !itself && self.visitor.entry(dir.fd()?, name, entry.file_type())? {
                folders.push(name.to_owned());
            }
        }
        self.levels.push(Level { name, folders: folders.into_iter(), place: Place::Open(dir) });
        Ok(())
    }

    /// Leaves the innermost folder.
    fn ascend(&mut self) -> io::Result<()> {
        let Some(left) = self.levels.pop() else { return Ok(()) };
        let Some(parent) = self.levels.last_mut() else { return Ok(()) };
        parent.reopen_from(left.open()?)?;
        self.visitor.done(parent.open()?, &left.name)
    }

    fn path(&self) -> PathBuf {
        let mut path = PathBuf::new();
        for level in self.levels.iter().skip(1) {
            if path.as_os_str().len() + level.name.count_bytes() > TOLD {
                path.push("…");
                break;
            }
            path.push(OsStr::from_bytes(level.name.to_bytes()));
        }
        path
    }
}

impl Level {
    fn open(&self) -> io::Result<BorrowedFd<'_>> {
        match &self.place {
            Place::Open(dir) => Ok(dir.fd()?),
            Place::Closed(..) => Err(Errno::BADF.into()),
        }
    }

    fn close(&mut self) -> io::Result<()> {
        if let Place::Open(dir) = &self.place {
            let stat = fstat(dir.fd()?)?;
            self.place = Place::Closed(stat.st_dev, stat.st_ino);
        }
        Ok(())
    }

    /// Opens it again as what `child` is in. A child that was moved away meanwhile would lead out of the tree.
    fn reopen_from(&mut self, child: BorrowedFd<'_>) -> io::Result<()> {
        if let Place::Closed(device, number) = self.place {
            let folder = open_in(child, c"..", ResolveFlags::NO_XDEV)?;
            let stat = fstat(&folder)?;
            if (stat.st_dev, stat.st_ino) != (device, number) {
                return Err(io::Error::other("a folder was moved away meanwhile"));
            }
            self.place = Place::Open(Dir::new(folder)?);
        }
        Ok(())
    }
}
