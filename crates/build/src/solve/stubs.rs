//! Mount points that a container runtime makes where the image has none: empty files and directories that are
//! no part of what the step did, and are taken out of its layer again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType};

use crate::tree::{Tree, names};

/// What runtimes mount in every container.
const USUAL: [&str; 6] = ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// The mount points, and directories above them, that the image does not have.
#[derive(Debug)]
pub(super) struct Stubs {
    /// Paths that are missing before the step.
    missing: Vec<PathBuf>,
    /// Directories that were there: an empty copy of them in the layer says nothing.
    parents: Vec<PathBuf>,
}

impl Stubs {
    /// Looks, in the merged view that the step will see, for the usual mount points and `targets`.
    pub(super) fn find(view: &Tree, targets: &[String]) -> std::io::Result<Stubs> {
        let mut stubs = Stubs { missing: Vec::new(), parents: Vec::new() };
        for target in USUAL.iter().copied().chain(targets.iter().map(String::as_str)) {
            let mut at = view.resolve(Path::new(target))?;
            while at != Path::new(".") && !at.as_os_str().is_empty() {
                match view.find(&at)? {
                    None => stubs.missing.push(at.clone()),
                    Some(_) => {
                        stubs.parents.extend(at.ancestors().map(Path::to_owned));
                        break;
                    }
                }
                at = at.parent().unwrap_or(Path::new("")).to_owned();
            }
        }
        stubs.parents.retain(|path| !path.as_os_str().is_empty());
        for list in [&mut stubs.missing, &mut stubs.parents] {
            // Deeper ones first, so that what they leave empty is seen as empty.
            list.sort_by(|a, b| b.components().count().cmp(&a.components().count()).then(a.cmp(b)));
            list.dedup();
        }
        Ok(stubs)
    }

    /// Takes out of a layer what a runtime made of them. What the step itself has filled stays.
    pub(super) fn remove_from(&self, layer: &Tree) -> std::io::Result<()> {
        let mut any = false;
        for path in &self.missing {
            any |= remove_if_empty(layer, path)?;
        }
        if any {
            for path in &self.parents {
                remove_if_empty(layer, path)?;
            }
        }
        Ok(())
    }
}

/// Removes an empty file or directory, unless the directory hides something below.
fn remove_if_empty(layer: &Tree, path: &Path) -> std::io::Result<bool> {
    let Some(stat) = layer.find(path)? else { return Ok(false) };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_size == 0 => {
            rustix::fs::unlinkat(layer.fd(), path, AtFlags::empty())?;
            Ok(true)
        }
        FileType::Directory => {
            let dir = layer.open_dir(path)?;
            let mut value = [0; 4];
            let opaque =
                rustix::fs::fgetxattr(&dir, OsStr::from_bytes(b"trusted.overlay.opaque"), &mut value);
            if opaque.is_ok() || !names(dir)?.is_empty() {
                return Ok(false);
            }
            rustix::fs::unlinkat(layer.fd(), path, AtFlags::REMOVEDIR)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_what_the_runtime_made_is_taken_out() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (view, layer) = (dir.path().join("view"), dir.path().join("layer"));
        fs::create_dir_all(view.join("etc")).expect("dir");
        fs::create_dir_all(view.join("proc")).expect("dir");
        let stubs =
            Stubs::find(&Tree::open(&view).expect("tree"), &["/mnt/cache".to_owned()]).expect("found");
        for made in ["etc", "dev", "sys", "mnt/cache", "var/empty"] {
            fs::create_dir_all(layer.join(made)).expect("dir");
        }
        fs::write(layer.join("etc/hosts"), "").expect("file");
        fs::write(layer.join("etc/hostname"), "mine").expect("file");
        fs::write(layer.join("sys/mine"), "").expect("file");
        let tree = Tree::open(&layer).expect("tree");
        stubs.remove_from(&tree).expect("removed");
        let left = |path: &str| layer.join(path).exists();
        assert!(!left("etc/hosts") && !left("dev") && !left("mnt"));
        assert!(left("etc/hostname") && left("sys/mine") && left("var/empty"));
        fs::remove_file(layer.join("etc/hostname")).expect("removed");
        fs::write(layer.join("etc/resolv.conf"), "").expect("file");
        stubs.remove_from(&tree).expect("removed");
        assert!(!left("etc"), "an empty copy of a directory of the image is nothing");
    }
}
