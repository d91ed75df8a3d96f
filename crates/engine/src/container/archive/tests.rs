//! Archives of hostile and ordinary trees.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use rustix::fs::Mode;

use super::*;

fn root(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
}

fn packed(dir: &Path, path: &str) -> Vec<u8> {
    let node = Node::open(root(dir).as_fd(), path, "c").unwrap();
    let mut out = Vec::new();
    pack::node(node.fd.as_fd(), Path::new(&base(path)), &mut out).unwrap();
    out
}

fn put(dir: &Path, target: &str, options: UnpackOptions, tar: &[u8]) -> Result<(), String> {
    unpack::unpack(root(dir).as_fd(), Path::new(target), &options, tar).map_err(|error| error.to_string())
}

/// A tar with one entry whose name is written as it is.
fn crafted(name: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1000);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_tree_goes_through_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("d/sub")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("d/sub/file"), "content").unwrap();
    fs::hard_link(from.join("d/sub/file"), from.join("d/same")).unwrap();
    symlink("sub/file", from.join("d/link")).unwrap();
    std::os::unix::fs::chown(from.join("d/sub"), Some(77), Some(88)).unwrap();
    fs::set_permissions(from.join("d/sub/file"), PermissionsExt::from_mode(0o4750)).unwrap();
    let tar = packed(&from, "/d");
    assert_eq!(names(&tar), ["d/", "d/link", "d/same", "d/sub/", "d/sub/file"]);
    put(&to, "/", UnpackOptions::default(), &tar).unwrap();
    assert_eq!(fs::read_to_string(to.join("d/link")).unwrap(), "content");
    let meta = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
    assert_eq!(meta("d/same").ino(), meta("d/sub/file").ino());
    assert_eq!(meta("d/sub/file").mode() & 0o7777, 0o4750);
    assert_eq!((meta("d/sub").uid(), meta("d/sub").gid()), (77, 88));
}

#[test]
fn names_follow_the_path_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "x").unwrap();
    symlink("/d", dir.path().join("l")).unwrap();
    assert_eq!(names(&packed(dir.path(), "/d/f")), ["f"]);
    assert_eq!(names(&packed(dir.path(), "/d/.")), ["./", "f"]);
    assert_eq!(names(&packed(dir.path(), "/l")), ["l"]);
    assert_eq!(names(&packed(dir.path(), "/l/")), ["l/", "l/f"]);
}

#[test]
fn stat_speaks_go() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::set_permissions(dir.path().join("d"), PermissionsExt::from_mode(0o1777)).unwrap();
    symlink("d", dir.path().join("l")).unwrap();
    let stat = |path: &str| Node::open(root(dir.path()).as_fd(), path, "c").map(|node| node.path_stat(path));
    assert_eq!(stat("/d").unwrap().mode, 1 << 31 | 1 << 20 | 0o777);
    let link = stat("/l").unwrap();
    assert_eq!((link.mode & 1 << 27, link.link_target.as_str(), link.name.as_str()), (1 << 27, "d", "l"));
    let error = stat("/nope").unwrap_err().to_string();
    assert_eq!(error, "Could not find the file /nope in container c");
    assert_eq!(stat("/").unwrap().name, "/");
}

#[test]
fn nothing_leaves_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let (jail, outside) = (dir.path().join("jail"), dir.path().join("outside"));
    fs::create_dir_all(jail.join("in")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, jail.join("in/absolute")).unwrap();
    symlink("../../outside", jail.join("in/relative")).unwrap();
    let options = UnpackOptions::default();
    let file = |name: &str| crafted(name, tar::EntryType::Regular, "", b"evil");
    assert!(put(&jail, "/in", options, &file("../../escaped")).unwrap_err().contains("outside"));
    for name in ["absolute/f", "relative/f"] {
        // The links lead to what is of that name inside the jail, which is made there or refused.
        let _ = put(&jail, "/in", options, &file(name));
        assert!(!outside.join("f").exists(), "{name}");
    }
    fs::write(outside.join("secret"), "s").unwrap();
    let path = format!("{}/secret", outside.display());
    let link = crafted("stolen", tar::EntryType::Link, &path, b"");
    assert!(put(&jail, "/in", options, &link).is_err());
    // An entry over a link replaces the link, not what it points to.
    symlink(outside.join("secret"), jail.join("in/over")).unwrap();
    put(&jail, "/in", options, &file("over")).unwrap();
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "s");
    assert_eq!(fs::read_to_string(jail.join("in/over")).unwrap(), "evil");
}

#[test]
fn kinds_are_kept_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("d/full")).unwrap();
    let tar = crafted("d", tar::EntryType::Regular, "", b"now a file");
    let keep = UnpackOptions { keep_kind: true, ..UnpackOptions::default() };
    assert!(put(dir.path(), "/", keep, &tar).unwrap_err().contains("cannot overwrite directory"));
    let owned = UnpackOptions { owner: Some((5, 6)), ..UnpackOptions::default() };
    put(dir.path(), "/", owned, &tar).unwrap();
    let meta = fs::metadata(dir.path().join("d")).unwrap();
    assert!(meta.is_file() && (meta.uid(), meta.gid()) == (5, 6));
}

#[test]
fn rubbish_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(put(dir.path(), "/", UnpackOptions::default(), &[b'x'; 2048]).is_err());
}

#[test]
fn read_only_places() {
    use crate::container::mount::MountPoint;
    let mut record = Record::default();
    record.host.readonly_rootfs = true;
    record.mounts = vec![
        MountPoint { destination: "/data".into(), rw: true, ..MountPoint::default() },
        MountPoint { destination: "/data/fixed".into(), ..MountPoint::default() },
    ];
    assert!(check_writable(&record, "/data/x").is_ok());
    assert!(matches!(check_writable(&record, "/etc"), Err(Error::ReadOnlyRoot)));
    assert!(matches!(check_writable(&record, "/data/fixed/y"), Err(Error::ReadOnlyVolume)));
}

#[test]
fn changes_of_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    for path in ["low/etc", "base", "up/etc", "up/new"] {
        fs::create_dir_all(at(path)).unwrap();
    }
    for path in ["low/etc/kept", "low/etc/changed", "low/gone", "up/etc/changed", "up/etc/added"] {
        fs::write(at(path), path).unwrap();
    }
    let whiteout = |path: &str| {
        let mode = Mode::from_raw_mode(0);
        rustix::fs::mknodat(rustix::fs::CWD, at(path), FileType::CharacterDevice, mode, 0).unwrap();
    };
    whiteout("up/gone");
    whiteout("up/never-was");
    let found = changes::changes(&[at("low"), at("base")], &at("up")).unwrap();
    let found: Vec<(u8, &str)> = found.iter().map(|change| (change.kind, change.path.as_str())).collect();
    assert_eq!(found, [(0, "/etc"), (1, "/etc/added"), (0, "/etc/changed"), (2, "/gone"), (1, "/new")]);
}

#[test]
fn changes_in_folders_in_folders_end_at_the_longest_path() {
    let dir = tempfile::tempdir().unwrap();
    let (low, up) = (dir.path().join("low"), dir.path().join("up"));
    for path in [&low, &up] {
        fs::create_dir(path).unwrap();
    }
    let nested = |depth: usize| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut folder = rustix::fs::open(&up, flags, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, "d", flags, Mode::empty()).unwrap();
        }
    };
    let compare = || {
        let (low, up) = (low.clone(), up.clone());
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        thread.spawn(move || changes::changes(&[low], &up)).unwrap().join().unwrap()
    };
    nested(2000);
    assert_eq!(compare().unwrap().len(), 2000);
    dray_store::remove_tree(&up.join("d")).unwrap();
    nested(10_000);
    assert_eq!(compare().unwrap_err().raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
    dray_store::remove_tree(&up).unwrap();
}
