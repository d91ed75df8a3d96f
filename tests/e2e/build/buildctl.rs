//! BuildKit's own client at the daemon's socket: it speaks gRPC from its first byte on.

use std::fs;
use std::process::Command;

use dray_harness::client::{self, Finished};
use dray_harness::{Daemon, fixture};

use super::context;

fn buildctl(daemon: &Daemon, arguments: &[&str]) -> Finished {
    let mut command = Command::new(fixture::buildctl());
    command.arg("--addr").arg(daemon.host()).args(arguments);
    client::finish(command, b"")
}

const DOCKERFILE: &str = "FROM busybox AS base\nARG WHO=nobody\nRUN echo hello $WHO > /greeting\n\
                          FROM base AS rest\nCOPY file /file\nCMD [\"cat\", \"/greeting\", \"/file\"]\n";

#[test]
fn it_builds_and_puts_out() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "buildctl", DOCKERFILE, &[("file", "x\n")]);
    let (context, dockerfile) =
        (format!("context={}", folder.display()), format!("dockerfile={}", folder.display()));
    let build = |more: &[&str]| {
        let words = ["build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", &context];
        let words: Vec<&str> =
            words.into_iter().chain(["--local", &dockerfile]).chain(more.iter().copied()).collect();
        buildctl(&daemon, &words)
    };
    let image = "type=image,name=docker.io/library/by-buildctl:1";
    build(&["--opt", "build-arg:WHO=dray", "--output", image]).expect_success();
    let client = daemon.docker();
    assert_eq!(client.ok("run --rm by-buildctl:1"), "hello dray\nx");
    let again = build(&["--opt", "build-arg:WHO=dray"]).expect_success();
    assert_eq!(again.stderr.matches(" CACHED").count(), 2, "{}", again.stderr);
    let out = daemon.scratch("out");
    let (local, tar) =
        (format!("type=local,dest={}/files", out.display()), format!("type=tar,dest={}/tar", out.display()));
    build(&["--opt", "target=base", "--output", &local, "--output", &tar]).expect_success();
    assert_eq!(fs::read_to_string(out.join("files/greeting")).expect("a file"), "hello nobody\n");
    let listed = Command::new("tar").arg("tf").arg(out.join("tar")).output().expect("tar");
    assert!(String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.ends_with("greeting")));
    fs::write(folder.join("Dockerfile"), "FROM busybox\nRUN exit 3\n").expect("the Dockerfile");
    build(&[]).expect_code(1).expect_error("did not complete successfully: exit code: 3");
}

#[test]
fn it_sees_the_worker_and_the_cache() {
    let daemon = Daemon::start();
    assert!(buildctl(&daemon, &["debug", "workers"]).expect_success().stdout.contains("linux/"));
    assert!(buildctl(&daemon, &["debug", "info"]).expect_success().stdout.contains("BuildKit:"));
    let folder = context(&daemon, "cache", "FROM busybox\nRUN touch /made\n", &[]);
    super::build(&daemon.dray(), &folder, "").expect_success();
    let used = buildctl(&daemon, &["du"]).expect_success().stdout;
    assert!(used.contains("Total:") && !used.contains("Total:\t\t0B"), "{used}");
    buildctl(&daemon, &["prune", "--all"]).expect_success();
    let used = buildctl(&daemon, &["du"]).expect_success().stdout;
    assert!(
        used.contains("Total:")
            && used
                .lines()
                .any(|line| line.starts_with("Total:") && line.ends_with("0 B") || line.ends_with("0B")),
        "{used}"
    );
}
