//! `save`, `load`, `import`: archives, good and hostile.

use std::fs::{self, File};
use std::path::Path;

use dray_harness::{Daemon, fixture};

#[test]
fn save_and_load_give_the_same_image() {
    let daemon = Daemon::start();
    let id = daemon.dray().ok("images -q --no-trunc busybox");
    for client in daemon.clients() {
        let file = daemon.scratch("save").join(client.name());
        client.run(["save", "-o", &file.to_string_lossy(), "busybox"]).expect_success();
        client.ok("rmi busybox");
        let loaded = client.run(["load", "-i", &file.to_string_lossy()]).expect_success();
        assert!(loaded.stdout.contains("Loaded image: busybox:latest"), "{}", loaded.stdout);
        assert_eq!(client.ok("images -q --no-trunc busybox"), id);
        assert_eq!(client.ok("run --rm busybox echo works"), "works");
    }
}

#[test]
fn gzip_is_unpacked_on_the_way() {
    let daemon = Daemon::empty();
    let archive = fixture::busybox();
    let packed = daemon.scratch("gz").join("busybox.tar.gz");
    let output = std::process::Command::new("gzip").arg("-c").arg(&archive).output().expect("gzip");
    fs::write(&packed, output.stdout).expect("a file");
    for client in daemon.clients() {
        client.run(["load", "-i", &packed.to_string_lossy()]).expect_success();
        client.ok("run --rm busybox true");
        client.ok("rmi busybox");
    }
}

fn tar_with(path: &Path, add: impl FnOnce(&mut tar::Builder<File>)) {
    let mut tar = tar::Builder::new(File::create(path).expect("a file"));
    add(&mut tar);
    tar.into_inner().expect("tar");
}

/// Appends an entry whose name the tar crate itself would refuse.
fn raw(tar: &mut tar::Builder<File>, name: &str, kind: tar::EntryType, link: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    tar.append(&header, bytes).expect("an entry");
}

fn nothing_stored(daemon: &Daemon) {
    assert_eq!(daemon.dray().ok("images -aq"), "");
    for folder in ["layers", "blobs/sha256", "ingest"] {
        let entries =
            fs::read_dir(daemon.data_root().join(folder)).map_or(0, |entries| entries.flatten().count());
        assert_eq!(entries, 0, "{folder} holds something after a refused archive");
    }
}

#[test]
fn a_layer_that_climbs_out_is_refused_and_named() {
    let daemon = Daemon::empty();
    let scratch = daemon.scratch("hostile");
    for (name, entry, kind, link) in [
        ("dots", "../../escaped", tar::EntryType::Regular, ""),
        ("inner", "a/../../escaped", tar::EntryType::Regular, ""),
        ("hardlink", "stolen", tar::EntryType::Link, "../../../../../../etc/shadow"),
    ] {
        let path = scratch.join(name);
        tar_with(&path, |tar| {
            raw(tar, entry, kind, link, if link.is_empty() { b"x" } else { b"" });
        });
        let done = daemon.dray().run(["import", &path.to_string_lossy(), "evil:v1"]);
        assert!(done.code != 0, "{name} was taken");
        assert!(done.stderr.contains(entry), "{name}: {}", done.stderr);
        nothing_stored(&daemon);
    }
}

#[test]
fn a_link_out_of_the_layer_is_not_followed() {
    let daemon = Daemon::empty();
    let scratch = daemon.scratch("link");
    let target = scratch.join("outside");
    fs::create_dir(&target).expect("a folder");
    let path = scratch.join("layer");
    tar_with(&path, |tar| {
        raw(tar, "way", tar::EntryType::Symlink, &target.to_string_lossy(), b"");
        raw(tar, "way/escaped", tar::EntryType::Regular, "", b"x");
    });
    daemon.dray().run(["import", &path.to_string_lossy(), "evil:v1"]);
    assert!(!target.join("escaped").exists(), "the layer wrote to the host");
}

#[test]
fn truncated_and_wrong_archives_are_refused() {
    let daemon = Daemon::empty();
    let scratch = daemon.scratch("broken");
    let whole = fs::read(fixture::busybox()).expect("the fixture");
    let cases: [(&str, Vec<u8>); 3] = [
        ("half", whole[..whole.len() / 2].to_vec()),
        ("noise", (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("corrupt", {
            let mut bytes = whole.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            bytes
        }),
    ];
    for (name, bytes) in cases {
        let path = scratch.join(name);
        fs::write(&path, bytes).expect("a file");
        for client in daemon.clients() {
            let done = client.run(["load", "-i", &path.to_string_lossy()]);
            assert!(done.code == 1 && !done.stderr.is_empty(), "{name}: {} {}", done.code, done.output());
        }
        nothing_stored(&daemon);
    }
}

#[test]
fn whiteouts_hide_what_is_below() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("hides");
    let dockerfile = "FROM busybox\nRUN mkdir /d && touch /d/below /gone\nRUN rm -r /d /gone && mkdir /d && touch /d/only\n";
    std::fs::write(folder.join("Dockerfile"), dockerfile).expect("a Dockerfile");
    client.run(["build", "-t", "hidden", &folder.to_string_lossy()]).expect_success();
    let file = daemon.scratch("wh").join("saved");
    client.run(["save", "-o", &file.to_string_lossy(), "hidden"]).expect_success();
    client.ok("rmi hidden");
    daemon.load(&file);
    assert_eq!(client.ok("run --rm hidden ls /d"), "only");
    client.sh("run --rm hidden ls /gone").expect_code(1);
}
