use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::*;

/// Writes archives that `tar::Builder` would refuse to write.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, kind: u8, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        let gnu = header.as_gnu_mut().expect("gnu");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o750 } else { 0o640 });
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.add(b'0', name, "", content.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn unpacked(archive: &[u8]) -> (tempfile::TempDir, Result<ContextDir, ContextError>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let result = unpack(archive, dir.path(), &Limits::default());
    (dir, result)
}

fn refused(archive: Archive) -> String {
    let (dir, result) = unpacked(&archive.end());
    let message = result.expect_err("refused").to_string();
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0, "something is left after: {message}");
    message
}

#[test]
fn files_links_and_times_come_out_as_sent() {
    let archive = Archive::default()
        .add(b'5', "./a/", "", b"")
        .file("./a/f", "hello")
        .add(b'2', "a/link", "/etc/passwd", b"")
        .add(b'1', "hard", "./a/f", b"")
        .add(b'6', "pipe", "", b"")
        .file("/rooted", "r")
        .file("missing/parent/x", "x")
        .end();
    let (dir, context) = unpacked(&archive);
    let context = context.expect("unpacked");
    let at = |name: &str| context.path().join(name);
    assert_eq!(fs::read_to_string(at("a/f")).expect("file"), "hello");
    assert_eq!(fs::metadata(at("a/f")).expect("file").permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(at("a")).expect("dir").mtime(), 1_700_000_000);
    assert_eq!(fs::metadata(at("a")).expect("dir").permissions().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_link(at("a/link")).expect("link"), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(at("hard")).expect("file").ino(), fs::metadata(at("a/f")).expect("file").ino());
    assert_eq!(fs::read_to_string(at("rooted")).expect("file"), "r");
    assert!(at("missing/parent/x").exists());
    let inode = fs::metadata(at("a/f")).expect("file").ino();
    let expected: [u8; 32] = Sha256::digest(b"hello").into();
    assert_eq!(context.hash_of(inode), Some(expected));
    drop(context);
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
}

#[test]
fn compressed_archives_are_recognised() {
    let plain = Archive::default().file("f", "content").end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).expect("gzip");
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).expect("bzip2");
    for archive in [
        gzip.finish().expect("gzip"),
        bzip2.finish().expect("bzip2"),
        zstd::encode_all(plain.as_slice(), 1).expect("zstd"),
        plain,
    ] {
        let (_dir, context) = unpacked(&archive);
        assert_eq!(context.expect("unpacked").read("f").expect("read").expect("there"), b"content");
    }
}

#[test]
fn hostile_names_are_refused() {
    let message = refused(Archive::default().file("../evil", "x"));
    assert!(message.contains("\"../evil\" is outside of the build context"), "{message}");
    assert!(refused(Archive::default().file("a/../../evil", "x")).contains("outside"));
    let message = refused(Archive::default().file("f", "x").add(b'1', "h", "../../etc/shadow", b""));
    assert!(message.contains("outside"), "{message}");
    assert!(refused(Archive::default().add(b'1', "h", "nothing", b"")).contains("hard link \"h\""));
}

#[test]
fn links_do_not_lead_out_while_unpacking() {
    let outside = tempfile::tempdir().expect("temp dir");
    let target = outside.path().to_str().expect("utf-8");
    let archive = Archive::default()
        .add(b'2', "link", target, b"")
        .file("link/evil", "x")
        .add(b'2', "up", "../../../../..", b"")
        .file("up/tmp/evil2", "x")
        .end();
    let (_dir, context) = unpacked(&archive);
    let context = context.expect("unpacked");
    assert_eq!(fs::read_dir(outside.path()).expect("dir").count(), 0);
    assert!(!Path::new("/tmp/evil2").exists());
    assert!(context.path().join("tmp/evil2").exists());
}

#[test]
fn a_file_replaces_a_link_instead_of_writing_through_it() {
    let outside = tempfile::NamedTempFile::new().expect("temp file");
    let target = outside.path().to_str().expect("utf-8");
    let archive = Archive::default().add(b'2', "f", target, b"").file("f", "mine").end();
    let (_dir, context) = unpacked(&archive);
    assert_eq!(fs::read(outside.path()).expect("file"), b"");
    assert_eq!(context.expect("unpacked").read("f").expect("read").expect("there"), b"mine");
}

#[test]
fn devices_and_sparse_files_are_refused() {
    assert!(refused(Archive::default().add(b'3', "dev", "", b"")).contains("\"dev\" is a device"));
    assert!(refused(Archive::default().add(b'S', "bomb", "", b"")).contains("sparse file \"bomb\""));
}

#[test]
fn broken_archives_are_refused() {
    let whole = Archive::default().file("f", &"x".repeat(2000)).end();
    let (_dir, result) = unpacked(&whole[..1200]);
    assert!(result.expect_err("cut").to_string().contains("unexpected end of archive"));
    let (_dir, result) = unpacked(&[7; 4096]);
    assert!(result.expect_err("garbage").to_string().contains("invalid tar header"));
    let (_dir, result) = unpacked(b"");
    assert!(result.is_ok(), "an empty context is a context");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&whole).expect("gzip");
    let gzip = gzip.finish().expect("gzip");
    let (dir, result) = unpacked(&gzip[..gzip.len() / 2]);
    assert!(result.is_err());
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
}

#[test]
fn limits_hold() {
    let dir = tempfile::tempdir().expect("temp dir");
    let archive = Archive::default().file("a", "12345").file("b", "12345").end();
    let limits = Limits { entries: 1, bytes: 100 };
    let error = unpack(archive.as_slice(), dir.path(), &limits).expect_err("too many");
    assert!(matches!(error, ContextError::TooManyEntries(1)));
    let limits = Limits { entries: 10, bytes: 9 };
    let error = unpack(archive.as_slice(), dir.path(), &limits).expect_err("too large");
    assert!(matches!(error, ContextError::TooLarge(9)));
    assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 0);
}

#[test]
fn nesting_is_limited() {
    // Each link leads deeper than a name in an archive could.
    let mut archive = Archive::default();
    let deep = "d/".repeat(45);
    let mut at = String::new();
    for i in 0..12 {
        archive = archive.file(&format!("{at}{deep}f"), "x");
        archive = archive.add(b'2', &format!("l{i}"), &format!("{at}{deep}"), b"");
        at = format!("l{i}/");
    }
    assert!(refused(archive).contains("nests too deeply"));
}

#[test]
fn ignored_files_are_removed_and_exceptions_stay() {
    let (_dir, context) = unpacked(
        &Archive::default()
            .file("keep", "")
            .file("logs/a.log", "")
            .file("logs/deep/b.log", "")
            .file("target/x", "")
            .file("src/main.rs", "")
            .file("src/tmp/y", "")
            .end(),
    );
    let context = context.expect("unpacked");
    symlink("/", context.path().join("src/link")).expect("link");
    let patterns = Patterns::parse("logs\n!logs/deep/b.log\ntarget\nsrc/tmp\n**/link").expect("valid");
    context.remove_ignored(&patterns).expect("filtered");
    let exists = |name: &str| fs::symlink_metadata(context.path().join(name)).is_ok();
    for kept in ["keep", "logs/deep/b.log", "src/main.rs"] {
        assert!(exists(kept), "{kept}");
    }
    for gone in ["logs/a.log", "target", "src/tmp", "src/link"] {
        assert!(!exists(gone), "{gone}");
    }
    assert!(Path::new("/etc").exists());
}

#[test]
fn a_hundred_thousand_entries_are_no_problem() {
    let mut archive = Archive::default();
    for i in 0..100_000 {
        archive = archive.file(&format!("d{}/f{i}", i % 100), "");
    }
    let (_dir, context) = unpacked(&archive.end());
    assert!(context.expect("unpacked").path().join("d99/f99999").exists());
}
