//! Contexts that mean harm: each is refused with the entry's name, or harms nobody; nothing of it is left.

use std::fs;

use dray_harness::client::eventually;
use dray_harness::{Client, Daemon, Finished};

const DOCKERFILE: &str = "FROM busybox\nCOPY . /ctx/\n";

/// A tar with a Dockerfile and what is added by hand.
fn archive(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    entry(&mut tar, "Dockerfile", tar::EntryType::Regular, "", DOCKERFILE.as_bytes());
    add(&mut tar);
    tar.into_inner().expect("tar")
}

/// Appends an entry whose name the tar crate itself might refuse.
fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).expect("an entry");
}

fn build(client: &Client, context: &[u8]) -> Finished {
    client.run_with_input(["build", "-t", "hostile", "-"], context)
}

fn nothing_left(daemon: &Daemon) {
    let contexts = daemon.data_root().join("build/contexts");
    eventually("no context is left", || fs::read_dir(&contexts).map_or(0, Iterator::count) == 0);
}

#[test]
fn names_links_and_devices_are_refused_and_named() {
    use tar::EntryType as Kind;
    let daemon = Daemon::start();
    let cases = [
        ("../evil", Kind::Regular, "", "\"../evil\" is outside of the build context"),
        ("a/../../evil", Kind::Regular, "", "outside of the build context"),
        ("stolen", Kind::Link, "../../../../etc/shadow", "outside of the build context"),
        ("sda", Kind::Block, "", "\"sda\" is a device; devices are not allowed in a build context"),
        ("mem", Kind::Char, "", "\"mem\" is a device"),
        ("bomb", Kind::GNUSparse, "", "sparse file \"bomb\""),
    ];
    for client in daemon.clients() {
        for (name, kind, link, words) in cases {
            let context = archive(|tar| entry(tar, name, kind, link, b""));
            let done = build(&client, &context);
            assert!(done.code != 0 && done.stderr.contains(words), "{name}: {}", done.output());
        }
        assert_eq!(client.ok("images -q hostile"), "");
        nothing_left(&daemon);
    }
}

#[test]
fn absolute_links_stay_links_and_lead_nowhere() {
    let daemon = Daemon::start();
    let outside = daemon.scratch("outside");
    for client in daemon.clients() {
        let context = archive(|tar| {
            entry(tar, "link", tar::EntryType::Symlink, &outside.to_string_lossy(), b"");
            entry(tar, "link/evil", tar::EntryType::Regular, "", b"x");
            entry(tar, "passwd", tar::EntryType::Symlink, "/etc/passwd", b"");
        });
        build(&client, &context).expect_success();
        assert_eq!(fs::read_dir(&outside).expect("outside").count(), 0, "written out of the context");
        assert_eq!(client.ok("run --rm hostile readlink /ctx/passwd"), "/etc/passwd");
        client.ok("rmi hostile");
        nothing_left(&daemon);
    }
}

#[test]
fn a_hundred_thousand_entries_are_built() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    // Folders that repeat: entries enough, without a hundred thousand inodes to make and to delete.
    let context = archive(|tar| {
        for number in 0..100_000 {
            entry(tar, &format!("d/{}/", number % 500), tar::EntryType::Directory, "", b"");
        }
    });
    build(&client, &context).expect_success();
    assert_eq!(client.run(["run", "--rm", "hostile", "sh", "-c", "ls /ctx/d | wc -l"]).stdout.trim(), "500");
    nothing_left(&daemon);
}

#[test]
fn broken_archives_are_refused() {
    let daemon = Daemon::start();
    let whole = archive(|tar| entry(tar, "f", tar::EntryType::Regular, "", &[b'x'; 5000]));
    for client in daemon.clients() {
        let done = build(&client, &whole[..3000]);
        assert!(done.code != 0 && done.stderr.contains("unexpected end of archive"), "{}", done.output());
        let mut damaged = whole.clone();
        damaged[1024 + 148] ^= 0x55; // the checksum of the second entry's header
        let done = build(&client, &damaged);
        assert!(done.code != 0 && done.stderr.contains("invalid tar header"), "{}", done.output());
        nothing_left(&daemon);
    }
}
