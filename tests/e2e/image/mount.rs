//! `image mount` and `image unmount`: an image's files without a container.

use std::fs;
use std::path::Path;

use dray_harness::Daemon;

use super::build_wasteful;

#[test]
fn the_files_are_there_read_only_until_it_is_taken_off() {
    let mut daemon = Daemon::spawn();
    build_wasteful(&daemon, "wasteful");
    let client = daemon.dray();
    let own = client.ok("image mount wasteful");
    assert_eq!(client.ok("image mount wasteful"), own, "mounted once");
    assert_eq!(fs::read_to_string(Path::new(&own).join("data/kept")).expect("a file"), "changed\n");
    assert!(!Path::new(&own).join("data/big").exists());
    assert!(fs::write(Path::new(&own).join("new"), "x").is_err(), "it is read-only");
    let target = daemon.scratch("mounted");
    client.run(["image", "mount", "busybox", &target.to_string_lossy()]).expect_success();
    assert!(target.join("bin/busybox").exists(), "an image of one layer");
    let list = client.ok("image mount");
    assert!(list.contains("wasteful") && list.contains(&*target.to_string_lossy()), "{list}");
    // Its layers stay though the image goes, and it is known to the next daemon.
    client.ok("rmi -f wasteful");
    client.ok("system prune -af");
    daemon.crash_and_restart();
    daemon.load(&dray_harness::fixture::busybox());
    assert_eq!(fs::read_to_string(Path::new(&own).join("data/kept")).expect("a file"), "changed\n");
    assert_eq!(client.ok("image mount --format {{.Target}}").lines().count(), 2);
    client.sh(&format!("image mount busybox {own}")).expect_code(1);
    client.sh("image mount busybox not/absolute").expect_code(1).expect_error("an absolute path");
    client.sh("image unmount nothing").expect_code(1).expect_error("image not mounted: nothing");
    assert_eq!(client.ok(&format!("image unmount {own}")), own);
    assert!(!Path::new(&own).exists());
    assert_eq!(client.ok("image umount --all"), target.to_string_lossy());
    assert_eq!(fs::read_dir(&target).expect("a folder").count(), 0);
    assert_eq!(client.ok("image mount --format {{.Target}}"), "");
}
