//! Changes below folders, noticed by inotify: each folder has a watch, new folders get theirs, and what happens within
//! a moment is told of at once.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use tokio::sync::mpsc;

use crate::command_error::Error;

/// So long nothing must happen before changes are told of.
const QUIET: Duration = Duration::from_millis(200);

/// Watched folders and files.
pub struct Notice {
    fd: Arc<OwnedFd>,
    /// A thread says here that there is something to read.
    ready: mpsc::Receiver<()>,
    folders: HashMap<i32, PathBuf>,
    /// Files that are watched for themselves, by the folder they are in.
    files: BTreeSet<PathBuf>,
}

impl Notice {
    /// Watches these paths and all below them.
    ///
    /// # Errors
    /// One does not exist, or the system has no more watches.
    pub fn of(paths: &[PathBuf]) -> Result<Notice, Error> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|e| watch_failed(e.into()))?;
        let fd = Arc::new(fd);
        let ready = waiting(Arc::clone(&fd))?;
        let mut notice = Notice { fd, ready, folders: HashMap::new(), files: BTreeSet::new() };
        for path in paths {
            if path.is_dir() {
                notice.add(path)?;
            } else {
                notice.files.insert(path.clone());
                if let Some(folder) = path.parent() {
                    notice.add_one(folder)?;
                }
            }
        }
        Ok(notice)
    }

    fn add_one(&mut self, folder: &Path) -> Result<(), Error> {
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        let id = inotify::add_watch(&*self.fd, folder, wanted)
            .map_err(|e| Error::file("watch", folder)(e.into()))?;
        self.folders.insert(id, folder.to_owned());
        Ok(())
    }

    /// Watches a folder and all below it; links are not followed.
    fn add(&mut self, folder: &Path) -> Result<(), Error> {
        self.add_one(folder)?;
        let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.add(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Waits for changes; the paths that changed.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn next(&mut self) -> Result<BTreeSet<PathBuf>, Error> {
        let mut changed = BTreeSet::new();
        loop {
            if changed.is_empty() {
                self.ready.recv().await;
            } else if tokio::time::timeout(QUIET, self.ready.recv()).await.is_err() {
                return Ok(changed);
            }
            self.read(&mut changed)?;
        }
    }

    fn read(&mut self, changed: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut fresh = Vec::new();
        let mut reader = Reader::new(&*self.fd, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(e) => return Err(watch_failed(e.into())),
            };
            let Some(folder) = self.folders.get(&event.wd()) else { continue };
            let Some(name) = event.file_name() else { continue };
            let path = folder.join(OsStr::from_bytes(name.to_bytes()));
            let (folder_changed, made) = (
                event.events().contains(ReadFlags::ISDIR),
                event.events().intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO),
            );
            if folder_changed && made {
                fresh.push(path.clone());
            }
            // A new file is told of when it has been written, unless it is a link or came whole.
            let half = event.events().contains(ReadFlags::CREATE)
                && !folder_changed
                && path.is_file()
                && !path.is_symlink();
            if !half {
                changed.insert(path);
            }
        }
        for folder in fresh {
            // It may be gone again.
            if self.add(&folder).is_ok() {
                below(&folder, changed);
            }
        }
        Ok(())
    }

    /// Whether a path is one that was asked for: not a neighbour of a watched file.
    pub fn covers(&self, path: &Path, root: &Path) -> bool {
        if self.files.contains(root) { path == root } else { path.starts_with(root) }
    }
}

/// Waits in a thread of its own until there is something to read, again and again as long as somebody asks.
fn waiting(fd: Arc<OwnedFd>) -> Result<mpsc::Receiver<()>, Error> {
    let (tell, ready) = mpsc::channel(1);
    let wait = move || {
        loop {
            let mut fds = [PollFd::new(&*fd, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            if tell.blocking_send(()).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("watch".into()).spawn(wait).map_err(watch_failed)?;
    Ok(ready)
}

/// All files of a folder that came before its watch.
fn below(folder: &Path, into: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            below(&entry.path(), into);
        }
        into.insert(entry.path());
    }
}

fn watch_failed(source: std::io::Error) -> Error {
    Error::io("watch files")(source)
}
