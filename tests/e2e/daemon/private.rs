//! What the daemon keeps is nobody else's: variables and logs of containers, programs of images.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dray_harness::Daemon;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a folder").permissions().mode() & 0o7777
}

#[test]
fn nobody_else_gets_into_its_folders() {
    let mut daemon = Daemon::spawn();
    let client = daemon.dray();
    let id = client.ok("run -d -e SECRET=x busybox sleep 1000");
    let private =
        |daemon: &Daemon| [daemon.data_root(), daemon.run_root().join("c"), daemon.run_root().join("image")];
    for folder in private(&daemon) {
        assert_eq!(mode(&folder) & 0o007, 0, "{}", folder.display());
    }
    // As earlier versions made them.
    daemon.kill();
    for folder in private(&daemon) {
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("a mode");
    }
    daemon.launch();
    for folder in private(&daemon) {
        assert_eq!(mode(&folder), 0o750, "{}", folder.display());
    }
    assert_eq!(mode(&daemon.socket()) & 0o007, 0);
    let log = client.ok(&format!("inspect -f {{{{.LogPath}}}} {id}"));
    assert_eq!(mode(Path::new(&log)) & 0o007, 0);
}

#[test]
fn programs_have_no_descriptors_but_their_own() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("run -d --name runs busybox sleep 1000");
    // The three of stdio, and the folder that is listed.
    let list = "ls /proc/self/fd";
    for line in [
        format!("run --rm busybox {list}"),
        format!("run --rm -i busybox {list}"),
        format!("exec runs {list}"),
    ] {
        assert_eq!(client.ok(&line).split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{line}");
    }
}
