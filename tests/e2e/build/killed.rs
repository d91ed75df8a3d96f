//! A daemon that is killed at any moment of a build: the next build of the same is right, whatever it takes from the
//! cache, and nothing of the half one stays.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use dray_harness::{Client, Daemon, client, host};

use super::{build, buildx, context, entries};

/// Enough files that a copy may lie upon an earlier one.
const FILES: usize = 560;
/// Moments at which the daemon is killed, spread over what a build takes.
const MOMENTS: u32 = 12;

/// Every way to a layer: copies of the context and of a stage, upon earlier ones and not, and steps that run.
const DOCKERFILE: &str = "FROM busybox AS sum\nCOPY app /app\nRUN cat /app/*/* | md5sum > /sum && sleep 0.1\n\
     FROM busybox\nCOPY --from=sum /sum /first\nWORKDIR /work\nCOPY app .\n\
     RUN cat /work/*/* | md5sum > /second && rm -r /work/1\n";

fn fill(folder: &Path) {
    for n in 0..FILES {
        let folder = folder.join(format!("app/{}", n % 8));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(n.to_string()), format!("file {n}\n")).expect("a file");
    }
}

/// What both sums have to be.
fn expected(folder: &Path) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat app/*/* | md5sum"]).current_dir(folder).env("LC_ALL", "C");
    let sum = String::from_utf8(shell.output().expect("md5sum").stdout).expect("a sum");
    format!("{sum}{sum}7\n")
}

fn shown(client: &Client) -> String {
    let script = "cat /first /second; ls /work | wc -l";
    client.run(["run", "--rm", "made", "sh", "-c", script]).expect_success().stdout
}

#[test]
fn after_a_kill_at_any_moment_the_next_build_is_right() {
    let mut daemon = Daemon::spawn();
    let folder = context(&daemon, "killed", DOCKERFILE, &[]);
    fill(&folder);
    let began = Instant::now();
    build(&daemon.dray(), &folder, "-t made").expect_success();
    let whole = began.elapsed();
    let root = daemon.data_root().parent().expect("the daemon's folder").display().to_string();
    let mounts = || host::mounts().into_iter().filter(|line| line.contains(&root)).collect::<Vec<_>>();
    let before = mounts();
    for moment in 0..MOMENTS {
        // Sometimes little changes, and sometimes all does.
        for n in 0..if moment % 4 == 3 { FILES } else { 1 } {
            let path = folder.join(format!("app/{}/{n}", n % 8));
            fs::write(path, format!("file {n} of {moment}\n")).expect("a file");
        }
        let client = if moment % 2 == 0 { daemon.dray() } else { buildx(&daemon) };
        let mut command = client.command(["build", "-t", "made"]);
        let half = command.arg(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        sleep(whole * moment / MOMENTS);
        daemon.crash_and_restart();
        half.expect("a client").wait().expect("its end");
        build(&client, &folder, "-t made").expect_success();
        assert_eq!(shown(&daemon.docker()), expected(&folder), "killed after {:?}", whole * moment / MOMENTS);
    }
    let docker = daemon.docker();
    assert_eq!(docker.ok("ps -aq"), "");
    client::eventually("the steps are gone", || entries(&daemon.run_root().join("b")) == 0);
    client::eventually("the contexts are gone", || entries(&daemon.data_root().join("build/contexts")) == 0);
    assert_eq!(mounts(), before);
    docker.ok("rmi -f made");
    docker.ok("image prune -af");
    docker.ok("builder prune -af");
    client::eventually("the layers are gone", || entries(&daemon.data_root().join("layers")) == 0);
}
