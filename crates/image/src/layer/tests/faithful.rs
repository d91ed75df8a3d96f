//! What a layer says is what lies on the disk.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use dray_spec::Digest;

use super::tars::{Tar, header};
use super::*;
use crate::layer::OPAQUE;

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
}

#[test]
fn owners_modes_times_and_types() {
    let tar = Tar::new()
        .with(b'5', "d", b"", |header| {
            header.set_mode(0o1777);
            header.set_mtime(1_000);
        })
        .with(b'0', "d/suid", b"hello", |header| {
            header.set_mode(0o4755);
            header.set_uid(1000);
            header.set_gid(1001);
        })
        .pax(&[("mtime", b"1600000000.123456789"), ("uid", b"3000000"), ("gid", b"3000001")])
        .file("d/pax", b"")
        .with(b'0', "d/secret", b"", |header| header.set_mode(0o000))
        .with(b'0', "d/wide", b"", |header| header.set_mode(0o666))
        .link(b'2', "d/link", "suid")
        .link(b'1', "d/hard", "d/suid")
        .device(b'3', "d/null", 1, 3)
        .device(b'4', "d/disk", 8, 1)
        .with(b'6', "d/fifo", b"", |_| {})
        .end();
    let (dir, unpacked) = unpacked(&tar);
    assert_eq!((unpacked.size, unpacked.entries), (5, 10));
    assert_eq!(unpacked.diff_id, Digest::sha256_of(&tar));
    let stat = |name: &str| fs::symlink_metadata(dir.path().join(name)).unwrap();
    assert_eq!((stat("d").permissions().mode() & 0o7777, stat("d").mtime()), (0o1777, 1_000));
    let suid = stat("d/suid");
    assert_eq!((suid.mode() & 0o7777, suid.uid(), suid.gid(), suid.nlink()), (0o4755, 1000, 1001, 2));
    let pax = stat("d/pax");
    assert_eq!((pax.mtime(), pax.mtime_nsec()), (1_600_000_000, 123_456_789));
    assert_eq!((pax.uid(), pax.gid()), (3_000_000, 3_000_001));
    assert_eq!(stat("d/secret").mode() & 0o7777, 0);
    assert_eq!(stat("d/wide").mode() & 0o7777, 0o666);
    assert_eq!(fs::read_link(dir.path().join("d/link")).unwrap(), Path::new("suid"));
    assert_eq!(stat("d/link").mtime(), 1_700_000_000);
    assert_eq!(stat("d/hard").ino(), suid.ino());
    assert!(stat("d/null").file_type().is_char_device());
    assert_eq!(stat("d/disk").rdev(), rustix::fs::makedev(8, 1));
    assert!(stat("d/fifo").file_type().is_fifo());
}

#[test]
fn big_owners_in_old_headers() {
    let tar = Tar::new()
        .with(b'0', "f", b"", |header| {
            header.as_mut_bytes()[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0, 0x30, 0, 1]);
        })
        .end();
    let (dir, _) = unpacked(&tar);
    assert_eq!(fs::metadata(dir.path().join("f")).unwrap().uid(), 0x30_0001);
}

#[test]
fn long_odd_and_absolute_names() {
    let long = "x".repeat(150);
    let target = "y".repeat(150);
    let gnu = |kind: u8, text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        (header(kind, b"././@LongLink", b"", bytes.len() as u64), bytes)
    };
    let (name_header, name) = gnu(b'L', &long);
    let (link_header, link) = gnu(b'K', &target);
    let tar = Tar::new()
        .raw(&name_header, &name)
        .raw(&link_header, &link)
        .link(b'2', "short", "short")
        .raw(&header(b'0', b"bad\xff\xfeutf8", b"", 1), b"x")
        .file("/abs/file", b"y")
        .file("./dot/./file", b"z")
        .end();
    let (dir, _) = unpacked(&tar);
    assert_eq!(fs::read_link(dir.path().join(&long)).unwrap(), Path::new(&target));
    assert!(dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff\xfeutf8")).exists());
    assert_eq!(fs::read(dir.path().join("abs/file")).unwrap(), b"y");
    assert_eq!(fs::read(dir.path().join("dot/file")).unwrap(), b"z");
}

#[test]
fn the_later_entry_of_a_name_counts() {
    let tar = Tar::new()
        .file("a", b"first")
        .link(b'1', "kept", "a")
        .file("a", b"second")
        .folder("dir")
        .file("dir/inside", b"x")
        .file("dir", b"now a file")
        .file("file", b"x")
        .folder("file")
        .file("file/inside", b"now a folder")
        .folder("twice")
        .file("twice/x", b"x")
        .with(b'5', "twice", b"", |header| header.set_mode(0o700))
        .end();
    let (dir, _) = unpacked(&tar);
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"second");
    assert_eq!(fs::read(dir.path().join("kept")).unwrap(), b"first");
    assert_eq!(fs::read(dir.path().join("dir")).unwrap(), b"now a file");
    assert_eq!(fs::read(dir.path().join("file/inside")).unwrap(), b"now a folder");
    assert!(dir.path().join("twice/x").exists());
    assert_eq!(fs::metadata(dir.path().join("twice")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn whiteouts() {
    let tar = Tar::new()
        .folder("etc")
        .file("etc/.wh.passwd", b"")
        .file("etc/kept", b"x")
        .file("etc/.wh.kept", b"")
        .folder("etc/dir")
        .file("etc/.wh.dir", b"")
        .file(".wh.later", b"")
        .folder("later")
        .file(".wh.file", b"")
        .file("file", b"back")
        .folder("opaque")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/x", b"x")
        .file("implied/.wh.x", b"")
        .file(".wh.gone", b"")
        .file("gone/deep/file", b"x")
        .file(".wh..wh.plnk/1.2", b"aufs")
        .file(".wh..wh.aufs", b"aufs")
        .end();
    let (dir, _) = unpacked(&tar);
    let at = |name: &str| dir.path().join(name);
    assert!(is_whiteout(&at("etc/passwd")));
    assert_eq!(fs::read(at("etc/kept")).unwrap(), b"x");
    assert_eq!(attribute(&at("etc/dir"), OPAQUE).as_deref(), Some(&b"y"[..]));
    assert_eq!(attribute(&at("later"), OPAQUE).as_deref(), Some(&b"y"[..]));
    assert_eq!(fs::read(at("file")).unwrap(), b"back");
    assert_eq!(attribute(&at("opaque"), OPAQUE).as_deref(), Some(&b"y"[..]));
    assert!(at("opaque/x").exists());
    assert!(is_whiteout(&at("implied/x")));
    assert_eq!(attribute(&at("gone"), OPAQUE).as_deref(), Some(&b"y"[..]));
    assert!(at("gone/deep/file").exists());
    assert_eq!(
        names(dir.path()),
        ["etc", "file", "gone", "implied", "later", "opaque"],
        "nothing of aufs's own files"
    );
}

#[test]
fn attributes() {
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.user.note", b"a=b\nc"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.security.selinux", b"system_u"),
        ])
        .with(b'0', "f", b"data", |header| header.set_uid(7))
        .pax(&[("SCHILY.xattr.user.note", b"folder")])
        .folder("d")
        .end();
    let (dir, _) = unpacked(&tar);
    assert_eq!(attribute(&dir.path().join("f"), "user.note").as_deref(), Some(&b"a=b\nc"[..]));
    assert_eq!(attribute(&dir.path().join("f"), "security.capability").as_deref(), Some(capability));
    assert_eq!(attribute(&dir.path().join("f"), "security.selinux"), None);
    assert_eq!(attribute(&dir.path().join("d"), "user.note").as_deref(), Some(&b"folder"[..]));
}

#[test]
fn sparse_files_of_every_make() {
    let expected = {
        let mut bytes = vec![0; 10_000];
        bytes[1000..1003].copy_from_slice(b"abc");
        bytes[9000..9002].copy_from_slice(b"de");
        bytes
    };
    let old = Tar::new().with(b'S', "old", b"abcde", |header| {
        let bytes = header.as_mut_bytes();
        bytes[257..265].copy_from_slice(b"ustar  \0");
        for (at, number) in [(386, 1000), (398, 3), (410, 9000), (422, 2), (483, 10_000)] {
            bytes[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
        }
    });
    let v00 = old
        .pax(&[
            ("GNU.sparse.size", b"10000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"1000"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"9000"),
            ("GNU.sparse.numbytes", b"2"),
        ])
        .file("v00", b"abcde");
    let v01 = v00
        .pax(&[
            ("GNU.sparse.size", b"10000"),
            ("GNU.sparse.name", b"v01"),
            ("GNU.sparse.map", b"1000,3,9000,2,10000,0"),
        ])
        .file("GNUSparseFile.0/v01", b"abcde");
    let mut data = b"3\n1000\n3\n9000\n2\n10000\n0\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"abcde");
    let tar = v01
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"v10"),
            ("GNU.sparse.realsize", b"10000"),
        ])
        .file("GNUSparseFile.0/v10", &data)
        .end();
    let (dir, unpacked) = unpacked(&tar);
    assert_eq!(unpacked.size, 40_000);
    for name in ["old", "v00", "v01", "v10"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), expected, "{name}");
    }
    assert_eq!(names(dir.path()), ["old", "v00", "v01", "v10"]);
}

#[test]
fn a_hard_link_to_a_layer_below_is_copied_up() {
    let below = tempfile::tempdir().unwrap();
    let lowest = tempfile::tempdir().unwrap();
    fs::create_dir_all(lowest.path().join("usr/bin")).unwrap();
    fs::set_permissions(lowest.path().join("usr/bin"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::write(lowest.path().join("usr/bin/tool"), "tool").unwrap();
    fs::set_permissions(lowest.path().join("usr/bin/tool"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::write(lowest.path().join("hidden"), "x").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        below.path().join("hidden"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::empty(),
        0,
    )
    .unwrap();
    let options = Options { below: vec![below.path().into(), lowest.path().into()], ..Options::default() };
    let tar = Tar::new().link(b'1', "alias", "usr/bin/tool").end();
    let dir = tempfile::tempdir().unwrap();
    unpack(&tar[..], dir.path(), &options).unwrap();
    let tool = fs::metadata(dir.path().join("usr/bin/tool")).unwrap();
    assert_eq!((tool.nlink(), tool.mode() & 0o7777), (2, 0o4711));
    assert_eq!(fs::read(dir.path().join("alias")).unwrap(), b"tool");
    assert_eq!(fs::metadata(dir.path().join("usr/bin")).unwrap().mode() & 0o777, 0o711);

    for (target, options) in [("hidden", options), ("usr/bin/tool", Options::default())] {
        let dir = tempfile::tempdir().unwrap();
        let tar = Tar::new().link(b'1', "alias", target).end();
        let error = unpack(&tar[..], dir.path(), &options).unwrap_err();
        assert!(error.needs_layers_below(), "{error}");
    }
}

#[test]
fn nothing_at_all_is_an_empty_layer() {
    for tar in [&[][..], &[0; 1024], &[0; 512]] {
        let (dir, unpacked) = unpacked(tar);
        assert_eq!(unpacked.diff_id, Digest::sha256_of(tar));
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn what_follows_the_end_belongs_to_the_digest() {
    let mut tar = Tar::new().file("a", &[1; 700_000]).end();
    tar.extend([0; 10_000]);
    let gzip = {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        gzip.finish().unwrap()
    };
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    for packed in [&tar, &gzip, &zstd] {
        let (dir, unpacked) = unpacked(packed);
        assert_eq!(unpacked.diff_id, Digest::sha256_of(&tar));
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().len(), 700_000);
    }
}
