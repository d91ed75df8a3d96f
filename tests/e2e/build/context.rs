//! The context: .dockerignore, archives on standard input, other Dockerfiles.

use dray_harness::Daemon;

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
