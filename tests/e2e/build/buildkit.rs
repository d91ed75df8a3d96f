//! BuildKit's API, driven by Docker's buildx and by the BuildKit client inside Docker's own CLI.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use dray_harness::{Client, Daemon, Finished, client, fixture, host};

use super::{buildx, context};

fn build(daemon: &Daemon, folder: &Path, flags: &str) -> Finished {
    let folder = folder.to_string_lossy();
    let words = ["build", "--progress=plain"].into_iter().chain(flags.split_whitespace());
    buildx(daemon).run(words.chain([folder.as_ref()]))
}

const STAGES: &str = "ARG BASE=busybox\nFROM $BASE AS one\nARG WHO=nobody\nENV GREETING=hello\n\
                      RUN echo $GREETING $WHO > /greeting && cat /greeting\n\
                      FROM one AS two\nWORKDIR /app\nCOPY . .\nCOPY --from=one /greeting /copied\n\
                      RUN find /app -type f | sort > /list\nCMD [\"cat\", \"/copied\", \"/list\"]\n";

#[test]
fn a_dockerfile_of_stages_is_built_and_cached() {
    let daemon = Daemon::start();
    let files = [(".dockerignore", "*.log\n!keep.log\n"), ("a.log", "x"), ("keep.log", "x"), ("sub/b", "x")];
    let folder = context(&daemon, "stages", STAGES, &files);
    let big = vec![7_u8; (3 << 20) + 5];
    fs::write(folder.join("sub/big"), &big).expect("a large file");
    fs::hard_link(folder.join("sub/b"), folder.join("sub/c")).expect("a hard link");
    std::os::unix::fs::symlink("sub/b", folder.join("link")).expect("a link");
    let first = build(&daemon, &folder, "--build-arg WHO=dray -t one:1 -t localhost/two").expect_success();
    for text in ["[one 2/2] RUN", "hello dray", "[two 2/4] COPY . .", "naming to docker.io/library/one:1"] {
        assert!(first.stderr.contains(text), "{text}: {}", first.stderr);
    }
    let client = daemon.docker();
    let list = client.ok("run --rm localhost/two");
    let found = "hello dray\n/app/.dockerignore\n/app/Dockerfile\n/app/keep.log\n/app/sub/b\n/app/sub/big\n/app/sub/c";
    assert_eq!(list, found);
    assert!(client.ok("run --rm one:1 sha256sum /app/sub/big").starts_with(&hex_sha256(&big)));
    assert_eq!(client.ok("run --rm one:1 cat /app/link"), "x");
    let image = client.ok("image inspect -f {{.Id}} one:1");
    let again = build(&daemon, &folder, "--build-arg WHO=dray -t again").expect_success();
    assert_eq!(again.stderr.matches(" CACHED").count(), 5, "{}", again.stderr);
    assert_eq!(client.ok("image inspect -f {{.Id}} again"), image);
}

fn hex_sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[test]
fn flags_do_what_they_say() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "flags", "FROM nosuch\n", &[("other/Build", STAGES)]);
    let file = folder.join("other/Build").display().to_string();
    let id = folder.join("id").display().to_string();
    let flags = format!("-f {file} --target one --no-cache --load --label a=b --iidfile {id} -t flags");
    let built = build(&daemon, &folder, &flags).expect_success();
    assert!(built.stderr.contains("hello nobody"), "{}", built.stderr);
    let client = daemon.docker();
    let inspected = client.ok("image inspect -f {{.Id}},{{.Config.Labels.a}} flags");
    assert_eq!(inspected, format!("{},b", fs::read_to_string(&id).expect("the id")));
    let quiet = buildx(&daemon).run(["build", "-q", "-f", &file, "--target", "one", "other"]);
    quiet.expect_error("path \"other\" not found");
    let folder = folder.to_string_lossy();
    let quiet = buildx(&daemon).run(["build", "-q", "-f", &file, "--target", "one", folder.as_ref()]);
    assert!(quiet.expect_success().stdout.starts_with("sha256:"));
    let piped = buildx(&daemon)
        .run_with_input(["build", "-t", "piped", "-"], b"FROM busybox\nRUN echo piped > /how\n");
    piped.expect_success();
    assert_eq!(client.ok("run --rm piped cat /how"), "piped");
}

#[test]
fn failures_show_the_lines_of_the_dockerfile() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "fails", "FROM busybox\nRUN echo before; \\\n  exit 3\n", &[]);
    let failed = build(&daemon, &folder, "").expect_code(1);
    for text in [
        "   2 | >>> RUN echo before; \\",
        "   3 | >>>   exit 3",
        "did not complete successfully: exit code: 3",
    ] {
        assert!(failed.stderr.contains(text), "{text}: {}", failed.stderr);
    }
    let folder = context(&daemon, "typo", "FROM busybox\nRUNN x\n", &[]);
    let failed = build(&daemon, &folder, "").expect_code(1);
    assert!(failed.stderr.contains("   2 | >>> RUNN x"), "{}", failed.stderr);
    let sentence = "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)";
    assert!(failed.stderr.contains(sentence), "{}", failed.stderr);
    fs::remove_file(folder.join("Dockerfile")).expect("the Dockerfile");
    build(&daemon, &folder, "").expect_code(1).expect_error("open Dockerfile: no such file or directory");
    let folder = context(&daemon, "other", "# syntax=example.org/frontend\nFROM busybox\n", &[]);
    build(&daemon, &folder, "").expect_code(1).expect_error("\"example.org/frontend\" is not supported");
}

#[test]
fn secrets_are_seen_by_their_step_alone() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\n\
                      RUN --mount=type=secret,id=token,mode=0440 rev /run/secrets/token > /seen && test ! -w /run/secrets/token || true\n\
                      RUN --mount=type=secret,id=token,env=TOKEN test ${#TOKEN} -gt 10 && test ! -e /run/secrets/token\n\
                      RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n\
                      RUN test -z \"$TOKEN\" && test ! -e /run/secrets/token\n";
    let folder = context(&daemon, "secret", dockerfile, &[]);
    let content = "rather-unlikely-to-be-elsewhere";
    let file = daemon.scratch("secrets").join("token");
    fs::write(&file, content).expect("the secret");
    let flags = format!("--secret id=token,src={} -t secret", file.display());
    build(&daemon, &folder, &flags).expect_success();
    let client = daemon.docker();
    assert_eq!(client.ok("run --rm secret rev /seen"), content);
    let found = Command::new("grep").args(["-rl", content]).arg(daemon.data_root()).output().expect("grep");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    let dockerfile = "FROM busybox\nRUN --mount=type=secret,id=none,required=true true\n";
    let folder = context(&daemon, "required", dockerfile, &[]);
    build(&daemon, &folder, "").expect_code(1).expect_error("secret none: not found");
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "slow", "FROM busybox\nRUN touch /started; exec sleep 86399\n", &[]);
    let mut command = buildx(&daemon).command(["build", "-t", "slow"]);
    let mut child = command.arg(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("buildx");
    let steps = daemon.run_root().join("b");
    let running = || fs::read_dir(&steps).is_ok_and(|entries| entries.count() > 0);
    client::eventually("the step runs", running);
    child.kill().expect("kill");
    child.wait().expect("wait");
    client::eventually("the step is gone", || !running());
    let contexts = daemon.data_root().join("build/contexts");
    client::eventually("the context is gone", || {
        fs::read_dir(&contexts).map_or(true, |entries| entries.count() == 0)
    });
    assert!(host::processes_naming(&daemon.run_root().join("b").display().to_string()).is_empty());
    assert_eq!(daemon.docker().ok("images -q slow"), "");
}

#[test]
fn docker_s_own_cli_builds_with_buildkit() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "cli", STAGES, &[("file", "x")]);
    let client = daemon.docker();
    // With the plugin, Docker since 23.0 hands the build to it; before, the CLI has a client of its own.
    let config = daemon.scratch("cli-config");
    let plugins = config.join("cli-plugins");
    fs::create_dir_all(&plugins).expect("plugins");
    std::os::unix::fs::symlink(fixture::buildx(), plugins.join("docker-buildx")).expect("the plugin");
    let programs = ["/usr/local/bin/docker", "/usr/bin/docker"];
    for (n, program) in programs.iter().filter(|program| Path::new(program).exists()).enumerate() {
        let tag = format!("cli{n}");
        let mut command = Client::new(program, daemon.host(), &config).command([
            "build",
            "--progress=plain",
            "--build-arg",
            "WHO=cli",
            "-t",
            &tag,
        ]);
        command.arg(&folder).env_remove("DOCKER_BUILDKIT");
        let built = client::finish(command, b"").expect_success();
        assert!(
            format!("{}{}", built.stdout, built.stderr).contains("[two 2/4] COPY . ."),
            "{}",
            built.stderr
        );
        assert!(client.ok(&format!("run --rm {tag}")).starts_with("hello cli\n"));
    }
}

#[test]
fn bake_shares_one_session_among_its_targets() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "bake", STAGES, &[("file", "x")]);
    let file = "group \"default\" {\n  targets = [\"a\", \"b\"]\n}\ntarget \"a\" {\n  context = \"CTX\"\n  tags = [\"baked-a\"]\n}\n\
                target \"b\" {\n  context = \"CTX\"\n  target = \"one\"\n  tags = [\"baked-b\"]\n}\n";
    let path = daemon.scratch("file").join("docker-bake.hcl");
    fs::write(&path, file.replace("CTX", &folder.to_string_lossy())).expect("the bake file");
    let allow = format!("--allow=fs.read={}", folder.display());
    let path = path.to_string_lossy();
    buildx(&daemon).run(["bake", "--progress=plain", &allow, "-f", path.as_ref()]).expect_success();
    let client = daemon.docker();
    assert!(client.ok("run --rm baked-a").starts_with("hello nobody\n/app/Dockerfile"));
    assert_eq!(client.ok("run --rm baked-b cat /greeting"), "hello nobody");
}
