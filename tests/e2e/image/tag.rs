//! `tag` and `rmi`.

use dray_harness::Daemon;
use dray_harness::registry::Registry;

#[test]
fn a_tag_is_a_name_more() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("tag busybox mine:v1");
        assert_eq!(client.ok("images -q mine:v1"), client.ok("images -q busybox"));
        assert!(client.ok("rmi mine:v1").contains("Untagged: mine:v1"));
        client.ok("run --rm busybox true");
        client.sh("tag nosuch x").expect_code(1).expect_error("No such image: nosuch:latest");
        client.sh("tag busybox UPPER").expect_code(1).expect_error("must be lowercase");
        client.sh("rmi nosuch").expect_code(1).expect_error("No such image: nosuch");
    }
}

#[test]
fn an_image_knows_when_it_was_tagged_or_pulled_last() {
    let registry = Registry::start();
    let daemon = Daemon::start();
    let name = format!("{}/dated:v1", registry.host());
    for client in daemon.clients() {
        let last = || {
            let time = client.ok(&format!("image inspect -f {{{{.Metadata.LastTagTime}}}} {name}"));
            // Go leaves out zeros at the end.
            format!("{:0<29}", time.trim_end_matches('Z'))
        };
        client.ok(&format!("tag busybox {name}"));
        let tagged = last();
        assert!(tagged.starts_with("20"), "{tagged}");
        client.ok(&format!("tag busybox {name}"));
        let again = last();
        assert!(again > tagged, "{again} {tagged}");
        client.ok(&format!("push -q {name}"));
        client.ok(&format!("pull -q {name}"));
        assert!(last() > again, "a pull of what is here counts");
        client.ok(&format!("rmi {name}"));
    }
}

#[test]
fn an_image_in_use_is_kept() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("create --name holds busybox true");
        let refused = client.sh("rmi busybox").expect_code(1);
        assert!(
            refused
                .stderr
                .contains("conflict: unable to remove repository reference \"busybox\" (must force)"),
            "{}",
            refused.stderr
        );
        client.ok("rm holds");
    }
}

#[test]
fn removal_frees_the_disk() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    assert!(client.ok("rmi busybox").contains("Deleted: sha256:"));
    for folder in ["layers", "blobs/sha256"] {
        let path = daemon.data_root().join(folder);
        dray_harness::client::eventually(&format!("{folder} is empty"), || {
            std::fs::read_dir(&path).map_or(true, |entries| entries.flatten().count() == 0)
        });
    }
}
