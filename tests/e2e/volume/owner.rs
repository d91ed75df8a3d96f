//! `--mount …,match-user` and `--mount …,idmap`: who owns the files of a mount.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use dray_harness::Daemon;

#[test]
fn files_belong_to_who_owns_the_source_and_to_the_containers_user() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = daemon.scratch("owned");
    fs::write(folder.join("file"), "text").expect("a file");
    for path in [&folder, &folder.join("file")] {
        chown(path, Some(1000), Some(100)).expect("root");
    }
    let mount = |how: &str| format!("type=bind,src={},dst=/m{how}", folder.display());
    let stat = ["busybox", "stat", "-c", "%u:%g", "/m", "/m/file"];
    let owners = |how: &str, user: &str| {
        let mount = mount(how);
        let line = [&["run", "--rm", "-u", user, "--mount", &mount][..], &stat].concat();
        client.run(line).expect_success().stdout
    };
    assert_eq!(owners("", "33:44"), "1000:100\n1000:100\n");
    assert_eq!(owners(",match-user", "33:44"), "33:44\n33:44\n");
    assert_eq!(owners(",match-user", "0"), "0:0\n0:0\n");
    assert_eq!(owners(",match-user", "1000:100"), "1000:100\n1000:100\n");
    assert_eq!(owners(",idmap", "33:44"), "0:0\n0:0\n");
    assert_eq!(owners(",idmap=uids=1000-7-1;gids=100-8-1", "0"), "7:8\n7:8\n");

    // What the user makes belongs, on the disk, to the owner of the source.
    let make = mount(",match-user");
    let script = "echo made > /m/made && rm /m/file";
    client
        .run(["run", "--rm", "-u", "33:44", "--mount", &make, "busybox", "sh", "-c", script])
        .expect_success();
    let made = folder.join("made").metadata().expect("a file");
    assert_eq!((made.uid(), made.gid()), (1000, 100));
    assert!(!folder.join("file").exists());
    // Nobody else may, as before.
    client
        .run(["run", "--rm", "-u", "33", "--mount", &mount(""), "busybox", "touch", "/m/no"])
        .expect_code(1)
        .expect_error("Permission denied");
    // Restarts look again.
    client.run([
        "run", "--name", "again", "-u", "33:44", "--mount", &make, "busybox", "stat", "-c", "%u", "/m",
    ]);
    chown(&folder, Some(2000), Some(200)).expect("root");
    assert_eq!(client.ok("start -a again"), "33");
}

#[test]
fn a_volume_fits_its_user() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("volume create data");
    let run = |script: &str| {
        let mount = "type=volume,src=data,dst=/d,match-user";
        client.run(["run", "--rm", "-u", "33:44", "--mount", mount, "busybox", "sh", "-c", script])
    };
    run("echo text > /d/file").expect_success();
    assert_eq!(client.ok("run --rm -v data:/d busybox stat -c %u:%g /d/file"), "0:0");
    assert_eq!(run("stat -c %u:%g /d/file").expect_success().stdout, "33:44\n");
}

#[test]
fn wrong_mappings_are_named() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let refused = |mount: &str, why: &str| {
        client.run(["run", "--rm", "--mount", mount, "busybox", "true"]).expect_code(125).expect_error(why);
    };
    refused("type=bind,src=/tmp,dst=/m,idmap=nonsense", "invalid id mapping \"nonsense\"");
    refused("type=bind,src=/tmp,dst=/m,idmap,match-user", "mount options conflict: IDMap && MatchUser");
    refused("type=tmpfs,dst=/m,match-user", "field MatchUser must not be specified");
    refused("type=bind,src=/tmp,dst=/m,match-user=maybe", "invalid boolean value");
    // procfs cannot.
    client
        .run([
            "run",
            "--rm",
            "-u",
            "33",
            "--mount",
            "type=bind,src=/proc,dst=/m,match-user",
            "busybox",
            "true",
        ])
        .expect_code(125)
        .expect_error("the file system of /proc cannot map ids");
}
