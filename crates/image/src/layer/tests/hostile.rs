//! Each kind of attack: refused with the entry's name, nothing written outside, nothing of the host read.

use std::io::Write;
use std::os::unix::fs::symlink;

use super::tars::{Tar, header};
use super::*;
use crate::layer::{DiffId, Limits};

#[test]
fn names_that_lead_out() {
    for name in ["../evil", "a/../../evil", "/../evil", "..", "a/b/../../../evil"] {
        let message = refused(&Tar::new().file(name, b"x").end());
        assert_eq!(message, format!("entry {name:?}: its name leads out of the layer"));
    }
    let message = refused(&Tar::new().pax(&[("path", b"../evil")]).file("good", b"x").end());
    assert_eq!(message, "entry \"../evil\": its name leads out of the layer");
    let long = Tar::new().raw(&header(b'L', b"././@LongLink", b"", 8), b"../evil\0").file("good", b"x").end();
    assert_eq!(refused(&long), "entry \"../evil\": its name leads out of the layer");
}

#[test]
fn names_that_no_file_can_have() {
    assert_eq!(
        refused(&Tar::new().pax(&[("path", b"a\0b")]).file("x", b"").end()),
        "entry \"a\\0b\": its name is empty or has a NUL in it"
    );
    let long = "a/".repeat(3000);
    let message = refused(&Tar::new().pax(&[("path", long.as_bytes())]).file("x", b"").end());
    assert!(message.ends_with("its name has 6000 bytes, more than 4096"), "{message}");
    let part = "b".repeat(300);
    let message = refused(&Tar::new().pax(&[("path", part.as_bytes())]).file("x", b"").end());
    assert!(message.contains("create: File name too long"), "{message}");
    assert!(refused(&Tar::new().raw(&header(b'0', b"", b"", 0), b"").end()).contains("its name is empty"));
}

#[test]
fn links_in_parents_stay_inside() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    for link in [target, "../../../../../../../../../../../../tmp", "/"] {
        let tar = Tar::new().folder("dir").link(b'2', "dir/out", link).file("dir/out/evil", b"x").end();
        let dir = tempfile::tempdir().unwrap();
        // Where the link's target exists inside the layer the file goes there, else it is an error.
        let result = unpack(&tar[..], dir.path(), &Options::default());
        match link {
            "/" => {
                result.unwrap();
                assert_eq!(std::fs::read(dir.path().join("evil")).unwrap(), b"x");
            }
            _ => {
                assert_eq!(message(result), "entry \"dir/out/evil\": its parent \"dir/out\" is not a folder")
            }
        }
        assert!(names(outside.path()).is_empty());
    }
}

#[test]
fn a_link_swapped_for_a_known_parent() {
    let outside = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .folder("a")
        .file("a/one", b"1")
        .link(b'2', "a", outside.path().to_str().unwrap())
        .file("a/two", b"2")
        .end();
    assert!(refused(&tar).contains("its parent \"a\" is not a folder"));
    assert!(names(outside.path()).is_empty());
}

#[test]
fn writing_through_a_link_replaces_the_link() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "old").unwrap();
    let tar = Tar::new().link(b'2', "f", victim.to_str().unwrap()).file("f", b"new").end();
    let (dir, _) = unpacked(&tar);
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"new");
    assert_eq!(std::fs::read(&victim).unwrap(), b"old");
}

#[test]
fn hard_links_to_what_is_not_in_the_layer() {
    for (target, words) in [
        ("../../etc/passwd", "it is a hard link to \"../../etc/passwd\", which leads out of the layer"),
        ("/etc/passwd", "it is a hard link to \"etc/passwd\", which is not in the layer"),
        ("nowhere", "it is a hard link to \"nowhere\", which is not in the layer"),
        ("evil", "it is a hard link to \"evil\", which is not in the layer"),
        (".", "it is a hard link to \"\", which is not in the layer"),
    ] {
        let message = refused(&Tar::new().link(b'1', "evil", target).end());
        assert_eq!(message, format!("entry \"evil\": {words}"));
    }
    assert_eq!(refused(&Tar::new().link(b'1', "evil", "").end()), "entry \"evil\": it is a link to nothing");
}

#[test]
fn a_hard_link_through_a_symbolic_one() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let tar =
        Tar::new().link(b'2', "out", outside.path().to_str().unwrap()).link(b'1', "evil", "out/secret").end();
    assert!(refused(&tar).contains("which is not in the layer"));
    // A hard link to a symbolic link is that link, not what it points to.
    let (dir, _) = unpacked(&Tar::new().link(b'2', "l", "/etc/passwd").link(b'1', "m", "l").end());
    assert!(dir.path().join("m").is_symlink());
}

#[test]
fn devices_and_whiteouts_in_disguise() {
    let message = refused(&Tar::new().device(b'3', "fake", 0, 0).end());
    assert_eq!(message, "entry \"fake\": a character device 0:0 would be taken for a whiteout");
    for (name, hidden) in [(".wh.", ""), ("a/.wh..", "."), (".wh...", "..")] {
        let message = refused(&Tar::new().file(name, b"").end());
        assert_eq!(
            message,
            format!("entry {name:?}: it is a whiteout of {hidden:?}, which cannot be a file")
        );
    }
}

#[test]
fn attributes_that_steer_the_overlay() {
    for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.x", "user.overlay.opaque"] {
        let tar = Tar::new().pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]).folder("d").end();
        assert_eq!(
            refused(&tar),
            format!("entry \"d\": extended attribute {name:?} is not allowed in a layer")
        );
    }
}

#[test]
fn the_root_stays_a_folder() {
    for tar in
        [Tar::new().file("/", b""), Tar::new().link(b'2', ".", "/etc"), Tar::new().link(b'2', "a/..", "/etc")]
    {
        let tar = tar.end();
        // A file called "/" is a folder of an old tar; anything else is refused.
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = unpack(&tar[..], dir.path(), &Options::default()) {
            assert!(error.to_string().contains("the root of a layer can only be a folder"), "{error}");
        }
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn bombs() {
    let limits = Limits { bytes: 1 << 20, entries: 10 };
    let options = Options { limits, ..Options::default() };
    let big = Tar::new().raw(&header(b'0', b"big", b"", 1 << 32), b"").end();
    assert_eq!(
        refused_with(&big, &options),
        "entry \"big\": its 4294967296 bytes are more than the 1048576 there is room for"
    );
    let many = (0..11).fold(Tar::new(), |tar, n| tar.file(&n.to_string(), b"")).end();
    assert_eq!(refused_with(&many, &options), "it has more than 10 entries");

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&Tar::new().file("small", b"x").end()).unwrap();
    gzip.write_all(&vec![0; 64 << 20]).unwrap();
    let bomb = gzip.finish().unwrap();
    let message = refused_with(&bomb, &options);
    assert!(message.starts_with("it unpacks to more than the "), "{message}");

    // A sparse file counts as long as it looks, against the disk's free space too.
    let exabytes = (1u64 << 60).to_string();
    let sparse = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.size", exabytes.as_bytes()),
            ("GNU.sparse.map", b"0,1"),
        ])
        .file("sparse", b"x")
        .end();
    let message = refused(&sparse);
    assert!(
        message.starts_with("entry \"sparse\": its 1152921504606846976 bytes are more than"),
        "{message}"
    );
}

#[test]
fn sparse_maps_that_contradict_themselves() {
    for map in ["5,1,0,1", "0,2", "0", "0,x", "18446744073709551615,1", "9,1"] {
        let tar = Tar::new()
            .pax(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", map.as_bytes())])
            .file("s", b"x")
            .end();
        let message = refused(&tar);
        assert!(message.contains("its sparse map is malformed"), "{map}: {message}");
    }
    let wild = Tar::new()
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")])
        .file("s", b"99999999\n")
        .end();
    assert!(refused(&wild).contains("its sparse map is malformed"));
}

#[test]
fn damaged_archives() {
    let good = Tar::new().file("a", b"hello").file("b", &[7; 2000]).end();
    let mut sum = good.clone();
    sum[1024 + 3] ^= 1;
    assert!(refused(&sum).contains("its header has a wrong checksum"));
    assert_eq!(refused(&good[..1800]), "entry \"b\": the archive ends within it");
    assert_eq!(refused(&good[..1024 + 300]), "entry \"a\": the archive ends within it");
    assert_eq!(refused(&good[..100]), "it is not a tar archive");
    let mut hidden = Tar::new().file("a", b"").end();
    hidden.truncate(hidden.len() - 512);
    hidden.extend(Tar::new().file("hidden", b"x").end());
    assert_eq!(refused(&hidden), "entry \"a\": the archive goes on after its end mark");
    assert_eq!(refused(b"this is no tar at all"), "it is not a tar archive");
    assert_eq!(refused(&[b'x'; 4096]), "it is not a tar archive");
    let dangling = Tar::new().pax(&[("path", b"x")]).end();
    assert_eq!(refused(&dangling), "entry \"pax\": the archive ends within it");
    assert!(
        refused(&Tar::new().with(b'Q', "q", b"", |_| {}).end()).contains("its type 'Q' is not supported")
    );
    let wrong =
        Tar::new().with(b'0', "n", b"", |header| header.as_mut_bytes()[124..130].copy_from_slice(b"99zz99"));
    assert_eq!(refused(&wrong.end()), "entry \"n\": its header has an invalid size");
    let nobody = Tar::new().pax(&[("uid", b"4294967295")]).file("u", b"").end();
    assert_eq!(refused(&nobody), "entry \"u\": its header has an invalid user ID");
    let pax = Tar::new().raw(&header(b'x', b"pax", b"", 5), b"9 a=b").file("f", b"").end();
    assert_eq!(refused(&pax), "entry \"pax\": its extended header is malformed");
    let huge = Tar::new().raw(&header(b'x', b"pax", b"", 1 << 30), b"").end();
    assert!(refused(&huge).contains("its extended header has 1073741824 bytes, more than 1 MiB"));
}

#[test]
fn damaged_compression() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&Tar::new().file("a", &[9; 100_000]).end()).unwrap();
    let mut gzip = gzip.finish().unwrap();
    let cut = &gzip[..gzip.len() / 2];
    let dir = tempfile::tempdir().unwrap();
    let words = message(unpack(cut, dir.path(), &Options::default()));
    assert!(words.starts_with("cannot read it: "), "{words}");
    let length = gzip.len();
    gzip[length - 6] ^= 0xff;
    assert!(message(unpack(&gzip[..], dir.path(), &Options::default())).starts_with("cannot read it: "));
}

#[test]
fn a_reader_that_fails_is_what_is_told() {
    struct Broken(usize);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("the line is dead"));
            }
            let count = self.0.min(buffer.len());
            let tar = Tar::new().raw(&header(b'0', b"long", b"", 1 << 20), b"").0;
            buffer[..count].fill(0);
            buffer[..count.min(tar.len())].copy_from_slice(&tar[..count.min(tar.len())]);
            self.0 = 0;
            Ok(count)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let error = unpack(Broken(512), dir.path(), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read it: the line is dead");
    assert!(!error.is_hostile());
}

#[test]
fn the_folder_itself_may_be_behind_a_link() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    unpack(&Tar::new().file("a", b"x").end()[..], &dir.path().join("link"), &Options::default()).unwrap();
    assert_eq!(names(&dir.path().join("real")), ["a"]);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 256, failure_persistence: None, ..Default::default()
    })]

    /// A tar damaged anywhere is unpacked or refused, without a panic and without a trace outside.
    #[test]
    fn damage_anywhere(changes in proptest::collection::vec((0usize..1 << 16, proptest::num::u8::ANY), 1..6)) {
        let mut tar = Tar::new()
            .folder("a")
            .pax(&[("path", b"a/pax"), ("SCHILY.xattr.user.x", b"y"), ("mtime", b"1.5")])
            .file("x", b"hello")
            .link(b'2', "a/link", "../a")
            .link(b'1', "a/hard", "a/pax")
            .file("a/.wh.gone", b"")
            .pax(&[("GNU.sparse.size", b"99"), ("GNU.sparse.map", b"9,5")])
            .file("sparse", b"abcde")
            .end();
        for (at, byte) in changes {
            // Headers with the right sum get further than those without.
            let at = at % tar.len();
            tar[at] = byte;
            let block = at / 512 * 512;
            let mut header = tar::Header::from_byte_slice(&tar[block..block + 512]).clone();
            header.set_cksum();
            if tar[block..block + 512].iter().any(|byte| *byte != 0) {
                tar[block..block + 512].copy_from_slice(header.as_bytes());
            }
        }
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("layer");
        std::fs::create_dir(&inside).unwrap();
        let limits = Limits { bytes: 1 << 24, entries: 100 };
        let _ = unpack(&tar[..], &inside, &Options { limits, ..Options::default() });
        proptest::prop_assert_eq!(names(outside.path()), ["layer"]);
    }
}

/// Folders in folders, `depth` of them.
fn nested(top: &Path, depth: usize) {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = open(top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&folder, "d", Mode::RWXU).unwrap();
        folder = openat(&folder, "d", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn folders_in_folders_do_not_use_up_the_stack() {
    let pack = |depth: usize| {
        let top = tempfile::tempdir().unwrap();
        nested(top.path(), depth);
        let folder = top.path().to_owned();
        // A quarter of what a thread of the daemon has.
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        thread.spawn(move || DiffId::of(&folder)).unwrap().join().unwrap()
    };
    assert_eq!(pack(2000).unwrap().size, 0);
    let error = pack(4000).unwrap_err().to_string();
    assert!(error.ends_with("its name has 4098 bytes, more than 4096"), "{error}");
}

#[test]
fn folders_that_a_long_name_implies_do_not_use_up_the_stack() {
    let name = format!("{}f", "d/".repeat(2047));
    let tar = Tar::new().pax(&[("path", name.as_bytes())]).file("f", b"x").end();
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().to_owned();
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let unpacking = move || crate::layer::unpack(&tar[..], &folder, &Options::default());
    assert_eq!(thread.spawn(unpacking).unwrap().join().unwrap().unwrap().size, 1);
}
