//! `push`, `pull`, `login` against Debian's own registry server.

mod bucket;
mod cache;
mod hostile;
mod login;
mod platforms;
mod replication;
mod server;
mod shared;
mod skopeo;
mod tls;
mod trust;

use dray_harness::Daemon;
use dray_harness::registry::Registry;

#[test]
fn what_is_pushed_is_pulled() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let id = daemon.dray().ok("images -q --no-trunc busybox");
    for client in daemon.clients() {
        let name = format!("{}/team/{}:v1", registry.host(), client.name());
        client.ok(&format!("tag busybox {name}"));
        let pushed = client.sh(&format!("push {name}")).expect_success();
        assert!(
            pushed.stdout.contains("The push refers to repository")
                && pushed.stdout.contains("digest: sha256:"),
            "{}",
            pushed.stdout
        );
        client.ok(&format!("rmi {name}"));
        client.ok("rmi busybox");
        let pulled = client.sh(&format!("pull {name}")).expect_success();
        assert!(pulled.stdout.contains("Status: Downloaded newer image for"), "{}", pulled.stdout);
        assert_eq!(client.ok(&format!("images -q --no-trunc {name}")), id, "the same image came back");
        let again = client.sh(&format!("pull {name}")).expect_success();
        assert!(again.stdout.contains("Status: Image is up to date for"), "{}", again.stdout);
        client.ok(&format!("run --rm {name} true"));
        client.ok(&format!("tag {name} busybox"));
        client.ok(&format!("rmi {name}"));
    }
}

#[test]
fn run_pulls_what_is_missing() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let client = daemon.dray();
    let name = format!("{}/auto:v1", registry.host());
    client.ok(&format!("tag busybox {name}"));
    client.ok(&format!("push {name}"));
    client.ok(&format!("rmi {name}"));
    for client in daemon.clients() {
        let done = client.sh(&format!("run --rm {name} echo ran")).expect_success();
        assert_eq!(done.stdout, "ran\n");
        assert!(done.stderr.contains(&format!("Unable to find image '{name}' locally")), "{}", done.stderr);
        client.ok(&format!("rmi {name}"));
    }
}

#[test]
fn a_login_is_needed_and_kept() {
    let daemon = Daemon::start();
    let registry = Registry::with_user("ann", "secret");
    let name = format!("{}/private:v1", registry.host());
    for client in daemon.clients() {
        client.ok(&format!("tag busybox {name}"));
        let refused = client.sh(&format!("push {name}")).expect_code(1);
        assert!(refused.stderr.contains("no basic auth credentials"), "{}", refused.stderr);
        let wrong =
            client.run_with_input(["login", "-u", "ann", "--password-stdin", &registry.host()], b"wrong");
        wrong.expect_code(1).expect_error("401");
        let right =
            client.run_with_input(["login", "-u", "ann", "--password-stdin", &registry.host()], b"secret");
        assert!(right.expect_success().stdout.contains("Login Succeeded"));
        client.ok(&format!("push {name}"));
        client.ok(&format!("rmi {name}"));
        client.ok(&format!("pull {name}"));
        client.ok(&format!("logout {}", registry.host()));
        client.sh(&format!("pull {name}")).expect_code(1);
        client.ok(&format!("rmi {name}"));
    }
}

#[test]
fn what_is_not_there_is_named() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let port = dray_harness::registry::free_port();
    for client in daemon.clients() {
        let name = format!("{}/nosuch:v9", registry.host());
        client.sh(&format!("pull {name}")).expect_code(1).expect_error(&name);
        client.sh(&format!("push {name}")).expect_code(1).expect_error("does not exist locally");
        client.sh(&format!("pull localhost:{port}/x")).expect_code(1).expect_error("connection refused");
        client.sh("pull Upper/Case").expect_code(1).expect_error("must be lowercase");
    }
}
