//! Folders taken, archived and restored.

use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use dray_spec::Digest;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

/// Bytes without a period.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

fn age(path: &Path) {
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
}

fn sample(root: &Path) {
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    fs::write(root.join("large"), noise(9 << 20, 1)).unwrap();
    fs::write(root.join("sub/small"), "small").unwrap();
    fs::write(root.join("sub/deep/empty"), "").unwrap();
    fs::hard_link(root.join("sub/small"), root.join("sub/zz-other")).unwrap();
    symlink("/etc/shadow", root.join("link")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"in the middle", 5 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"no \xff utf8")), "bytes").unwrap();
    std::os::unix::fs::chown(root.join("sub/small"), Some(1234), Some(5678)).unwrap();
    fs::set_permissions(root.join("sub/small"), PermissionsExt::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("sub"), PermissionsExt::from_mode(0o1700)).unwrap();
    rustix::fs::setxattr(root.join("large"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    age(&root.join("sub/small"));
}

fn config() -> VolumeConfig {
    VolumeConfig { name: "data".into(), taken: "2026-01-02T03:04:05Z".into(), ..VolumeConfig::default() }
}

/// Takes a backup as an archive; gives how many bytes of packs were new, too.
fn take(root: &Path, base: Option<&Documents>) -> (Vec<u8>, Documents) {
    let writer = LayoutWriter::new(Vec::new()).unwrap();
    let mut taking = Taking::new(writer, base.map(|base| base.tree().unwrap()));
    taking.look(root).unwrap();
    let (tree, writer) = taking.finish().unwrap();
    let documents = Documents::of(&tree, config(), base.map(Documents::digest).as_ref()).unwrap();
    (writer.finish(&documents).unwrap(), documents)
}

fn archive(bytes: &[u8]) -> Result<Archive, Error> {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    Archive::open(file)
}

fn restore(archives: &[&[u8]], root: &Path) -> Result<(), Error> {
    let mut archives: Vec<Archive> = archives.iter().map(|bytes| archive(bytes)).collect::<Result<_, _>>()?;
    let mut ordered = Vec::new();
    Archive::in_order(&mut archives, true, &mut ordered)?;
    assert!(Incoming::<&[u8]>::is_in_order(&ordered));
    let begin = |documents: Documents| Restore::begin(root, documents.tree()?);
    let restore = Incoming::new(Cursor::new(ordered))
        .read(begin, |restore, digest, blob| restore.pack(digest, blob))?;
    restore.finish()
}

fn same(a: &Path, b: &Path) {
    let list = |root: &Path| {
        let mut all = vec![root.to_path_buf()];
        let mut next = 0;
        while next < all.len() {
            let path = all[next].clone();
            if path.is_dir() && !path.is_symlink() {
                all.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            next += 1;
        }
        let mut names: Vec<_> = all.iter().map(|path| path.strip_prefix(root).unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(list(a), list(b));
    for name in list(a) {
        let (x, y) = (a.join(&name).symlink_metadata().unwrap(), b.join(&name).symlink_metadata().unwrap());
        let shown = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
        assert_eq!(shown(&x), shown(&y), "{}", name.display());
        if x.is_file() {
            assert_eq!(x.nlink(), y.nlink(), "{}", name.display());
            assert!(
                fs::read(a.join(&name)).unwrap() == fs::read(b.join(&name)).unwrap(),
                "{}",
                name.display()
            );
        }
        if x.is_symlink() {
            assert_eq!(fs::read_link(a.join(&name)).unwrap(), fs::read_link(b.join(&name)).unwrap());
        }
    }
}

#[test]
fn everything_comes_back() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(from.path());
    let (bytes, documents) = take(from.path(), None);
    restore(&[&bytes], to.path()).unwrap();
    same(from.path(), to.path());
    let sparse = to.path().join("sparse").metadata().unwrap();
    assert!(sparse.blocks() * 512 < 10 << 20, "holes stay holes");
    let mut note = [0; 16];
    assert_eq!(rustix::fs::getxattr(to.path().join("large"), "user.note", &mut note[..]).unwrap(), 4);
    let volume = documents.volume().unwrap();
    assert_eq!((volume.name.as_str(), volume.bytes), ("data", (9 << 20) + (20 << 20) + 5 + 5));
    assert_eq!(take(from.path(), None).1.tree().unwrap().packs, documents.tree().unwrap().packs);
}

#[test]
fn what_is_there_twice_is_kept_once() {
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("a"), noise(6 << 20, 7)).unwrap();
    let (one, _) = take(from.path(), None);
    fs::copy(from.path().join("a"), from.path().join("b")).unwrap();
    let (two, _) = take(from.path(), None);
    assert!(two.len() < one.len() + (100 << 10), "{} and {}", one.len(), two.len());
}

#[test]
fn a_backup_brings_only_what_its_base_has_not() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample(from.path());
    let (first, base) = take(from.path(), None);
    fs::write(from.path().join("new"), noise(3 << 20, 2)).unwrap();
    fs::File::options().write(true).open(from.path().join("large")).unwrap().write_all_at(b"x", 100).unwrap();
    fs::remove_file(from.path().join("link")).unwrap();
    let (second, documents) = take(from.path(), Some(&base));
    assert!(second.len() > 3 << 20 && second.len() < 8 << 20, "{}", second.len());
    let manifest = Documents::read_manifest(&documents.manifest).unwrap();
    assert_eq!(manifest.annotations["dev.dray.volume.base"], base.digest().to_string());
    let alone = restore(&[&second], tempfile::tempdir().unwrap().path()).unwrap_err();
    assert!(matches!(alone, Error::MissingPacks { .. }), "{alone}");
    restore(&[&second, &first], to.path()).unwrap();
    same(from.path(), to.path());
}

#[test]
fn files_seen_before_are_not_read_again() {
    let from = tempfile::tempdir().unwrap();
    let file = from.path().join("file");
    fs::write(&file, "as it was").unwrap();
    let (_, documents) = take(from.path(), None);
    let mut base = documents.tree().unwrap();
    assert_eq!(base.nodes[1].seen, None, "it is too young to be trusted");
    // As if it had been old: then its chunks are taken as they are, whatever is in them.
    let meta = file.metadata().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    base.nodes[1].seen = Some(Seen { ino: meta.ino(), ctime: Time(meta.ctime(), meta.ctime_nsec() as u32) });
    base.nodes[1].chunks = Vec::new();
    let mut taking = Taking::new(LayoutWriter::new(Vec::new()).unwrap(), Some(base.clone()));
    taking.look(from.path()).unwrap();
    assert!(taking.finish().unwrap().0.nodes[1].chunks.is_empty());
    // A change is seen by the second look.
    let mut taking = Taking::new(LayoutWriter::new(Vec::new()).unwrap(), Some(base));
    taking.look(from.path()).unwrap();
    fs::write(&file, "as it is").unwrap();
    taking.look(from.path()).unwrap();
    let (tree, _) = taking.finish().unwrap();
    assert_eq!((tree.nodes[1].size, tree.nodes[1].chunks.len()), (8, 1));
    assert_eq!(tree.packs.len(), 1, "only what the last look needs");
}

#[test]
fn damage_and_lies_are_named() {
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("file"), noise(1 << 20, 3)).unwrap();
    let (bytes, documents) = take(from.path(), None);
    let to = tempfile::tempdir().unwrap();
    let mut damaged = bytes.clone();
    let place = 2048 + (500 << 10);
    damaged[place] ^= 1;
    let error = restore(&[&damaged], to.path()).unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let text = b"this is no tar, but it is long enough to be taken for one".repeat(20);
    assert!(restore(&[&text], to.path()).unwrap_err().is_invalid());
    let error = restore(&[&[0; 1024]], to.path()).unwrap_err();
    assert_eq!(error.to_string(), "not a backup of a volume: index.json is missing");
    let tree = documents.tree().unwrap();
    let lie = |change: &dyn Fn(&mut Tree)| {
        let mut tree = tree.clone();
        change(&mut tree);
        Tree::from_blob(tree.to_blob().unwrap().as_slice()).unwrap_err().to_string()
    };
    let path = |text: &str| PathText(text.as_bytes().to_vec());
    assert!(lie(&|tree| tree.nodes[1].path = path("..")).contains("not a name in a folder"));
    assert!(lie(&|tree| tree.nodes[1].path = path("a/b")).contains("not a name in a folder"));
    assert!(lie(&|tree| tree.nodes[1].path = path("/x")).contains("not a name in a folder"));
    assert!(lie(&|tree| tree.nodes.push(tree.nodes[1].clone())).contains("there twice"));
    assert!(lie(&|tree| tree.nodes[1].chunks[0].1 = 99).contains("nowhere"));
    assert!(lie(&|tree| tree.nodes[1].size = 5).contains("beyond its end"));
    assert!(lie(&|tree| tree.nodes[1].kind = Kind::Symlink).contains("its target"));
    assert!(lie(&|tree| tree.nodes.clear()).contains("no root"));
    assert!(lie(&|tree| tree.packs[0].chunks[0].1 = u32::MAX).contains("impossible lengths"));
    let behind_a_link = lie(&|tree| {
        let node = &mut tree.nodes[1];
        (node.kind, node.target, node.size, node.chunks) = (Kind::Symlink, Some(path("/etc")), 0, Vec::new());
        let inside = Node { path: path("file/passwd"), ..tree.nodes[0].clone() };
        tree.nodes.push(inside);
    });
    assert!(behind_a_link.contains("not a name in a folder"), "{behind_a_link}");
    assert!(Digest::sha256_of(&documents.manifest) == documents.digest());
}
