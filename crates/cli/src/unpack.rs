//! Unpacking what a container or a build sent: its content is not trusted. Nothing is written outside of the folder:
//! parts of a name are plain, and links are never followed on the way.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

/// Unpacks a tar in a folder.
pub struct Unpacker {
    /// The folder.
    pub dir: PathBuf,
    /// What the tar calls its first part; `/` if it has no such part.
    pub own: String,
    /// What that becomes.
    pub name: String,
    /// The content of the first part is unpacked, and not itself.
    pub content: bool,
}

impl Unpacker {
    /// Unpacks all of it.
    ///
    /// # Errors
    /// A broken tar, a name that leads elsewhere, or a file that cannot be written.
    pub fn run(&self, from: &mut impl Read) -> io::Result<()> {
        let mut archive = tar::Archive::new(from);
        let mut folders = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some(path) = self.local(&entry.path()?)? else { continue };
            self.check_way(&path)?;
            self.one(&mut entry, &path, &mut folders)?;
        }
        // Modes of folders come last: a folder without write permission must be filled first.
        for (path, mode) in folders.into_iter().rev() {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|e| named(&path, e))?;
        }
        Ok(())
    }

    /// Where an entry goes; `None` for the folder that stays out.
    fn local(&self, name: &Path) -> io::Result<Option<PathBuf>> {
        let mut parts = Vec::new();
        for part in name.components() {
            match part {
                Component::Normal(p) => parts.push(p),
                Component::CurDir | Component::RootDir => {}
                _ => return Err(io::Error::other(format!("refusing the name {}", name.display()))),
            }
        }
        if parts.first().is_some_and(|p| *p == self.own.as_str()) || self.own == "/" || self.own == "." {
            if self.own != "/" && self.own != "." {
                parts.remove(0);
            }
            let mut path = self.dir.clone();
            if !self.content {
                path.push(&self.name);
            }
            path.extend(&parts);
            return Ok((!(self.content && parts.is_empty())).then_some(path));
        }
        let mut path = self.dir.clone();
        path.extend(&parts);
        Ok((!parts.is_empty()).then_some(path))
    }

    /// Refuses a way that leads through a link: a container could have sent it.
    fn check_way(&self, path: &Path) -> io::Result<()> {
        let Ok(inside) = path.strip_prefix(&self.dir) else { return Ok(()) };
        let mut way = self.dir.clone();
        for part in inside.parent().into_iter().flat_map(Path::components) {
            way.push(part);
            if fs::symlink_metadata(&way).is_ok_and(|m| m.file_type().is_symlink()) {
                return Err(io::Error::other(format!("refusing to follow the link {}", way.display())));
            }
        }
        Ok(())
    }

    fn one(
        &self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        folders: &mut Vec<(PathBuf, u32)>,
    ) -> io::Result<()> {
        let mode = entry.header().mode()? & 0o7777;
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(|e| named(above, e))?;
        }
        let there = fs::symlink_metadata(path).ok();
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                if !there.is_some_and(|m| m.is_dir()) {
                    fs::create_dir(path).map_err(|e| named(path, e))?;
                }
                folders.push((path.to_owned(), mode));
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                replace(path, there)?;
                let mut options = fs::OpenOptions::new();
                let mut file =
                    options.write(true).create_new(true).mode(mode).open(path).map_err(|e| named(path, e))?;
                io::copy(entry, &mut file).map_err(|e| named(path, e))?;
                file.set_permissions(fs::Permissions::from_mode(mode)).map_err(|e| named(path, e))?;
                if let Ok(mtime) = entry.header().mtime() {
                    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
                    // A time that the file system cannot hold is no reason to fail.
                    let _ = file.set_modified(time);
                }
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
                replace(path, there)?;
                std::os::unix::fs::symlink(&target, path).map_err(|e| named(path, e))?;
            }
            tar::EntryType::Link => {
                let target = entry.link_name()?.ok_or_else(|| io::Error::other("a link without a target"))?;
                let Some(source) = self.local(&target)? else { return Ok(()) };
                self.check_way(&source)?;
                replace(path, there)?;
                fs::hard_link(&source, path).map_err(|e| named(path, e))?;
            }
            // Devices and pipes are not made on this machine.
            _ => {}
        }
        Ok(())
    }
}

fn replace(path: &Path, there: Option<fs::Metadata>) -> io::Result<()> {
    match there {
        Some(m) if m.is_dir() => {
            Err(named(path, io::Error::other("cannot overwrite directory with non-directory")))
        }
        Some(_) => fs::remove_file(path).map_err(|e| named(path, e)),
        None => Ok(()),
    }
}

fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {}", path.display(), crate::command_error::errno_text(&e)))
}
