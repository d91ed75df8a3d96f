//! `--build-context`: contexts by name, through Dray's client and through buildx.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use dray_harness::Daemon;

use super::{build, buildx, context};

#[test]
fn a_folder_stands_in_for_stages_and_images() {
    let daemon = Daemon::start();
    let dockerfile = "FROM nosuchimage AS tools\nRUN exit 1\nFROM busybox\nCOPY --from=tools /sub/tool /tool\n\
                      COPY --from=assets . /assets/\nRUN --mount=type=bind,from=assets,target=/m cp /m/page /mounted\n\
                      COPY main /main\n";
    let folder = context(&daemon, "main", dockerfile, &[("main", "m")]);
    let tools = daemon.scratch("tools");
    fs::create_dir(tools.join("sub")).expect("folder");
    fs::write(tools.join("sub/tool"), "t").expect("file");
    let assets = daemon.scratch("assets");
    for (name, text) in [("page", "p"), ("page.log", "l"), (".dockerignore", "*.log\n")] {
        fs::write(assets.join(name), text).expect("file");
    }
    let flags = format!(
        "--build-context tools={} --build-context assets={} -t named",
        tools.display(),
        assets.display()
    );
    for client in [daemon.dray(), buildx(&daemon)] {
        build(&client, &folder, &flags).expect_success();
        let docker = daemon.docker();
        let seen =
            docker.run(["run", "--rm", "named", "sh", "-c", "cat /tool /main /mounted; ls -A /assets"]);
        assert_eq!(seen.expect_success().stdout, "tmp.dockerignore\npage\n");
        // What is in the folder decides what is cached.
        fs::write(assets.join("page"), "q").expect("file");
        build(&client, &folder, &flags).expect_success();
        assert_eq!(docker.ok("run --rm named cat /mounted"), "q");
        fs::write(assets.join("page"), "p").expect("file");
        docker.ok("rmi named");
    }
    let contexts = daemon.data_root().join("build/contexts");
    assert_eq!(fs::read_dir(contexts).map_or(0, Iterator::count), 0, "a context is left");
}

#[test]
fn images_and_repositories_are_contexts_too() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "image", "FROM base\nCOPY --from=code file /file\n", &[]);
    let code = daemon.scratch("code");
    fs::write(code.join("file"), "from git").expect("file");
    let serve = daemon.scratch("serve");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(&code).args(args);
        assert!(command.output().expect("git").status.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&["clone", "-q", "--bare", ".", &serve.join("code.git").to_string_lossy()]);
    let server = GitServer::start(&serve);
    let flags = format!(
        "--build-context base=docker-image://busybox --build-context code=git://127.0.0.1:{}/code.git -t image",
        server.port
    );
    for client in [daemon.dray(), buildx(&daemon)] {
        build(&client, &folder, &flags).expect_success();
        assert_eq!(daemon.docker().ok("run --rm image cat /file"), "from git");
        daemon.docker().ok("rmi image");
    }
    let refused = build(&daemon.dray(), &folder, "--build-context base=zip://x").expect_code(1);
    assert!(refused.output().contains("unsupported context source zip for base"), "{}", refused.output());
    let missing = build(&daemon.dray(), &folder, "--build-context base=/no/such/folder").expect_code(1);
    missing.expect_error("failed to get build context base: /no/such/folder: no such directory");
}

/// `git daemon` over a folder.
struct GitServer {
    child: std::process::Child,
    port: u16,
}

impl GitServer {
    fn start(root: &std::path::Path) -> GitServer {
        let port = dray_harness::registry::free_port();
        let child = Command::new("git")
            .args(["daemon", "--export-all", "--listen=127.0.0.1", "--reuseaddr"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", root.display()))
            .arg(root)
            .process_group(0)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("git daemon");
        let server = GitServer { child, port };
        dray_harness::client::eventually("git daemon listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // In a group of its own: what git has started ends with it.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}
