//! The prunes: what they say, what they take, and that it is gone from the disk when they return.

use std::fs;
use std::time::Duration;

use dray_harness::{Client, Daemon, http};

use super::{du, entries, noise};

/// Two images, one of them nameless, with 8 MB of their own each.
fn build_twice(daemon: &Daemon, client: &Client, flags: &[&str]) {
    let folder = daemon.scratch("context");
    fs::write(folder.join("Dockerfile"), "FROM busybox\nCOPY big /big\n").expect("a Dockerfile");
    for _ in 0..2 {
        noise(&folder.join("big"), 8);
        let path = folder.to_string_lossy().into_owned();
        client.run([&["build", "-q", "-t", "twice"], flags, &[&path]].concat()).expect_success();
    }
}

#[test]
fn everything_unused_goes_and_the_disk_is_free() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let before = du(&daemon.data_root());
        build_twice(&daemon, &client, &[]);
        client.ok("run --name done twice dd if=/dev/urandom of=/f bs=1M count=5");
        client.ok("network create unused");
        client.ok("run --rm --name writer -v named:/v busybox dd if=/dev/urandom of=/v/f bs=1M count=5");
        let id = client.ok("create -v /anonymous busybox true");
        client.ok(&format!("rm {id}"));
        let done = client.sh("system prune -af --volumes").expect_success();
        for title in
            ["Deleted Containers:", "Deleted Networks:\nunused", "Deleted Images:", "Deleted Volumes:"]
        {
            assert!(done.stdout.contains(title), "{title}: {}", done.stdout);
        }
        assert!(done.stdout.contains("untagged: twice:latest"), "{}", done.stdout);
        assert!(done.stdout.contains("Deleted build cache objects:"), "{}", done.stdout);
        // Two images of 8 MB and a container's 5; and the context that Dray's client would be compared with.
        let freed =
            if client.name() == "dray" { "Total reclaimed space: 3" } else { "Total reclaimed space: 2" };
        let said = done.stdout.trim_end().lines().last().unwrap_or_default();
        assert!(said.starts_with(freed), "{said}");
        assert_eq!((entries(&daemon, "layers"), entries(&daemon, "containers")), (0, 0));
        assert_eq!((entries(&daemon, "blobs/sha256"), entries(&daemon, "ingest")), (0, 0));
        assert_eq!(client.ok("volume ls -q"), "named", "it has a name");
        client.ok("volume prune -af");
        assert_eq!(entries(&daemon, "volumes"), 0);
        // The database has its free pages and its log.
        assert!(du(&daemon.data_root()) < before + (6 << 20));
        daemon.load(&dray_harness::fixture::busybox());
    }
}

#[test]
fn each_says_what_docker_says() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        build_twice(&daemon, &client, &["--no-cache"]);
        let nameless = client.ok("images -q --no-trunc -f dangling=true");
        assert!(client.ok("builder prune -af").starts_with("Deleted build cache objects:\n"));
        let done = client.ok("image prune -f");
        assert!(
            done.starts_with(&format!("Deleted Images:\ndeleted: {nameless}\ndeleted: sha256:")),
            "{done}"
        );
        assert!(done.ends_with("\n\nTotal reclaimed space: 8.389MB"), "{done}");
        assert_eq!(client.ok("image prune -f"), "Total reclaimed space: 0B");
        assert_eq!(client.ok("builder prune -f"), "Total reclaimed space: 0B");
        let id = client.ok("create --name gone busybox true");
        assert_eq!(
            client.ok("container prune -f"),
            format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: 0B")
        );
        client.ok("network create gone");
        assert_eq!(client.ok("network prune -f"), "Deleted Networks:\ngone");
        client.ok("volume create gone");
        assert_eq!(client.ok("volume prune -f"), "Total reclaimed space: 0B", "it has a name");
        assert_eq!(client.ok("volume prune -af"), "Deleted Volumes:\ngone\n\nTotal reclaimed space: 0B");
        client.ok("rmi twice");
        client.ok("builder prune -af");
    }
}

#[test]
fn filters_choose() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        build_twice(&daemon, &client, &["--label", "keep=me"]);
        client.ok("create --name labelled --label keep=me busybox true");
        client.ok("create --name plain busybox true");
        for (line, remaining) in [
            ("container prune -f --filter until=1h", 2),
            ("container prune -f --filter label!=keep", 1),
            ("container prune -f --filter label=other", 1),
            ("container prune -f --filter label=keep=me", 0),
        ] {
            client.ok(line);
            assert_eq!(client.ok("ps -aq").lines().count(), remaining, "{line}");
        }
        for (line, remaining) in [
            ("image prune -f --filter until=1h", 3),
            ("image prune -af --filter label=other", 3),
            ("image prune -f --filter label=keep", 2),
            ("image prune -af --filter label=keep=me", 1),
        ] {
            client.ok(line);
            assert_eq!(client.ok("images -aq").lines().count(), remaining, "{line}");
        }
        client.ok("builder prune -af --filter until=1h");
        assert!(client.ok("builder prune -af").contains("Deleted build cache objects:"));
        for line in ["image", "container", "network"] {
            let wrong = client.sh(&format!("{line} prune -f --filter until=soon"));
            wrong.expect_code(1).expect_error("until");
            let wrong = client.sh(&format!("{line} prune -f --filter no=1"));
            wrong.expect_code(1).expect_error("invalid filter 'no'");
        }
        let twice = client.sh("container prune -f --filter until=1h --filter until=2h");
        twice.expect_code(1).expect_error("more than one until filter specified");
        client
            .sh("system prune -f --volumes --filter until=1h")
            .expect_error("The \"until\" filter is not supported with \"--volumes\"");
    }
}

#[test]
fn the_cache_keeps_what_it_is_told_to_keep() {
    let daemon = Daemon::start();
    let client = daemon.docker();
    build_twice(&daemon, &client, &[]);
    client.ok("rmi twice");
    client.ok("image prune -f");
    let cached = || client.ok("system df --format {{.Type}}={{.TotalCount}}");
    assert!(cached().contains("Build Cache=2"), "{}", cached());
    client.ok("builder prune -f --keep-storage 10MB");
    assert!(cached().contains("Build Cache=1"), "8 of 16 MB are within 10: {}", cached());
    let path = "/v1.51/build/prune?all=1&max-used-space=x";
    let wrong = http::unix_request(&daemon.socket(), "POST", path, None).expect("an answer");
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    client.ok("builder prune -f");
    assert!(cached().contains("Build Cache=0"), "{}", cached());
}

#[test]
fn a_daemon_killed_while_it_prunes_goes_on_where_it_was() {
    let mut daemon = Daemon::spawn();
    for round in 0..5u32 {
        let client = daemon.dray();
        let folder = daemon.scratch("context");
        for n in 0..8 {
            noise(&folder.join("big"), 1);
            let text = format!("FROM busybox\nCOPY big /big\nRUN echo {n} > /n\n");
            fs::write(folder.join("Dockerfile"), text).expect("a Dockerfile");
            client.run(["build", "-q", "-t", &format!("i{n}"), &folder.to_string_lossy()]).expect_success();
        }
        let mut pruning = client.spawn(["system", "prune", "-af"]);
        std::thread::sleep(Duration::from_millis(u64::from(round) * 12));
        daemon.kill();
        let _ = pruning.wait();
        daemon.launch();
        // What is still named is whole.
        for image in client.ok("images -q --no-trunc").lines() {
            client.ok(&format!("run --rm {image} true"));
        }
        client.ok("system prune -af");
        assert_eq!(client.ok("images -aq"), "");
        let left =
            (entries(&daemon, "layers"), entries(&daemon, "blobs/sha256"), entries(&daemon, "containers"));
        assert_eq!(left, (0, 0, 0), "round {round}");
        daemon.load(&dray_harness::fixture::busybox());
    }
}
