//! What newer Dockerfiles may say, and bad ones: entitlements, devices, other frontends, very long files.

use std::fs;

use dray_harness::Daemon;

use super::{build, buildx, context};

#[test]
fn steps_have_more_than_a_container_only_where_it_is_allowed() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status > /caps && \
                      mount -t tmpfs t /tmp\nRUN --network=host ls /sys/class/net > /net\n\
                      RUN grep CapEff /proc/self/status > /usual\n";
    let folder = context(&daemon, "allowed", dockerfile, &[]);
    let docker = daemon.docker();
    for client in [daemon.dray(), buildx(&daemon)] {
        let refused = build(&client, &folder, "--allow network.host").expect_code(1);
        assert!(refused.output().contains("security.insecure is not allowed"), "{}", refused.output());
        let allowed = "--allow security.insecure --allow network.host -t allowed";
        build(&client, &folder, allowed).expect_success();
        let caps = docker.ok("run --rm allowed cat /caps");
        assert_ne!(caps, docker.ok("run --rm allowed cat /usual"));
        assert!(docker.ok("run --rm allowed cat /net").contains(&daemon.bridge()));
        docker.ok("rmi allowed");
    }
    let refused = build(&daemon.dray(), &folder, "--allow everything").expect_code(1);
    assert!(refused.output().contains("invalid entitlement \"everything\""), "{}", refused.output());
}

#[test]
fn a_device_that_is_not_there_is_an_error_only_where_it_is_needed() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "optional", "FROM busybox\nRUN --device=vendor.com/gpu=all true\n", &[]);
    build(&daemon.dray(), &folder, "").expect_success();
    let dockerfile = "FROM busybox\nRUN --device=vendor.com/gpu=all,required true\n";
    let folder = context(&daemon, "required", dockerfile, &[]);
    let refused = build(&daemon.dray(), &folder, "").expect_code(1);
    assert!(refused.output().contains("device is not allowed"), "{}", refused.output());
    let failed = build(&daemon.dray(), &folder, "--allow device").expect_code(1);
    let said = failed.output();
    assert!(said.contains("required device \"vendor.com/gpu=all\" is not registered"), "{said}");
}

#[test]
fn other_frontends_are_refused_by_name() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "other", "# syntax=example.org/frontend:1\nFROM busybox\n", &[]);
    for client in [daemon.dray(), daemon.docker(), buildx(&daemon)] {
        let refused = build(&client, &folder, "").expect_code(1);
        let said = refused.output();
        assert!(said.contains("\"example.org/frontend:1\" is not supported"), "{said}");
    }
    let folder = context(&daemon, "ours", "# syntax=docker/dockerfile:1.7-labs\nFROM busybox\n", &[]);
    for client in [daemon.dray(), daemon.docker(), buildx(&daemon)] {
        build(&client, &folder, "").expect_success();
    }
}

#[test]
fn arguments_go_on_in_stages_that_begin_with_a_stage() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox AS one\nARG WHAT=x\nFROM one\nRUN echo $WHAT > /what\n";
    let folder = context(&daemon, "inherited", dockerfile, &[]);
    for (client, what) in [(daemon.dray(), "a"), (buildx(&daemon), "b")] {
        build(&client, &folder, &format!("--build-arg WHAT={what} -t inherited")).expect_success();
        assert_eq!(daemon.docker().ok("run --rm inherited cat /what"), what);
    }
}

#[test]
fn ten_thousand_steps_and_ten_megabytes_are_read() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let mut many = "FROM busybox\n".to_owned();
    (0..10_000).for_each(|n| many.push_str(&format!("LABEL l{}={n}\n", n % 7)));
    let folder = context(&daemon, "many", &many, &[]);
    build(&client, &folder, "-q -t many").expect_success();
    assert_eq!(client.ok("image inspect -f {{.Config.Labels.l3}} many"), "9999");
    let long = format!("FROM busybox\nLABEL long={}\n", "x".repeat(10 << 20));
    let folder = context(&daemon, "long", &long, &[]);
    let done = build(&client, &folder, "--check").expect_success();
    assert!(done.stdout.contains("no warnings found"), "{}", done.output());
    let comments = format!("{}\nFROM busybox\n", "# y\n".repeat(2 << 20));
    let folder = context(&daemon, "comments", &comments, &[]);
    build(&client, &folder, "-q").expect_success();
    fs::write(folder.join("Dockerfile"), vec![b'#'; 17 << 20]).expect("Dockerfile");
    let refused = build(&client, &folder, "-q").expect_code(1);
    assert!(refused.output().contains("Dockerfile"), "{}", refused.output());
}

#[test]
fn names_that_are_no_text_and_sockets_do_not_matter() {
    use std::os::unix::ffi::OsStrExt;
    let daemon = Daemon::start();
    let folder = context(&daemon, "names", "FROM busybox\nCOPY . /ctx/\n", &[("sub/f", "x")]);
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"n\xff\xfe")), "bytes").expect("file");
    std::os::unix::fs::symlink("loop", folder.join("loop")).expect("link");
    std::os::unix::fs::symlink("../sub", folder.join("sub/up")).expect("link");
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("socket");
    let docker = daemon.docker();
    for client in [daemon.dray(), daemon.docker()] {
        build(&client, &folder, "-t names").expect_success();
        let seen = docker.run(["run", "--rm", "names", "sh", "-c", "cd /ctx && cat n* && ls -A | wc -l"]);
        // Dockerfile, loop, n…, sub; the socket stays where it is.
        assert_eq!(seen.expect_success().stdout, "bytes4\n");
        docker.ok("rmi names");
    }
}

/// What BuildKit does where an older builder did otherwise.
const RARE: &str = "FROM busybox AS seed\nRUN mkdir /seed && echo grown > /seed/f\n\
    FROM scratch AS lone\nCOPY a /\n\
    FROM busybox\nARG A=1\nENV A=2\nRUN echo $A > /first\nARG A=3\nENV B=${A}x\nRUN echo $A > /second\n\
    USER 5:6\nWORKDIR /made/deep\nUSER root\n\
    RUN --mount=type=cache,id=begun,target=/c,from=seed,source=/seed cat /c/f > /cached && echo more > /c/g\n\
    RUN --mount=type=cache,id=begun,target=/c ls /c > /again\n\
    RUN --mount=target=/m,rw touch /m/new && ls /m > /listed\n\
    RUN --mount=from=lone,target=/l ls /l > /lone\n";

#[test]
fn rare_things_are_as_buildkit_has_them() {
    let daemon = Daemon::start();
    let docker = daemon.docker();
    let folder = context(&daemon, "rare", RARE, &[("a", "a")]);
    for client in [daemon.dray(), buildx(&daemon)] {
        build(&client, &folder, "--build-arg A=9 -t rare").expect_success();
        let read = |path: &str| docker.ok(&format!("run --rm rare cat {path}"));
        // Of ENV and ARG of a name the later one counts.
        assert_eq!((read("/first"), read("/second")), ("2".to_owned(), "9".to_owned()));
        let environment = docker.ok("image inspect -f {{.Config.Env}} rare");
        assert!(environment.ends_with(" A=2 B=9x]"), "{environment}");
        assert_eq!(docker.ok("run --rm rare stat -c %u:%g /made /made/deep"), "5:6\n5:6");
        // A cache mount begins with what it is from, once.
        assert_eq!((read("/cached"), read("/again")), ("grown".to_owned(), "f\ng".to_owned()));
        // Nothing of what a container needs is in what is mounted.
        assert_eq!(read("/listed"), "Dockerfile\na\nnew");
        assert_eq!(read("/lone"), "a");
        docker.ok("rmi rare");
        docker.ok("builder prune -af");
    }
    let folder = context(&daemon, "lone", "FROM scratch\nCOPY a /\n", &[("a", "a")]);
    build(&daemon.dray(), &folder, "-t lone").expect_success();
    assert_eq!(docker.ok("image inspect -f {{.Config.WorkingDir}} lone"), "/");
}
