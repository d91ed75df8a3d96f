//! Which files the sources of `COPY` and `ADD` mean.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{Item, Node, SourceTree, io_error};
use crate::Cancel;
use crate::dockerignore::{FolderMatch, Patterns};
use crate::error::CopyError;
use crate::glob::{Glob, clean_path, has_wildcards};
use crate::tree::{self, Tree};

/// How sources are read.
pub(crate) struct Selection<'a> {
    pub(crate) source: &'a SourceTree<'a>,
    /// `--exclude`.
    pub(crate) exclude: &'a Patterns,
    /// `--parents`.
    pub(crate) parents: bool,
    pub(crate) cancel: &'a Cancel,
}

/// The items that `path`, with or without wildcards, means.
pub(crate) fn select(selection: &Selection<'_>, path: &str) -> Result<Vec<Item>, CopyError> {
    if selection.parents {
        return selection.with_parents(path);
    }
    let inner = inner_path(path)?;
    if !has_wildcards(path) {
        return Ok(vec![selection.item(Path::new(&inner), None, path)?]);
    }
    let found = selection.expanded(Path::new(""), &inner)?;
    selection.items(found, |_| None)
}

/// The item at a path without links or wildcards.
pub(crate) fn item_at(source: &SourceTree<'_>, path: &str, cancel: &Cancel) -> Result<Item, CopyError> {
    let exclude = Patterns::default();
    Selection { source, exclude: &exclude, parents: false, cancel }.item(Path::new(path), None, path)
}

/// A source as a path below the top: no leading `/`, nothing that leads out.
fn inner_path(path: &str) -> Result<String, CopyError> {
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    match clean_path(path).as_str() {
        "." => Ok(String::new()),
        ".." => Err(CopyError::Outside(path.to_owned())),
        clean if clean.starts_with("../") => Err(CopyError::Outside(path.to_owned())),
        clean => Ok(clean.to_owned()),
    }
}

fn base_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

impl Selection<'_> {
    fn tree(&self) -> &Tree {
        &self.source.tree
    }

    /// `--parents`: what lies behind the pivot `/./`, or behind the top, keeps the folders on the way there. `**` stands for
    /// any number of folders.
    fn with_parents(&self, path: &str) -> Result<Vec<Item>, CopyError> {
        let (pivot, rest) = path.split_once("/./").unwrap_or(("", path));
        let (pivot, rest) = (inner_path(pivot)?, inner_path(rest)?);
        let parent = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
        if !has_wildcards(&pivot) && !has_wildcards(&rest) {
            let found = Path::new(&pivot).join(&rest);
            return Ok(vec![self.item(&found, Some(parent(Path::new(&rest))), path)?]);
        }
        let roots = match has_wildcards(&pivot) {
            true => self.expanded(Path::new(""), &pivot)?,
            false => vec![self.tree().resolve(Path::new(&pivot)).map_err(io_error("resolve", &pivot))?],
        };
        let mut items = Vec::new();
        for root in roots {
            if !self.tree().is_dir(&root).map_err(io_error("stat", &root))? {
                continue;
            }
            let found = match has_wildcards(&rest) {
                true if rest.split('/').any(|part| part.contains("**")) => self.search(&root, &rest)?,
                true => self.expanded(&root, &rest)?,
                false => {
                    let found = root.join(&rest);
                    let there = self.tree().find(&found).map_err(io_error("stat", &found))?;
                    there.map(|_| found).into_iter().collect()
                }
            };
            let kept = |found: &Path| found.strip_prefix(&root).ok().map(parent);
            items.extend(self.items(found, kept)?);
        }
        Ok(items)
    }

    /// The items at paths that were found by wildcards. A file that only its own name excludes is none.
    fn items(
        &self,
        found: Vec<PathBuf>,
        parents: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Result<Vec<Item>, CopyError> {
        let mut items = Vec::new();
        for found in found {
            let shown = found.to_string_lossy().into_owned();
            let (excluded, _) = self.exclude.ignores_within(&base_name(&shown), &FolderMatch::default());
            if !excluded {
                items.push(self.item(&found, parents(&found), &shown)?);
            }
        }
        Ok(items)
    }

    /// The paths below `root` that match a pattern with `**`. What is in a folder that matches is not looked at: it comes
    /// along.
    fn search(&self, root: &Path, pattern: &str) -> Result<Vec<PathBuf>, CopyError> {
        let bad = |source| CopyError::Pattern { pattern: pattern.to_owned(), source };
        let glob = Glob::ignore(pattern).map_err(bad)?;
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            if self.cancel.is_cancelled() {
                return Err(CopyError::Cancelled);
            }
            let at = root.join(&folder);
            let at = if at.as_os_str().is_empty() { Path::new(".") } else { &at };
            let names = self.tree().open_dir(at).and_then(tree::names).map_err(io_error("list", at))?;
            for path in names.into_iter().map(|name| folder.join(name)) {
                let at = root.join(&path);
                if glob.matches(&path.to_string_lossy()) {
                    found.push(at);
                } else if self.tree().is_dir(&at).map_err(io_error("stat", &at))? {
                    folders.push(path);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The paths below a folder that match a pattern, part by part.
    fn expanded(&self, folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, CopyError> {
        let parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
        let mut found = Vec::new();
        self.expand(folder, &parts, &mut found)?;
        Ok(found)
    }

    /// Finds the paths that match a pattern, part by part.
    fn expand(&self, folder: &Path, parts: &[&str], found: &mut Vec<PathBuf>) -> Result<(), CopyError> {
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        let bad = |source| CopyError::Pattern { pattern: (*part).to_owned(), source };
        let glob = Glob::path(part).map_err(bad)?;
        let top = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let names = self.tree().open_dir(top).and_then(tree::names).map_err(io_error("list", folder))?;
        for name in names.into_iter().filter(|name| glob.matches(&name.to_string_lossy())) {
            let path = folder.join(name);
            if rest.is_empty() {
                found.push(path);
            } else if self.tree().is_dir(&path).map_err(io_error("stat", &path))? {
                self.expand(&path, rest, found)?;
            }
        }
        Ok(())
    }

    fn item(&self, path: &Path, parents: Option<PathBuf>, shown: &str) -> Result<Item, CopyError> {
        let root = self.tree().resolve(path).map_err(io_error("resolve", path))?;
        let stat = self.tree().find(&root).map_err(io_error("stat", path))?;
        let Some(stat) = stat else {
            let shown = shown.trim_start_matches('/');
            let shown = shown.strip_prefix("./").unwrap_or(shown).to_owned();
            return Err(match self.source.context {
                Some(_) => CopyError::NotFound(shown),
                None => CopyError::NotFoundInImage(shown),
            });
        };
        let name = path.file_name().map(OsStr::to_owned).unwrap_or_else(|| OsString::from("."));
        let top = Node { path: PathBuf::new(), stat, link: None };
        let is_dir = top.kind() == FileType::Directory;
        let mut item = Item { name, parents, root, nodes: vec![top] };
        if is_dir {
            self.walk(&mut item)?;
        }
        Ok(item)
    }

    /// Adds what is below the item. Not by recursion: in a stage folders may lie as deep in each other as names are
    /// long.
    fn walk(&self, item: &mut Item) -> Result<(), CopyError> {
        let mut levels = vec![self.level(item, PathBuf::new(), FolderMatch::default())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            if let Some((path, matched)) = self.entry(item, level, &name)? {
                levels.push(self.level(item, path, matched)?);
            }
        }
        Ok(())
    }

    fn level(&self, item: &Item, path: PathBuf, matched: FolderMatch) -> Result<Level, CopyError> {
        if self.cancel.is_cancelled() {
            return Err(CopyError::Cancelled);
        }
        let at = if path.as_os_str().is_empty() { item.root.clone() } else { item.root.join(&path) };
        let names = self.tree().open_dir(&at).and_then(tree::names).map_err(io_error("list", &at))?;
        Ok(Level { path, matched, names: names.into_iter() })
    }

    /// Adds an entry of a folder, unless it is excluded; a folder to go on with is given back.
    fn entry(
        &self,
        item: &mut Item,
        level: &Level,
        name: &OsStr,
    ) -> Result<Option<(PathBuf, FolderMatch)>, CopyError> {
        let path = level.path.join(name);
        let (excluded, matched) = match self.exclude.is_empty() {
            true => (false, FolderMatch::default()),
            false => self.exclude.ignores_within(&path.to_string_lossy(), &level.matched),
        };
        let at = item.root.join(&path);
        let stat = self.tree().stat(&at).map_err(io_error("stat", &at))?;
        let mut node = Node { path, stat, link: None };
        let kind = node.kind();
        // Sockets cannot be copied, and a device without number is a whiteout of an overlay.
        if kind == FileType::Socket || (kind == FileType::CharacterDevice && stat.st_rdev == 0) {
            return Ok(None);
        }
        if kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(self.tree().fd(), &at, Vec::new())
                .map_err(|errno| io_error("read link", &at)(errno.into()))?;
            node.link = Some(target.into_bytes());
        }
        let path = node.path.clone();
        let visited = kind == FileType::Directory
            && (!excluded || self.exclude.may_take_back_in(&path.to_string_lossy()));
        if !excluded {
            item.nodes.push(node);
        }
        Ok(visited.then_some((path, matched)))
    }
}

/// A folder on the way from an item's top to where a walk is.
struct Level {
    /// Below the item.
    path: PathBuf,
    /// What the patterns for what is left out say of it.
    matched: FolderMatch,
    /// What is still to be visited of it.
    names: std::vec::IntoIter<OsString>,
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};

    use super::*;

    #[test]
    fn folders_in_folders_do_not_use_up_the_stack() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = Tree::open(place.path()).unwrap().open_dir(Path::new(".")).unwrap();
        for _ in 0..2000 {
            mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = openat(&folder, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let tree = Tree::open(place.path()).unwrap();
        let select = move || item_at(&SourceTree { tree, context: None }, ".", &Cancel::new()).unwrap();
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let item = thread.spawn(select).unwrap().join().unwrap();
        assert_eq!(item.nodes.len(), 2001);
    }
}
