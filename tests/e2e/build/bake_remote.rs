//! `docker buildx bake` and `dray bake` of an address: a repository, an archive, a lone file; what is of this machine, and
//! what has to be allowed.

use std::fs;
use std::path::Path;
use std::process::Command;

use dray_harness::Daemon;
use dray_harness::client::{Client, Finished, eventually, finish};
use dray_harness::git::GitServer;
use dray_harness::web;

use super::{build, buildx, context};

/// A repository: an application beside its bake file, another below with a library by name, and one whose context is
/// what the command line says.
const FILES: [(&str, &str); 8] = [
    ("Dockerfile", "FROM busybox\nCOPY word /word\nCMD [\"cat\", \"/word\"]\n"),
    ("word", "top"),
    ("app/Dockerfile", "FROM busybox\nCOPY word /word\nCOPY --from=lib . /lib\n"),
    ("app/word", "below"),
    ("lib/word", "library"),
    ("docker-bake.hcl", BAKE),
    ("other.hcl", "target \"default\" {\n  tags = [\"remote:other\"]\n}\n"),
    ("reach.hcl", REACH),
];

const BAKE: &str = r#"
variable "TAG" { default = "of-the-repository" }
group "default" { targets = ["top", "below"] }
target "top" {
  tags = ["remote:${TAG}"]
}
target "below" {
  context  = "app"
  contexts = { lib = "lib" }
  tags     = ["remote:below"]
}
target "inline" {
  context           = "app"
  dockerfile-inline = "FROM scratch\nCOPY word /inline\n"
  output            = ["out"]
}
target "here" {
  context    = BAKE_CMD_CONTEXT
  dockerfile = "cwd://Build"
  contexts   = { mine = "cwd://mine" }
  tags       = ["remote:here"]
}
"#;

/// What a bake file of somebody else might try.
const REACH: &str = r#"
target "above" { context = "cwd://.." }
target "file" { dockerfile = "/etc/passwd" }
target "named" { contexts = { x = "cwd:///etc" } }
target "secret" { secret = ["id=x,src=/etc/shadow"] }
target "layout" { contexts = { x = "oci-layout:///var/lib/x" } }
target "host" { network = "host" }
target "mine" { context = BAKE_CMD_CONTEXT }
"#;

/// Bakes in a folder, with further variables.
fn bake_with(client: &Client, folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Finished {
    let mut command = client.command([&["bake"], args].concat());
    command.current_dir(folder).envs(variables.iter().copied());
    finish(command, b"")
}

fn bake(client: &Client, folder: &Path, args: &[&str]) -> Finished {
    bake_with(client, folder, &[], args)
}

/// No context that was fetched is left.
fn nothing_is_left(daemon: &Daemon) {
    let contexts = daemon.data_root().join("build/contexts");
    eventually("no context is left", || fs::read_dir(&contexts).map_or(0, Iterator::count) == 0);
}

#[test]
fn a_repository_is_baked() {
    let daemon = Daemon::start();
    let docker = daemon.docker();
    let server = GitServer::start();
    server.commit("code.git", &FILES);
    let address = format!("{}#main", server.address("code.git"));
    for client in [daemon.dray(), buildx(&daemon)] {
        let here = context(
            &daemon,
            &format!("here-{}", client.name()),
            "FROM scratch\n",
            &[
                ("Build", "FROM busybox\nCOPY own /own\nCOPY --from=mine . /mine\n"),
                ("own", "of this machine"),
                ("mine/file", "mine"),
                ("mine.hcl", "variable \"TAG\" { default = \"changed\" }\n"),
            ],
        );
        bake(&client, &here, &["--progress=plain", &address]).expect_success();
        assert_eq!(docker.ok("run --rm remote:of-the-repository"), "top");
        assert_eq!(docker.ok("run --rm remote:below cat /word"), "below");
        // buildx of this version has the folder itself in the context.
        let library = docker.ok("run --rm remote:below find /lib -name word -exec cat {} ;");
        assert_eq!(library, "library");
        bake(&client, &here, &["--progress=plain", &address, "here"]).expect_success();
        assert_eq!(docker.ok("run --rm remote:here cat /own"), "of this machine");
        assert_eq!(docker.ok("run --rm remote:here find /mine -type f"), "/mine/file");
        bake(&client, &here, &["-f", "docker-bake.hcl", "-f", "cwd://mine.hcl", &address, "top"])
            .expect_success();
        assert_eq!(docker.ok("run --rm remote:changed"), "top");
        bake(&client, &here, &["-f", "other.hcl", &address]).expect_success();
        assert_eq!(docker.ok("run --rm remote:other"), "top");
        bake(&client, &here, &[&address, "inline"]).expect_success();
        assert_eq!(fs::read_to_string(here.join("out/inline")).expect("the output"), "below");
        // The second address is what files know as the command's context.
        let other = format!("{}:app", address);
        let second = bake(&client, &here, &["-f", "reach.hcl", "--print", &address, &other, "mine"]);
        let printed = second.expect_success().stdout;
        assert!(printed.contains(&format!("\"context\": \"{other}\"")), "{printed}");
        let missing = bake(&client, &here, &["-f", "nothing.hcl", &address]).expect_code(1);
        missing.expect_error("nothing.hcl: no such file or directory");
        docker.ok("rmi remote:of-the-repository remote:below remote:here remote:changed remote:other");
        docker.ok("builder prune -af");
    }
    nothing_is_left(&daemon);
    let sub = format!("{address}:app");
    let none = bake(&daemon.dray(), &daemon.scratch("none"), &[&sub]).expect_code(1);
    none.expect_error("couldn't find a bake definition");
}

#[test]
fn both_clients_print_the_same_of_a_repository() {
    let daemon = Daemon::start();
    let server = GitServer::start();
    server.commit("code.git", &FILES);
    let address = format!("{}#main", server.address("code.git"));
    let here = daemon.scratch("print");
    for args in [&["top"][..], &["here"], &["top", "--set=*.args.A=1"]] {
        let args = [&["--print", &address], args].concat();
        let of = |client: &Client| bake(client, &here, &args).expect_success().stdout;
        assert_eq!(of(&daemon.dray()), of(&buildx(&daemon)), "{args:?}");
    }
    for list in ["targets", "type=variables,format=json"] {
        let list = format!("--list={list}");
        let of = |client: &Client| bake(client, &here, &[&list, &address]).expect_success().stdout;
        assert_eq!(of(&daemon.dray()), of(&buildx(&daemon)), "{list}");
    }
    let below = bake(&daemon.dray(), &here, &["--print", &address, "below"]).expect_success().stdout;
    assert!(below.contains(&format!("\"context\": \"{address}:app\"")), "{below}");
}

#[test]
fn files_of_others_get_nothing_of_this_machine_unasked() {
    let daemon = Daemon::start();
    let server = GitServer::start();
    server.commit("code.git", &FILES);
    let address = server.address("code.git");
    let here = context(&daemon, "reach/inside", "FROM scratch\n", &[]);
    let asks = [
        ("above", "fs.read=.."),
        ("file", "fs.read=/etc/passwd"),
        ("named", "fs.read=/etc"),
        ("secret", "fs.read=/etc/shadow"),
        ("host", "network.host"),
    ];
    for client in [daemon.dray(), buildx(&daemon)] {
        for (target, allow) in asks {
            let refused = bake(&client, &here, &["-f", "reach.hcl", &address, target]).expect_code(1);
            refused.expect_error(&format!("--allow={allow}")).expect_error("additional privileges requested");
        }
        // A Dockerfile beside the command is not meant by a file of others.
        let refused = bake(&client, &here, &["-f", "reach.hcl", &address, "mine"]).expect_code(1);
        refused.expect_error("reading a dockerfile for a remote build invocation is currently not supported");
        let trusting = [("BAKE_ALLOW_REMOTE_FS_ACCESS", "1")];
        let args = ["-f", "reach.hcl", &address, "named"];
        bake_with(&client, &here, &trusting, &args).expect_success();
        let args = ["-f", "reach.hcl", &address, "host"];
        bake_with(&client, &here, &trusting, &args).expect_code(1).expect_error("--allow=network.host");
    }
    let layout = bake(&daemon.dray(), &here, &["-f", "reach.hcl", &address, "layout"]).expect_code(1);
    layout.expect_error("additional privileges requested");
    nothing_is_left(&daemon);
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status().expect("sh");
    assert!(status.success(), "{script}");
}

#[test]
fn files_and_archives_behind_addresses_are_baked() {
    let daemon = Daemon::start();
    let docker = daemon.docker();
    let (folder, served) = (daemon.scratch("packed"), daemon.scratch("served"));
    for (path, text) in FILES {
        fs::create_dir_all(folder.join(path).parent().expect("a parent")).expect("folders");
        fs::write(folder.join(path), text).expect("a file");
    }
    sh(&format!("tar czf {} -C {} .", served.join("all.tar.gz").display(), folder.display()));
    fs::write(served.join("lone.hcl"), "target \"default\" {\n  tags = [\"remote:lone\"]\n}\n")
        .expect("a file");
    fs::write(served.join("Build"), "FROM busybox\nCOPY own /\nLABEL of=address\n").expect("a file");
    let server = web::serve(served);
    let here = context(&daemon, "lone", "FROM busybox\nCOPY own /\n", &[("own", "of this machine")]);
    for client in [daemon.dray(), buildx(&daemon)] {
        // Only the file is elsewhere: paths in it are of this machine.
        bake(&client, &here, &[&format!("http://{server}/lone.hcl")]).expect_success();
        assert_eq!(docker.ok("run --rm remote:lone cat /own"), "of this machine");
        build(&client, &here, &format!("-f http://{server}/Build -t remote:built")).expect_success();
        assert_eq!(docker.ok("image inspect -f {{.Config.Labels.of}} remote:built"), "address");
        docker.ok("rmi remote:lone remote:built");
        docker.ok("builder prune -af");
        let missing = bake(&client, &here, &[&format!("http://{server}/none.hcl")]).expect_code(1);
        missing.expect_error("404 Not Found");
    }
    // buildx of this version asks for archives in a way that it refuses itself.
    bake(&daemon.dray(), &here, &[&format!("http://{server}/all.tar.gz")]).expect_success();
    assert_eq!(docker.ok("run --rm remote:of-the-repository"), "top");
    assert_eq!(docker.ok("run --rm remote:below cat /word /lib/word"), "belowlibrary");
    nothing_is_left(&daemon);
}

#[test]
fn a_repository_is_opened_by_a_token() {
    let daemon = Daemon::start();
    let docker = daemon.docker();
    let git = GitServer::start();
    git.commit("code.git", &FILES);
    sh(&format!("git -C {} update-server-info", git.folder("code.git").display()));
    let root = git.folder("code.git").parent().expect("a parent").to_owned();
    // The token `sesame` as a password.
    let server = web::serve_guarded(root, "basic eC1hY2Nlc3MtdG9rZW46c2VzYW1l");
    let address = format!("http://{server}/code.git#main");
    let here = daemon.scratch("closed");
    for client in [daemon.dray(), buildx(&daemon)] {
        bake(&client, &here, &[&address, "top"]).expect_code(1);
        let token = [("BUILDX_BAKE_GIT_AUTH_TOKEN", "sesame")];
        bake_with(&client, &here, &token, &[&address, "top"]).expect_success();
        assert_eq!(docker.ok("run --rm remote:of-the-repository"), "top");
        let mut command =
            client.command(["build", "--secret=id=GIT_AUTH_TOKEN,env=T", "-t", "closed", &address]);
        finish(
            {
                command.env("T", "sesame");
                command
            },
            b"",
        )
        .expect_success();
        assert_eq!(docker.ok("run --rm closed"), "top");
        docker.ok("rmi remote:of-the-repository closed");
        docker.ok("builder prune -af");
    }
    let stored =
        Command::new("grep").args(["-rl", "c2VzYW1l"]).arg(daemon.data_root()).output().expect("grep");
    assert!(stored.stdout.is_empty(), "the token is in {}", String::from_utf8_lossy(&stored.stdout));
}
