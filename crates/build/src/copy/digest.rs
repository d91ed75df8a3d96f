//! What the cache compares of a copy: names, modes, owners, bytes and link targets; never times.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::FileType;
use sha2::{Digest as _, Sha256};

use super::{Item, Node, SourceTree, io_error};
use crate::Cancel;
use crate::cache::{Key, KeyBuilder};
use crate::error::CopyError;
use crate::inputs::InputFile;

/// From how many unknown files on more than one thread reads them.
const PARALLEL_FROM: usize = 16;

/// The digest of an item, with those of its files' contents in the order of its nodes. Owners count only where they are
/// kept. What it is made of is added to `list`.
pub(crate) fn item_digest(
    source: &SourceTree<'_>,
    item: &Item,
    with_owners: bool,
    mut list: Option<&mut Vec<InputFile>>,
    cancel: &Cancel,
) -> Result<(Key, Vec<Vec<u8>>), CopyError> {
    let contents = content_digests(source, item, cancel)?;
    let mut key = KeyBuilder::new("item");
    for (node, content) in item.nodes.iter().zip(&contents) {
        key.add(node.path.as_os_str().as_bytes());
        // The mode of a directory that is copied as a whole is not taken over.
        let is_top_dir = node.path.as_os_str().is_empty() && node.kind() == FileType::Directory;
        let mode = if is_top_dir { node.stat.st_mode & !0o7777 } else { node.stat.st_mode };
        key.add(&mode.to_le_bytes());
        if with_owners {
            key.add(&node.stat.st_uid.to_le_bytes());
            key.add(&node.stat.st_gid.to_le_bytes());
        }
        if let Some(list) = &mut list {
            let content = node.link.as_deref().unwrap_or(content);
            list.push(InputFile::new(item, node, content, with_owners));
        }
        match node.kind() {
            FileType::RegularFile => key.add(content),
            FileType::Symlink => key.add(node.link.as_deref().unwrap_or_default()),
            FileType::CharacterDevice | FileType::BlockDevice => key.add(&node.stat.st_rdev.to_le_bytes()),
            _ => {}
        }
    }
    Ok((key.finish(), contents))
}

/// How history names the sources: `file:<digest>`, `dir:<digest>`, or `multi:<digest>` of these.
pub(crate) fn source_text(digests: &[(bool, Key)]) -> String {
    let one = |(is_dir, key): &(bool, Key)| format!("{}:{key}", if *is_dir { "dir" } else { "file" });
    match digests {
        [single] => one(single),
        several => {
            let all: Vec<String> = several.iter().map(one).collect();
            format!("multi:{}", hex::encode(Sha256::digest(all.join(","))))
        }
    }
}

/// The digests of all files' contents, in the order of the nodes; empty for what is no file.
fn content_digests(source: &SourceTree<'_>, item: &Item, cancel: &Cancel) -> Result<Vec<Vec<u8>>, CopyError> {
    let known = |node: &Node| source.context.and_then(|context| context.hash_of(node.stat.st_ino));
    let mut digests: Vec<Vec<u8>> =
        item.nodes.iter().map(|node| known(node).map(Vec::from).unwrap_or_default()).collect();
    let unknown: Vec<usize> = (0..item.nodes.len())
        .filter(|i| item.nodes[*i].kind() == FileType::RegularFile && digests[*i].is_empty())
        .collect();
    let threads = match unknown.len() {
        0..PARALLEL_FROM => 1,
        _ => std::thread::available_parallelism().map_or(2, usize::from).min(8),
    };
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(unknown.len()));
    let failed = Mutex::new(None);
    let work = || {
        while let Some(&i) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            let digest = match cancel.is_cancelled() {
                true => Err(CopyError::Cancelled),
                false => file_digest(source, item, &item.nodes[i]),
            };
            match digest {
                Ok(digest) => lock(&found).push((i, digest)),
                Err(error) => {
                    *lock(&failed) = Some(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    for (i, digest) in lock(&found).drain(..) {
        digests[i] = digest;
    }
    Ok(digests)
}

fn file_digest(source: &SourceTree<'_>, item: &Item, node: &Node) -> Result<Vec<u8>, CopyError> {
    let path = item.path_of(node);
    let mut file = source.tree.open_file(&path).map_err(io_error("open", &path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).map_err(io_error("read", &path))? {
            0 => return Ok(hasher.finalize().to_vec()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
