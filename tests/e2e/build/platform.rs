//! Builds for several platforms, from buildx, buildctl's terms and `dray build`: the steps of other platforms run in
//! QEMU, the result is an index.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dray_harness::fixture::{self, FOREIGN, OWN};
use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon, Finished};
use serde_json::Value;

use super::output::{blob, entries, layout};
use super::{buildx, context};

/// Both clients.
fn builders(daemon: &Daemon) -> [Client; 2] {
    [buildx(daemon), daemon.dray()]
}

fn build(client: &Client, folder: &Path, flags: &str) -> Finished {
    let folder = folder.to_string_lossy();
    let words = ["build", "--progress=plain"].into_iter().chain(flags.split_whitespace());
    client.run(words.chain([folder.as_ref()]))
}

fn both() -> String {
    format!("linux/{OWN},linux/{FOREIGN}")
}

/// What `uname -m` says there.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

/// Puts `base:1` into a registry, an index of two platforms.
fn base(daemon: &Daemon, registry: &Registry) -> String {
    let (client, name) = (daemon.docker(), format!("{}/base", registry.host()));
    for (archive, image, tag) in
        [(fixture::busybox(), "busybox", OWN), (fixture::foreign_busybox(), "busybox:foreign", FOREIGN)]
    {
        client.run(["load", "-i", archive.to_str().expect("a path")]).expect_success();
        client.ok(&format!("tag {image} {name}:{tag}"));
        client.ok(&format!("push {name}:{tag}"));
        client.ok(&format!("rmi {name}:{tag}"));
    }
    client.ok("rmi busybox:foreign");
    let words = format!("imagetools create -t {name}:1 {name}:{OWN} {name}:{FOREIGN}");
    buildx(daemon).sh(&words).expect_success();
    format!("{name}:1")
}

/// The platforms of an index's images.
fn platforms(index: &Value) -> BTreeSet<String> {
    let manifests = index["manifests"].as_array().unwrap_or_else(|| panic!("no index: {index}"));
    let platform = |entry: &Value| {
        let of = |key: &str| entry["platform"][key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", of("os"), of("architecture"))
    };
    manifests.iter().map(platform).filter(|platform| platform != "unknown/unknown").collect()
}

/// binfmt_misc, mounted as hosts have it.
struct Binfmt(PathBuf);

impl Binfmt {
    fn mount() -> Self {
        let place = std::env::temp_dir().join(format!("dray-binfmt-{}", std::process::id()));
        fs::create_dir_all(&place).expect("a folder");
        let status = Command::new("mount").args(["-t", "binfmt_misc", "binfmt_misc"]).arg(&place).status();
        assert!(status.expect("mount").success());
        Binfmt(place)
    }

    /// How many handlers of a daemon the kernel has.
    fn handlers(&self, daemon: &Daemon) -> usize {
        use sha2::Digest as _;
        let root = daemon.run_root().display().to_string();
        let own = format!("dray-{}-", &hex::encode(sha2::Sha256::digest(root))[..8]);
        let names = fs::read_dir(&self.0).expect("binfmt_misc").flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&own)).count()
    }
}

impl Drop for Binfmt {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

const CROSSING: &str = "FROM --platform=$BUILDPLATFORM BASE AS tool\nRUN touch /shared\nARG TARGETARCH\nARG BUILDARCH\n\
                        RUN echo $BUILDARCH for $TARGETARCH on $(uname -m) > /made\n\
                        FROM BASE\nCOPY --from=tool /made /made\nRUN uname -m > /machine\n\
                        CMD [\"cat\", \"/made\", \"/machine\"]\n";

#[test]
fn an_image_for_two_platforms_is_an_index_that_runs() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let base = base(&daemon, &registry);
    let folder = context(&daemon, "crossing", &CROSSING.replace("BASE", &base), &[]);
    let docker = daemon.docker();
    for (n, client) in builders(&daemon).iter().enumerate() {
        let name = format!("{}/multi{n}:1", registry.host());
        let metadata = daemon.scratch("told").join(format!("{n}.json"));
        let flags = format!("--platform {} -t {name} --push --metadata-file {}", both(), metadata.display());
        let built = build(client, &folder, &flags).expect_success();
        let said = format!("{}{}", built.stdout, built.stderr);
        assert!(said.contains(&format!("[linux/{OWN}->{FOREIGN} tool ")), "{said}");
        assert!(said.contains(&format!("[linux/{FOREIGN} ")), "{said}");
        let index = registry.manifest(&format!("multi{n}"), "1");
        let wanted = both().split(',').map(str::to_owned).collect();
        assert_eq!(platforms(&index), wanted, "{index}");
        let told: Value = serde_json::from_slice(&fs::read(&metadata).expect("metadata")).expect("JSON");
        assert_eq!(told["containerimage.descriptor"]["mediaType"], "application/vnd.oci.image.index.v1+json");
        assert_eq!(told["containerimage.digest"], told["containerimage.descriptor"]["digest"]);
        for (flag, architecture) in [("", OWN), (&format!("--platform linux/{FOREIGN}"), FOREIGN)] {
            let said = docker.ok(&format!("run --rm {flag} {name}"));
            assert_eq!(
                said,
                format!("{OWN} for {architecture} on {}\n{}", machine(OWN), machine(architecture))
            );
        }
        // Pushed again it is the same index.
        let again = format!("{}/multi{n}:2", registry.host());
        docker.ok(&format!("tag {name} {again}"));
        docker.ok(&format!("push {again}"));
        assert_eq!(registry.manifest(&format!("multi{n}"), "2"), index);
        let shown = docker.ok(&format!("images -q {}/multi{n}", registry.host()));
        assert_eq!(shown.lines().collect::<BTreeSet<_>>().len(), 1, "{shown}");
        assert_eq!(docker.ok("images -q --filter dangling=true"), "", "the other platform's is not shown");
        docker.ok("image prune -f");
        docker.ok(&format!("run --rm --platform linux/{FOREIGN} {again} true"));
        docker.ok(&format!("rmi {name} {again}"));
        // What another platform's base came by stays; nothing of the build does.
        assert_eq!(docker.ok("images -aq --filter dangling=true"), "");
    }
    // The name of the base is this machine's.
    assert_eq!(docker.ok(&format!("image inspect -f {{{{.Architecture}}}} {base}")), OWN);
}

#[test]
fn steps_of_another_platform_are_cached_by_it() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let base = base(&daemon, &registry);
    let folder = context(&daemon, "cached", &CROSSING.replace("BASE", &base), &[]);
    let client = buildx(&daemon);
    let one = build(&client, &folder, &format!("--platform linux/{FOREIGN} -t one")).expect_success();
    assert!(!one.stderr.contains("CACHED"), "{}", one.stderr);
    assert!(one.stderr.contains("[stage-1 3/3] RUN uname"), "one platform is not named: {}", one.stderr);
    let two = build(&client, &folder, &format!("--platform {} -t two", both())).expect_success();
    // All of the foreign one, and the tool's step that knows nothing of the platform.
    for step in [
        format!("[linux/{OWN} tool 2/3] RUN touch /shared"),
        format!("[linux/{OWN}->{FOREIGN} tool 3/3] RUN"),
        format!("[linux/{FOREIGN} stage-1 3/3] RUN uname"),
    ] {
        let number = two
            .stderr
            .lines()
            .find(|line| line.contains(&step))
            .unwrap_or_else(|| panic!("{step}: {}", two.stderr));
        let number = number.split_whitespace().next().expect("#n");
        assert!(two.stderr.contains(&format!("{number} CACHED")), "{step}: {}", two.stderr);
    }
    let step = format!("[linux/{OWN} stage-1 3/3] RUN uname");
    assert!(two.stderr.contains(&step), "{}", two.stderr);
    let docker = daemon.docker();
    assert_eq!(docker.ok("run --rm two"), format!("{OWN} for {OWN} on {}\n{}", machine(OWN), machine(OWN)));
    let all = build(&client, &folder, &format!("--platform {} -t three", both())).expect_success();
    let ran = all.stderr.lines().filter(|line| line.contains("] RUN")).count();
    let cached = all.stderr.lines().filter(|line| line.ends_with(" CACHED")).count();
    assert!(cached >= ran && ran == 5, "{}", all.stderr);
    // The image of two platforms is a base for both.
    let upon = context(&daemon, "upon", "FROM two\nRUN cat /machine > /below\n", &[]);
    build(&client, &upon, &format!("--platform linux/{FOREIGN} -t upon")).expect_success();
    assert_eq!(docker.ok("run --rm upon cat /below"), machine(FOREIGN));
}

#[test]
fn classic_builds_take_a_platform() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let base = base(&daemon, &registry);
    let folder = context(&daemon, "classic", &CROSSING.replace("BASE", &base), &[]);
    let flags = format!("--platform linux/{FOREIGN} -t classic");
    let built = super::build(&daemon.docker(), &folder, &flags).expect_success();
    assert!(built.stdout.contains("Step 1/9 : FROM --platform"), "{}", built.stdout);
    let said = daemon.docker().ok("run --rm classic");
    assert_eq!(said, format!("{OWN} for {FOREIGN} on {}\n{}", machine(OWN), machine(FOREIGN)));
}

#[test]
fn archives_are_of_the_platform_that_is_asked_for() {
    let daemon = Daemon::start();
    let folder =
        context(&daemon, "archived", "FROM scratch\nARG TARGETARCH\nCOPY file-$TARGETARCH /arch\n", &[]);
    for architecture in [OWN, FOREIGN] {
        fs::write(folder.join(format!("file-{architecture}")), architecture).expect("a file");
    }
    build(&daemon.dray(), &folder, &format!("--platform {} -t made", both())).expect_success();
    let archive = folder.join("made.tar");
    let path = archive.to_str().expect("a path");
    let [dray, docker] = daemon.clients();
    let architecture = || docker.ok("image inspect -f {{.Architecture}} made");
    for client in [&docker, &dray] {
        client.ok(&format!("save --platform linux/{FOREIGN} -o {path} made"));
        let (files, top) = layout(&archive);
        let manifest = blob(&files, &top["manifests"][0]);
        assert_eq!(blob(&files, &manifest["config"])["architecture"], FOREIGN, "{top}");
    }
    docker.ok("rmi made");
    for client in [&docker, &dray] {
        let load = format!("load --platform linux/{OWN} -i {path}");
        client.sh(&load).expect_code(1).expect_error(&format!("no image for the platform linux/{OWN}"));
        assert_eq!(docker.ok("images -q made"), "");
    }
    docker.ok(&format!("load --platform linux/{FOREIGN} -i {path}"));
    assert_eq!(architecture(), FOREIGN);
    let save = format!("save --platform linux/{OWN} -o {path} made");
    docker.sh(&save).expect_code(1).expect_error(&format!("made: no image for the platform linux/{OWN}"));
    docker.ok("rmi made");

    // Of an archive of several platforms that one.
    let oci = folder.join("made.oci");
    let flags = format!("--platform {} -t made -o type=oci,dest={}", both(), oci.display());
    build(&daemon.dray(), &folder, &flags).expect_success();
    for wanted in [FOREIGN, OWN] {
        dray.ok(&format!("load --platform linux/{wanted} -i {}", oci.display()));
        assert_eq!(architecture(), wanted);
    }
}

#[test]
fn every_output_has_all_platforms() {
    let daemon = Daemon::start();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY file-$TARGETARCH /arch\nCOPY both /\n";
    let own = format!("file-{OWN}");
    let foreign = format!("file-{FOREIGN}");
    let folder = context(&daemon, "outputs", dockerfile, &[(&own, OWN), (&foreign, FOREIGN), ("both", "b")]);
    for client in builders(&daemon) {
        let out = daemon.scratch("out").join(client.name().replace('/', "_"));
        let oci = out.with_extension("oci");
        let flags = format!("--platform {} -t made -o type=oci,dest={}", both(), oci.display());
        build(&client, &folder, &flags).expect_success();
        let (files, top) = layout(&oci);
        let index = blob(&files, &top["manifests"][0]);
        assert_eq!(platforms(&index), both().split(',').map(str::to_owned).collect());
        for entry in index["manifests"].as_array().expect("manifests") {
            if entry["platform"]["os"] == "unknown" {
                continue;
            }
            let config = blob(&files, &blob(&files, entry)["config"]);
            assert_eq!(config["architecture"], entry["platform"]["architecture"]);
        }
        let docker = daemon.docker();
        docker.run(["load", "-i", oci.to_str().expect("a path")]).expect_success();
        assert_eq!(docker.ok("image inspect -f {{.Architecture}} made"), OWN);
        docker.ok("rmi made");
        let tar = out.with_extension("tar");
        let flags = format!("--platform {} -o type=tar,dest={}", both(), tar.display());
        build(&client, &folder, &flags).expect_success();
        let files = entries(&fs::read(&tar).expect("the tar"));
        let local = out.with_extension("d");
        build(&client, &folder, &format!("--platform {} -o {}", both(), local.display())).expect_success();
        for architecture in [OWN, FOREIGN] {
            let within = format!("linux_{architecture}/arch");
            assert_eq!(files[&within], architecture.as_bytes());
            assert_eq!(fs::read_to_string(local.join(within)).expect("a file"), architecture);
        }
        let flags = format!("--platform {} -o type=docker,dest={}", both(), out.display());
        let refused = build(&client, &folder, &flags).expect_code(1);
        refused.expect_error("support exporting manifest lists");
        let flags =
            format!("--platform {} -o type=local,dest={}-all,platform-split=false", both(), out.display());
        let refused = build(&client, &folder, &flags).expect_code(1);
        refused.expect_error("when split option is disabled");
        // One platform has no folder of its own.
        let one = out.with_extension("one");
        let flags = format!("--platform linux/{FOREIGN} -o {}", one.display());
        build(&client, &folder, &flags).expect_success();
        assert_eq!(fs::read_to_string(one.join("arch")).expect("a file"), FOREIGN);
    }
}

#[test]
fn the_kernel_is_left_as_it_was() {
    let binfmt = Binfmt::mount();
    let mut daemon = Daemon::spawn();
    let foreign = fixture::foreign_busybox();
    daemon.docker().run(["load", "-i", foreign.to_str().expect("a path")]).expect_success();
    assert_eq!(binfmt.handlers(&daemon), 0);
    assert_eq!(daemon.docker().ok("run --rm busybox:foreign uname -m"), machine(FOREIGN));
    daemon.docker().ok("run --rm busybox:foreign true");
    assert_eq!(binfmt.handlers(&daemon), 1);
    daemon.kill();
    assert_eq!(binfmt.handlers(&daemon), 1, "a daemon that is killed can take nothing away");
    daemon.launch();
    assert_eq!(binfmt.handlers(&daemon), 0);
    daemon.docker().ok("run --rm busybox:foreign true");
    assert_eq!(binfmt.handlers(&daemon), 1);
    daemon.stop();
    assert_eq!(binfmt.handlers(&daemon), 0);
}

#[test]
fn a_platform_without_an_emulator_is_told() {
    let empty = std::env::temp_dir();
    let daemon =
        Daemon::with_environment(&[("DRAY_EMULATORS", empty.join("none").to_str().expect("a path"))]);
    let foreign = fixture::foreign_busybox();
    let docker = daemon.docker();
    docker.run(["load", "-i", foreign.to_str().expect("a path")]).expect_success();
    let text = format!(
        "exec format error: no emulator for linux/{FOREIGN} on linux/{OWN}: install qemu-user-static"
    );
    let folder = context(&daemon, "missing", "FROM busybox:foreign\nRUN true\n", &[]);
    for client in builders(&daemon) {
        let failed = build(&client, &folder, &format!("--platform linux/{FOREIGN}")).expect_code(1);
        failed.expect_error(&text);
    }
    docker.sh("run --rm busybox:foreign true").expect_code(125).expect_error(&text);
    // What runs nothing needs none.
    let folder = context(&daemon, "copying", "FROM busybox:foreign\nCOPY Dockerfile /\nLABEL a=b\n", &[]);
    build(&buildx(&daemon), &folder, &format!("--platform linux/{FOREIGN} -t copied")).expect_success();
    let refused = build(&buildx(&daemon), &folder, "--platform linux/amd64,nonsense").expect_code(1);
    refused.expect_error("unknown operating system or architecture");
}

#[test]
fn bake_builds_for_several_platforms() {
    let daemon = Daemon::start();
    let folder = context(
        &daemon,
        "baked",
        "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n",
        &[(OWN, "o"), (FOREIGN, "f")],
    );
    let out = daemon.scratch("baked-out");
    let file = format!(
        "target \"default\" {{\n  context = \"{}\"\n  platforms = [\"linux/{OWN}\", \"linux/{FOREIGN}\"]\n  output = [\"{}\"]\n}}\n",
        folder.display(),
        out.display()
    );
    let path = daemon.scratch("bake-file").join("docker-bake.hcl");
    fs::write(&path, file).expect("the bake file");
    let (path, folder) = (path.to_string_lossy(), folder.display().to_string());
    let (read, write) = (format!("--allow=fs.read={folder}"), format!("--allow=fs.write={}", out.display()));
    buildx(&daemon).run(["bake", &read, &write, "-f", path.as_ref()]).expect_success();
    for (architecture, text) in [(OWN, "o"), (FOREIGN, "f")] {
        let made = out.join(format!("linux_{architecture}/arch"));
        assert_eq!(fs::read_to_string(made).expect("a file"), text);
    }
}
