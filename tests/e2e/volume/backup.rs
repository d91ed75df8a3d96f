//! `volume backup` and `volume restore`: files, and registries.

use std::fs;
use std::path::Path;

use dray_harness::Daemon;
use dray_harness::client::{Client, eventually};
use dray_harness::registry::{DrayRegistry, Registry};

const FILL: &str = "mkdir /d/sub; dd if=/dev/urandom of=/d/sub/large bs=64k count=80 2>/dev/null; echo one > /d/one; \
                    chown 12:34 /d/one; chmod 4751 /d/one; ln -s one /d/link; ln /d/one /d/sub/same; mkfifo /d/fifo; \
                    truncate -s 100M /d/holes";

/// What a volume has, in one line each.
fn listing(client: &Client, volume: &str) -> String {
    let script = "cd /d; find . | sort | xargs stat -c '%n %f %u:%g %s %Y'; find . -type f | sort | xargs sha256sum; \
                  readlink link; test one -ef sub/same && echo linked";
    let mount = format!("{volume}:/d:ro");
    client.run(["run", "--rm", "-v", &mount, "busybox", "sh", "-c", script]).expect_success().stdout
}

fn fill(client: &Client, script: &str) {
    client.run(["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", script]).expect_success();
}

fn size(path: &Path) -> u64 {
    path.metadata().expect("an archive").len()
}

#[test]
fn an_archive_brings_everything_back() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("archives");
    let file = |name: &str| folder.join(name).display().to_string();
    client.ok("volume create --label a=1 data");
    fill(&client, FILL);
    let before = listing(&client, "data");
    client.ok(&format!("volume backup -o {} data", file("full.tar")));
    let full = size(&folder.join("full.tar"));
    assert!((5 << 20..6 << 20).contains(&full), "{full}");
    assert_eq!(client.ok(&format!("volume restore --label b=2 back {}", file("full.tar"))), "back");
    assert_eq!(listing(&client, "back"), before);
    assert_eq!(
        client
            .run(["volume", "inspect", "-f", "{{json .Labels}}", "back"])
            .expect_success()
            .stdout
            .replace([' ', '\n'], ""),
        r#"{"a":"1","b":"2"}"#
    );
    // From standard input, where the documents come last.
    let bytes = fs::read(folder.join("full.tar")).expect("an archive");
    client.run_with_input(["volume", "restore", "piped"], &bytes).expect_success();
    assert_eq!(listing(&client, "piped"), before);

    fill(
        &client,
        "echo two > /d/two; rm /d/link /d/fifo; ln -s two /d/link; dd if=/dev/urandom of=/d/new bs=64k count=8 2>/dev/null",
    );
    let after = listing(&client, "data");
    client.ok(&format!("volume backup --base {} -o {} data", file("full.tar"), file("more.tar")));
    let more = size(&folder.join("more.tar"));
    assert!(more < 1 << 20, "{more} bytes for half a mebibyte that is new");
    client
        .sh(&format!("volume restore alone {}", file("more.tar")))
        .expect_code(1)
        .expect_error("packs are not in the archive: give the earlier archives that it is based on, too");
    client.ok(&format!("volume restore both {} {}", file("more.tar"), file("full.tar")));
    assert_eq!(listing(&client, "both"), after);
    assert_eq!(client.ok("volume ls -q"), "back\nboth\ndata\npiped");
}

#[test]
fn what_is_no_backup_leaves_nothing() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("archives");
    let file = |name: &str| folder.join(name).display().to_string();
    client.ok("volume create data");
    fill(&client, FILL);
    client.ok(&format!("volume backup -o {} data", file("full.tar")));
    let whole = fs::read(folder.join("full.tar")).expect("an archive");
    let mut damaged = whole.clone();
    damaged[1 << 20] ^= 1;
    fs::write(folder.join("damaged.tar"), &damaged).expect("an archive");
    fs::write(folder.join("cut.tar"), &whole[..3 << 20]).expect("an archive");
    fs::write(folder.join("text"), "no archive").expect("a file");
    let restore = |name: &str| client.sh(&format!("volume restore new {}", file(name))).expect_code(1);
    restore("damaged.tar").expect_error("the backup is damaged");
    restore("cut.tar").expect_error("cut.tar: not a backup of a volume");
    restore("text").expect_error("text: not a backup of a volume");
    restore("nosuch").expect_error("no such file");
    client
        .run_with_input(["volume", "restore", "new"], b"no archive")
        .expect_code(1)
        .expect_error("not a backup");
    client.run_with_input(["volume", "restore", "new"], &damaged).expect_code(1).expect_error("damaged");
    let taken = format!("volume restore data {}", file("full.tar"));
    client.sh(&taken).expect_code(1).expect_error("restore data: a volume with this name exists already");
    client.sh("volume backup -o /dev/null nosuch").expect_code(1).expect_error("get nosuch: no such volume");
    client.sh(&format!("volume backup --base {} -o /dev/null data", file("text"))).expect_code(1);
    assert_eq!(client.ok("volume ls -q"), "data");
    assert_eq!(fs::read_dir(daemon.data_root().join("volumes")).expect("a folder").count(), 1);
    assert_eq!(fs::read_dir(daemon.data_root().join("ingest")).expect("a folder").count(), 0);
}

#[test]
fn what_writes_is_paused_for_what_has_changed() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let archive = daemon.scratch("archives").join("live.tar");
    let counts = "dd if=/dev/urandom of=/d/large bs=64k count=160 2>/dev/null; i=0; while :; do i=$((i+1)); \
                  echo $i > /d/t; mv /d/t /d/a; echo $i > /d/t; mv /d/t /d/z; done";
    client
        .run(["run", "-d", "--name", "writes", "-v", "data:/d", "busybox", "sh", "-c", counts])
        .expect_success();
    let number = |volume: &str, file: &str| {
        let path = daemon.data_root().join("volumes").join(volume).join("_data").join(file);
        fs::read_to_string(path).unwrap_or_default().trim().parse::<u64>().unwrap_or(0)
    };
    eventually("it counts", || number("data", "z") > 5);
    client.ok(&format!("volume backup -o {} data", archive.display()));
    let after = number("data", "z");
    client.ok(&format!("volume restore back {}", archive.display()));
    let (first, second) = (number("back", "a"), number("back", "z"));
    assert!(first > 0 && (first == second || first == second + 1), "{first} and {second} are of two moments");
    eventually("it goes on", || number("data", "z") > after + 5);
    // A container that somebody has paused stays so.
    client.ok("pause writes");
    client.ok(&format!("volume backup -o {} data", archive.display()));
    assert_eq!(client.ok("inspect -f {{.State.Status}} writes"), "paused");
    client.ok("rm -f writes");
}

#[test]
fn a_registry_keeps_backups() {
    kept_in(&Registry::start().host());
}

#[test]
fn our_own_registry_keeps_backups() {
    kept_in(&DrayRegistry::start(&[]).host());
}

fn kept_in(registry: &str) {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let name = format!("{registry}/backups/data:nightly");
    client.ok("volume create --label a=1 data");
    fill(&client, FILL);
    let before = listing(&client, "data");
    let told = client.ok(&format!("volume backup --to {name} data"));
    let first = told.lines().next().expect("a name").to_owned();
    assert!(first.contains("/backups/data:nightly@sha256:"), "{told}");
    fill(&client, "echo two > /d/two");
    let told = client.ok(&format!("volume backup --to {name} data"));
    assert!(told.contains("sent in 1 of 2 packs"), "only what is new: {told}");
    client.ok(&format!("volume restore --from {name} back"));
    assert_eq!(listing(&client, "back"), listing(&client, "data"));
    // The earlier one is there under its digest.
    let digest = first.split_once('@').expect("a digest").1;
    client.ok(&format!("volume restore --from {registry}/backups/data@{digest} earlier"));
    assert_eq!(listing(&client, "earlier"), before);
    let told = client.ok(&format!("volume backup --full --to {name} data"));
    assert!(told.contains("sent in 1 of 1 packs"), "{told}");
    client
        .sh(&format!("volume restore --from {registry}/backups/data:nosuch other"))
        .expect_code(1)
        .expect_error("manifest unknown");
    client.ok(&format!("tag busybox {registry}/image:1"));
    client.ok(&format!("push {registry}/image:1"));
    client
        .sh(&format!("volume restore --from {registry}/image:1 other"))
        .expect_code(1)
        .expect_error("not a backup of a volume");
    assert_eq!(client.ok("volume ls -q"), "back\ndata\nearlier");
}
