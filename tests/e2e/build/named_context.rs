//! `--build-context`: contexts by name, through Dray's client and through buildx.

use std::fs;

use dray_harness::Daemon;
use dray_harness::git::GitServer;

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
    let server = GitServer::start();
    server.commit("code.git", &[("file", "from git")]);
    let flags = format!(
        "--build-context base=docker-image://busybox --build-context code={} -t image",
        server.address("code.git")
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
