//! `image squash`: the same files in fewer layers.

use dray_harness::Daemon;

use super::build_wasteful;

#[test]
fn a_squashed_image_runs_and_differs_in_nothing() {
    let daemon = Daemon::start();
    build_wasteful(&daemon, "wasteful");
    let client = daemon.dray();
    let id = client.ok("image squash -t small -t other:v1 wasteful");
    assert_eq!(client.ok("images -q --no-trunc small"), id);
    assert_eq!(client.ok("images -q --no-trunc other:v1"), id);
    assert_eq!(client.ok("image diff --format json wasteful small"), "");
    assert_eq!(
        client.run(["inspect", "-f", "{{len .RootFS.Layers}}", "small"]).expect_success().stdout,
        "1\n"
    );
    for image in ["wasteful", "small"] {
        let script = "cat /data/kept; ls /data; readlink /home; ls -l /bin/busybox; echo $A";
        let shown = client.run(["run", "--rm", image, "sh", "-c", script]).expect_success().stdout;
        assert!(shown.starts_with("changed\nkept\n/data\n-rwsr-xr-x"), "{image}: {shown}");
        assert!(shown.ends_with("\nb\n"), "{image}: {shown}");
    }
    let onto = client.ok("image squash --onto busybox -m less -t onto wasteful");
    assert_eq!(
        client.run(["inspect", "-f", "{{len .RootFS.Layers}}", "onto"]).expect_success().stdout,
        "2\n"
    );
    assert_eq!(client.ok("image diff --format json wasteful onto"), "");
    assert!(client.ok(&format!("history {onto}")).contains("less"));
    assert!(client.ok("run --rm onto ls /data") == "kept");
    client
        .sh("image squash --onto small wasteful")
        .expect_code(1)
        .expect_error("its lowest layers are not those of");
    client.sh("image squash nothing").expect_code(1).expect_error("No such image: nothing:latest");
    // It goes through an archive like any other.
    let file = daemon.scratch("squash").join("saved");
    client.run(["save", "-o", &file.to_string_lossy(), "small"]).expect_success();
    client.ok("rmi small other:v1");
    daemon.load(&file);
    assert_eq!(client.ok("images -q --no-trunc small"), id);
}
