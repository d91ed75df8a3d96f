//! `cp`: files in and out, running or not, and no way out of the container's root.

use std::fs;

use dray_harness::Daemon;

#[test]
fn files_and_folders_go_in_and_out() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let scratch = daemon.scratch(&format!("cp-{}", client.name()));
        let folder = scratch.join("folder");
        fs::create_dir_all(folder.join("sub")).expect("folders");
        fs::write(folder.join("sub/file"), "content").expect("a file");
        for state in ["create --name box busybox sleep 1000", "run -d --name box busybox sleep 1000"] {
            client.ok(state);
            client.run(["cp", &folder.to_string_lossy(), "box:/copied"]).expect_success();
            let back = scratch.join("back");
            client.run(["cp", "box:/copied/sub/file", &back.to_string_lossy()]).expect_success();
            assert_eq!(fs::read_to_string(&back).expect("the file"), "content");
            fs::remove_file(&back).expect("remove");
            client.sh("cp box:/no/such /tmp/x").expect_code(1).expect_error("/no/such");
            client.ok("rm -f box");
        }
    }
}

#[test]
fn a_hostile_link_does_not_lead_out() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let scratch = daemon.scratch("hostile");
    let secret = scratch.join("secret");
    fs::write(&secret, "host").expect("a file");
    let script =
        format!("ln -s {} /evil; ln -s / /root-link; ln -s ../../../../../.. /up", scratch.display());
    client.run(["run", "--name", "evil", "busybox", "sh", "-c", &script]).expect_success();
    let out = scratch.join("out");
    client.run(["cp", "-L", "evil:/evil/secret", &out.to_string_lossy()]).expect_code(1);
    assert!(!out.exists());
    let payload = scratch.join("payload");
    fs::write(&payload, "owned").expect("a file");
    client.run(["cp", &payload.to_string_lossy(), "evil:/evil/secret"]);
    assert_eq!(fs::read_to_string(&secret).expect("the file"), "host", "cp wrote through a link to the host");
}
