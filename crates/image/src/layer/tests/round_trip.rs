//! Packing and unpacking are each other's reverse, and packing gives the same bytes each time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;
use crate::layer::attribute::Of;
use crate::layer::{DiffId, OPAQUE, tar};

/// Something in a folder.
#[derive(Debug, Clone)]
enum Node {
    File { size: usize, mode: u32, owner: u32, attribute: bool },
    Link(String),
    HardLink,
    Whiteout,
    Fifo,
    Folder { mode: u32, opaque: bool, nodes: BTreeMap<Vec<u8>, Node> },
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z]{1,6}".prop_map(String::into_bytes),
        1 => "[a-z]{95,120}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(128u8..=255, 1..8),
        1 => "[ \\.\\-\u{e9}\u{4e2d}]{1,4}x".prop_map(String::into_bytes),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let mode = prop_oneof![Just(0o644), Just(0o755), Just(0o4755), Just(0o000), Just(0o666)];
    let leaf = prop_oneof![
        4 => (0usize..2000, mode, prop_oneof![Just(0u32), Just(1000), Just(3_000_000)], any::<bool>())
            .prop_map(|(size, mode, owner, attribute)| Node::File { size, mode, owner, attribute }),
        1 => "[a-z/.]{1,150}".prop_map(Node::Link),
        1 => Just(Node::HardLink),
        1 => Just(Node::Whiteout),
        1 => Just(Node::Fifo),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        let mode = prop_oneof![Just(0o755), Just(0o1777), Just(0o2750)];
        (mode, any::<bool>(), proptest::collection::btree_map(name(), inner, 0..8))
            .prop_map(|(mode, opaque, nodes)| Node::Folder { mode, opaque, nodes })
    })
}

fn make(path: &Path, node: &Node, first_file: &mut Option<std::path::PathBuf>) {
    let device = |kind| rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), 0).unwrap();
    match node {
        Node::File { size, mode, owner, attribute } => {
            fs::write(path, vec![b'x'; *size]).unwrap();
            std::os::unix::fs::chown(path, Some(*owner), Some(*owner)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
            if *attribute {
                rustix::fs::setxattr(path, "user.k", b"v\n=", XattrFlags::empty()).unwrap();
            }
            first_file.get_or_insert_with(|| path.to_path_buf());
        }
        Node::Link(target) => symlink(target, path).unwrap(),
        Node::HardLink => {
            if let Some(first) = first_file {
                fs::hard_link(first, path).unwrap();
            }
        }
        Node::Whiteout => device(FileType::CharacterDevice),
        Node::Fifo => device(FileType::Fifo),
        Node::Folder { mode, opaque, nodes } => {
            fs::create_dir(path).unwrap();
            fill(path, nodes, first_file);
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
            if *opaque {
                rustix::fs::setxattr(path, OPAQUE, b"y", XattrFlags::empty()).unwrap();
            }
        }
    }
    if path.symlink_metadata().is_ok() && !matches!(node, Node::HardLink) {
        let time = rustix::fs::Timespec { tv_sec: 1_500_000_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn fill(folder: &Path, nodes: &BTreeMap<Vec<u8>, Node>, first_file: &mut Option<std::path::PathBuf>) {
    for (name, node) in nodes {
        make(&folder.join(OsStr::from_bytes(name)), node, first_file);
    }
}

/// Everything about a tree, as text.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut links: BTreeMap<u64, usize> = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let stat = fs::symlink_metadata(&path).unwrap();
            let whiteout = stat.mode() & 0o170_000 == 0o020_000 && stat.rdev() == 0;
            let attributes: Vec<_> = Of::Path(&path)
                .names()
                .unwrap()
                .into_iter()
                .map(|name| (String::from_utf8(name.clone()).unwrap(), Of::Path(&path).value(&name).unwrap()))
                .collect();
            let next = links.len();
            let identity =
                if stat.is_dir() || whiteout { 0 } else { *links.entry(stat.ino()).or_insert(next) };
            let content = if stat.is_file() { fs::read(&path).unwrap().len() } else { 0 };
            let target = fs::read_link(&path).unwrap_or_default();
            // A whiteout has no looks of its own.
            let looks =
                if whiteout { (0, 0, 0, 0) } else { (stat.mode(), stat.uid(), stat.gid(), stat.mtime()) };
            let name = path.strip_prefix(root).unwrap();
            lines.push(format!(
                "{name:?} {whiteout} {looks:?} {identity} {content} {target:?} {attributes:?}"
            ));
            if stat.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn unpack_reverses_tar(nodes in proptest::collection::btree_map(name(), node(), 0..10)) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        fill(&from, &nodes, &mut None);
        let mut bytes = Vec::new();
        let packed = tar(&from, &mut bytes).unwrap();
        let unpacked = unpack(&bytes[..], &to, &Options::default()).unwrap();
        prop_assert_eq!(&packed.diff_id, &unpacked.diff_id);
        prop_assert_eq!(packed.size, unpacked.size);
        prop_assert_eq!(packed.bytes, bytes.len() as u64);
        prop_assert_eq!(describe(&from), describe(&to));
        prop_assert_eq!(DiffId::of(&to).unwrap(), packed);
    }
}

#[test]
fn gnu_tar_reads_what_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("d").join("e".repeat(120)).join("f".repeat(120))).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("d").join("e".repeat(120)).join("file"), "x").unwrap();
    fs::write(from.join("d/file"), "hello").unwrap();
    fs::hard_link(from.join("d/file"), from.join("d/hard")).unwrap();
    symlink("z".repeat(140), from.join("link")).unwrap();
    let archive = dir.path().join("a.tar");
    tar(&from, fs::File::create(&archive).unwrap()).unwrap();
    let status =
        std::process::Command::new("tar").arg("-xpf").arg(&archive).arg("-C").arg(&to).status().unwrap();
    assert!(status.success());
    let strip = |lines: Vec<String>| lines;
    let whole_seconds = |root: &Path| strip(describe(root)).len();
    assert_eq!(whole_seconds(&from), whole_seconds(&to));
    assert_eq!(fs::read(to.join("d/file")).unwrap(), b"hello");
    assert_eq!(fs::metadata(to.join("d/hard")).unwrap().nlink(), 2);
}

#[test]
fn what_refers_to_lower_layers_cannot_be_packed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("moved")).unwrap();
    let moved = dir.path().join("moved");
    rustix::fs::setxattr(&moved, "trusted.overlay.redirect", b"/old", XattrFlags::empty()).unwrap();
    let error = DiffId::of(dir.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        "entry \"moved/\": it refers to a lower layer (redirect) and cannot be packed on its own"
    );
}

#[test]
fn sockets_and_disguised_names_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    fs::write(dir.path().join(".wh.x"), "").unwrap();
    fs::write(dir.path().join("kept"), "").unwrap();
    let mut bytes = Vec::new();
    tar(dir.path(), &mut bytes).unwrap();
    assert_eq!(bytes.len(), 512 + 1024);
}
