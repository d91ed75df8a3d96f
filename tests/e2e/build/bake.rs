//! `docker buildx bake` and `dray bake`: targets that are built upon each other, matrices and changes, and images in OCI
//! layouts as contexts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dray_harness::Daemon;
use dray_harness::client::{Client, Finished, eventually, finish, wait_within};

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

/// Bakes in a folder.
fn bake(client: &Client, folder: &Path, args: &[&str]) -> Finished {
    let mut command = client.command([&["bake", "--progress=plain"], args].concat());
    command.current_dir(folder);
    finish(command, b"")
}

/// Both clients: each with what is before `bake`, if anything is.
fn clients(daemon: &Daemon) -> [Client; 2] {
    [daemon.dray(), buildx(daemon)]
}

#[test]
fn a_target_is_built_upon_another() {
    let daemon = Daemon::start();
    for client in clients(&daemon) {
        let folder = context(
            &daemon,
            &format!("linked-{}", client.name()),
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
        bake(&client, &folder, &[]).expect_success();
        let docker = daemon.docker();
        assert_eq!(docker.ok("run --rm linked"), "base\npage");
        let environment = docker.ok("run --rm linked env");
        assert!(environment.contains("WHO=base"), "the base's environment is its own: {environment}");
        let image = docker.ok("image inspect -f {{.Id}} linked");
        let again = bake(&client, &folder, &[]).expect_success();
        assert!(again.stderr.matches(" CACHED").count() >= 4, "{}", again.stderr);
        assert_eq!(docker.ok("image inspect -f {{.Id}} linked"), image);
        assert_eq!(docker.ok("images -q --filter dangling=true"), "", "what is between has no record");
        fs::write(folder.join("assets/page"), "changed").expect("a file");
        bake(&client, &folder, &[]).expect_success();
        assert_eq!(docker.ok("run --rm linked"), "base\nchanged");
        docker.ok("rmi linked");
        docker.ok("builder prune -af");
        docker.ok("image prune -f");
    }
}

#[test]
fn what_was_built_upon_goes_also_when_it_is_interrupted() {
    let daemon = Daemon::start();
    let docker = daemon.docker();
    let folder = context(&daemon, "interrupted", "FROM base\nRUN sleep 300\n", &[]);
    let file = "target \"base\" { dockerfile-inline = \"FROM busybox\\nRUN echo base > /made\\n\" }\n\
                target \"app\" { contexts = { base = \"target:base\" } }\n";
    fs::write(folder.join("docker-bake.hcl"), file).expect("the bake file");
    let mut command = daemon.dray().command(["bake", "--progress=plain", "app"]);
    command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut baking = command.spawn().expect("dray bake");
    let dangling = || docker.ok("images -aq --filter dangling=true").lines().count();
    eventually("the base is there", || dangling() == 1);
    let pid = rustix::process::Pid::from_child(&baking);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("interrupt");
    let status = wait_within(&mut baking, Duration::from_secs(60)).expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert_eq!(dangling(), 0);
}

/// A base, a matrix upon it, and files of one of the matrix.
const MATRIX: &str = r#"
variable "WHO" { default = "world" }
group "default" { targets = ["app", "files"] }
target "base" {
  dockerfile-inline = "FROM busybox\nARG FROM=base\nRUN echo $FROM > /made\n"
}
target "app" {
  name     = "app-${n}"
  matrix   = { n = ["one", "two"] }
  contexts = { base = "target:base" }
  dockerfile-inline = <<-EOT
    FROM base
    ARG WHO
    RUN echo "$(cat /made) $${WHO}" > /both
    CMD ["cat", "/both"]
  EOT
  args   = { WHO = "${WHO}-${n}" }
  tags   = ["app:${n}"]
  labels = { "of" = n }
}
target "files" {
  contexts          = { app = "target:app-one" }
  dockerfile-inline = "FROM scratch\nCOPY --from=app /both /both\n"
  output            = ["out"]
}
"#;

#[test]
fn a_matrix_is_built_upon_a_target_and_changed() {
    let daemon = Daemon::start();
    let docker = daemon.docker();
    for client in clients(&daemon) {
        let folder = context(&daemon, &format!("matrix-{}", client.name()), "FROM scratch\n", &[]);
        fs::write(folder.join("docker-bake.hcl"), MATRIX).expect("the bake file");
        let args =
            ["--set=base.args.FROM=changed", "--set=app-two.tags+=app:second", "--metadata-file=meta.json"];
        let mut command = client.command([&["bake", "--progress=plain"][..], &args].concat());
        command.current_dir(&folder).env("WHO", "all");
        let baked = finish(command, b"").expect_success();
        for step in ["[base ", "[app-one ", "[app-two ", "[files "] {
            assert!(baked.stderr.contains(step), "no {step} in {}", baked.stderr);
        }
        assert_eq!(docker.ok("run --rm app:one"), "changed all-one");
        assert_eq!(docker.ok("run --rm app:second"), "changed all-two");
        assert_eq!(docker.ok("image inspect -f {{.Config.Labels.of}} app:two"), "two");
        assert_eq!(
            fs::read_to_string(folder.join("out/both")).expect("the file put out"),
            "changed all-one\n"
        );
        let metadata = fs::read_to_string(folder.join("meta.json")).expect("the metadata");
        let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
        let id = docker.ok("image inspect -f {{.Id}} app:one");
        assert_eq!(metadata["app-one"]["containerimage.config.digest"], id, "{metadata}");
        assert_eq!(docker.ok("images -q --filter dangling=true"), "", "what is between has no record");
        docker.ok("rmi app:one app:two app:second");
        docker.ok("builder prune -af");
    }
}

#[test]
fn what_is_wrong_names_the_target_or_the_place() {
    let daemon = Daemon::start();
    let dray = daemon.dray();
    let file = "target \"ok\" { dockerfile-inline = \"FROM busybox\\nRUN sleep 60\\n\" }\n\
                target \"broken\" { dockerfile-inline = \"FROM busybox\\nRUN exit 3\\n\" }\n\
                target \"host\" {\n  network = \"host\"\n  dockerfile-inline = \"FROM busybox\\nRUN true\\n\"\n}\n\
                target \"above\" { context = \"..\" }\n";
    let folder = context(&daemon, "wrong", "FROM scratch\n", &[("docker-bake.hcl", file)]);
    let broken = bake(&dray, &folder, &["ok", "broken"]).expect_code(1);
    broken.expect_error("target broken: ");
    bake(&dray, &folder, &["nosuch"]).expect_code(1).expect_error("failed to find target nosuch");
    bake(&dray, &folder, &["--set=nosuch.tags=x", "ok"])
        .expect_code(1)
        .expect_error("could not find any target matching 'nosuch'");
    bake(&dray, &folder, &["host"]).expect_code(1).expect_error("Pass \"--allow=network.host\"");
    bake(&dray, &folder, &["--allow=network.host", "host"]).expect_success();
    bake(&dray, &folder, &["above"]).expect_code(1).expect_error("--allow=fs.read=..");
    let checked = bake(&dray, &folder, &["--check", "broken"]).expect_success();
    checked.expect_output("broken\n").expect_output("Check complete, no warnings found.");
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
