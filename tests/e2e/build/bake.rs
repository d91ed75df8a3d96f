//! `docker buildx bake` with targets that are built upon each other, and images in OCI layouts as contexts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dray_harness::Daemon;

use super::{build, buildx, context};

/// A folder with the files of an image that is in no store of the daemon.
fn layout(daemon: &Daemon) -> PathBuf {
    let made = context(daemon, "made", "FROM busybox\nENV MADE=yes\nRUN echo of the layout > /from\n", &[]);
    let out = daemon.scratch("layouts");
    let archive = out.join("made.tar");
    build(&buildx(daemon), &made, &format!("-t made:v1 --output type=oci,dest={}", archive.display()))
        .expect_success();
    let folder = out.join("made");
    fs::create_dir_all(&folder).expect("a folder");
    let unpacked = Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(&folder).status();
    assert!(unpacked.expect("tar").success());
    daemon.docker().ok("builder prune -af");
    folder
}

#[test]
fn a_target_is_built_upon_another() {
    let daemon = Daemon::start();
    let folder = context(
        &daemon,
        "linked",
        "FROM base\nCOPY --from=assets /page /page\nRUN cat /made /page > /both\nCMD [\"cat\", \"/both\"]\n",
        &[
            ("base/Dockerfile", "FROM busybox\nENV WHO=base\nRUN echo $WHO > /made\n"),
            ("assets/Dockerfile", "FROM scratch\nCOPY page /\n"),
            ("assets/page", "page"),
        ],
    );
    let file = "group \"default\" { targets = [\"app\"] }\n\
                target \"base\" { context = \"base\" }\n\
                target \"assets\" { context = \"assets\" }\n\
                target \"app\" {\n  contexts = { base = \"target:base\", assets = \"target:assets\" }\n  tags = [\"linked\"]\n}\n";
    fs::write(folder.join("docker-bake.hcl"), file).expect("the bake file");
    let bake = || {
        let mut command = buildx(&daemon).command(["bake", "--progress=plain"]);
        command.current_dir(&folder);
        dray_harness::client::finish(command, b"").expect_success()
    };
    bake();
    let client = daemon.docker();
    assert_eq!(client.ok("run --rm linked"), "base\npage");
    let environment = client.ok("run --rm linked env");
    assert!(environment.contains("WHO=base"), "the base's environment is its own: {environment}");
    let image = client.ok("image inspect -f {{.Id}} linked");
    let again = bake();
    assert!(again.stderr.matches(" CACHED").count() >= 4, "{}", again.stderr);
    assert_eq!(client.ok("image inspect -f {{.Id}} linked"), image);
    assert_eq!(client.ok("images -q --filter dangling=true"), "", "what is between has no record");
    fs::write(folder.join("assets/page"), "changed").expect("a file");
    bake();
    assert_eq!(client.ok("run --rm linked"), "base\nchanged");
}

#[test]
fn an_image_in_a_folder_is_a_context() {
    let daemon = Daemon::start();
    let folder = layout(&daemon);
    let main = context(&daemon, "main", "FROM base\nRUN cat /from > /seen && echo $MADE >> /seen\n", &[]);
    let before = daemon.docker().ok("images -aq");
    for client in [daemon.dray(), buildx(&daemon)] {
        let flags = format!("--build-context base=oci-layout://{}:v1 -t upon", folder.display());
        build(&client, &main, &flags).expect_success();
        let docker = daemon.docker();
        assert_eq!(docker.ok("run --rm upon cat /seen"), "of the layout\nyes");
        docker.ok("rmi upon");
        docker.ok("builder prune -af");
        assert_eq!(docker.ok("images -aq"), before, "an image stays behind");
    }
    let copy = context(&daemon, "copy", "FROM scratch\nCOPY --from=base /from /\n", &[]);
    let flags = format!("--build-context base=oci-layout://{}:v1 -t copied", folder.display());
    build(&daemon.dray(), &copy, &flags).expect_success();
    let missing = format!("--build-context base=oci-layout://{}:nothing", folder.display());
    let refused = build(&daemon.dray(), &copy, &missing).expect_code(1);
    refused.expect_error("could not be resolved: no \"nothing\" in it");
    let layers = fs::read_dir(folder.join("blobs/sha256")).expect("blobs").flatten();
    let largest = layers.max_by_key(|file| file.metadata().map_or(0, |data| data.len())).expect("a blob");
    fs::write(largest.path(), "other bytes").expect("a blob");
    build(&daemon.dray(), &copy, &flags.replace("copied", "broken")).expect_code(1);
    assert_eq!(daemon.docker().ok("images -q broken"), "");
}
