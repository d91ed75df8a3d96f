//! The context: .dockerignore, archives on standard input, other Dockerfiles.

use dray_harness::client::eventually;
use dray_harness::{Daemon, http, web};

use super::{build, context};

#[test]
fn dockerignore_keeps_files_out() {
    let daemon = Daemon::start();
    let files = [
        (".dockerignore", "# comment\n*.log\n!keep.log\nsub/**/secret\n"),
        ("a.log", "x"),
        ("keep.log", "x"),
        ("sub/deep/secret", "x"),
        ("sub/deep/open", "x"),
    ];
    for client in daemon.clients() {
        let folder = context(
            &daemon,
            &client.name(),
            "FROM busybox\nCOPY . /ctx\nRUN cd /ctx && find . -type f | sort > /list\n",
            &files,
        );
        build(&client, &folder, "-t ignored").expect_success();
        let list = client.ok("run --rm ignored cat /list");
        assert!(list.contains("./keep.log") && list.contains("./sub/deep/open"), "{list}");
        assert!(!list.contains("a.log") && !list.contains("secret"), "{list}");
    }
}

#[test]
fn standard_input_may_be_a_dockerfile_or_an_archive() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run_with_input(["build", "-t", "piped", "-"], b"FROM busybox\nRUN echo piped > /how\n")
            .expect_success();
        assert_eq!(client.ok("run --rm piped cat /how"), "piped");
        let folder = context(&daemon, &client.name(), "FROM busybox\nCOPY file /how\n", &[("file", "tar")]);
        let tar =
            std::process::Command::new("tar").args(["cz", "."]).current_dir(&folder).output().expect("tar");
        client.run_with_input(["build", "-t", "piped", "-"], &tar.stdout).expect_success();
        assert_eq!(client.ok("run --rm piped cat /how"), "tar");
    }
}

#[test]
fn another_dockerfile_may_be_named() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let folder = context(
            &daemon,
            &client.name(),
            "FROM nosuch\n",
            &[("other/Build", "FROM busybox\nRUN echo other > /how\n")],
        );
        let file = folder.join("other/Build");
        build(&client, &folder, &format!("-f {} -t other", file.display())).expect_success();
        assert_eq!(client.ok("run --rm other cat /how"), "other");
    }
}

#[test]
fn links_in_the_context_do_not_lead_out() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let folder = context(&daemon, "links", "FROM busybox\nCOPY link/passwd /stolen\n", &[]);
    std::os::unix::fs::symlink("/etc", folder.join("link")).expect("a link");
    build(&client, &folder, "-t stolen").expect_code(1);
}

fn sh(script: &str) {
    let status = std::process::Command::new("sh").args(["-c", script]).status().expect("sh");
    assert!(status.success(), "{script}");
}

#[test]
fn a_context_may_be_named_by_its_address() {
    let daemon = Daemon::start();
    let folder = daemon.scratch("repository");
    std::fs::create_dir_all(folder.join("sub")).expect("folder");
    std::fs::write(folder.join("Dockerfile"), "FROM busybox\nCOPY word /word\n").expect("write");
    std::fs::write(folder.join("word"), "top").expect("write");
    std::fs::write(folder.join("sub/Dockerfile"), "FROM busybox\nCOPY word /word\n").expect("write");
    std::fs::write(folder.join("sub/word"), "below").expect("write");
    let archive = daemon.scratch("served").join("context.tar.gz");
    sh(&format!("tar czf {} -C {} .", archive.display(), folder.display()));
    sh(&format!(
        "cd {} && git init -q -b main . && git add . && git -c user.name=t -c user.email=t@example.com commit -qm x",
        folder.display()
    ));
    let server = web::serve(daemon.scratch("served"));
    std::fs::write(daemon.scratch("served").join("lone"), "FROM busybox\nLABEL lone=yes\n").expect("write");
    std::fs::write(daemon.scratch("served").join("noise"), [0_u8, 255, 1, 254]).expect("write");
    // Docker's client fetches by itself; the daemon does for Dray's and for SDKs.
    for client in daemon.clients() {
        client.ok(&format!("build -q -t archived http://{server}/context.tar.gz"));
        assert_eq!(client.ok("run --rm archived cat /word"), "top", "{}", client.name());
        client.ok(&format!("build -q -t lone http://{server}/lone"));
        assert_eq!(client.ok("inspect -f {{.Config.Labels.lone}} lone"), "yes");
        client.sh(&format!("build http://{server}/missing")).expect_code(1).expect_error("404");
    }
    // A repository as a plain web server has it.
    sh(&format!(
        "git clone -q --bare {} {served}/repository.git && git -C {served}/repository.git update-server-info",
        folder.display(),
        served = daemon.scratch("served").display()
    ));
    let client = daemon.dray();
    client
        .sh(&format!("build http://{server}/noise"))
        .expect_code(1)
        .expect_error("noise: neither an archive");
    let repository = format!("/build?t=cloned&remote=http://{server}/repository.git%23main:sub");
    let answer = http::unix_request(&daemon.socket(), "POST", &repository, None).expect("an answer");
    assert!(answer.text().contains("Successfully tagged cloned:latest"), "{}", answer.text());
    assert_eq!(client.ok("run --rm cloned cat /word"), "below");
    let nowhere = "/build?remote=git://127.0.0.1:1/x.git";
    let answer = http::unix_request(&daemon.socket(), "POST", nowhere, None).expect("an answer");
    assert!(answer.text().contains("unable to prepare context"), "{}", answer.text());
    let contexts = daemon.data_root().join("build/contexts");
    eventually("no context is left", || std::fs::read_dir(&contexts).map_or(0, Iterator::count) == 0);
}
