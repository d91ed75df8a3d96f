//! Where a build's result goes: archives, folders, registries; from `dray build` and from buildx.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon, Finished, client, fixture};
use serde_json::Value;

use super::context;

const DOCKERFILE: &str = "FROM busybox AS made\nRUN mkdir /out && echo made > /out/file && chmod 4750 /out/file\n\
                          FROM scratch\nCOPY --from=made /out /\nCOPY b /sub/b\n";

/// Runs a build with both clients: Docker's buildx, and `dray build`.
fn builders(daemon: &Daemon) -> [Client; 2] {
    [Client::new(fixture::buildx(), daemon.host(), &daemon.scratch("buildx")), daemon.dray()]
}

fn build(client: &Client, folder: &Path, flags: &str) -> Finished {
    let folder = folder.to_string_lossy();
    let words = ["build", "--progress=plain"].into_iter().chain(flags.split_whitespace());
    client.run(words.chain([folder.as_ref()]))
}

/// The files of a tar with their content.
pub fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(bytes);
    let mut found = BTreeMap::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        found.insert(name, content);
    }
    found
}

/// A blob of an OCI layout as JSON.
pub fn blob(layout: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
    serde_json::from_slice(&layout[&format!("blobs/{digest}")]).expect("JSON")
}

pub fn layout(path: &Path) -> (BTreeMap<String, Vec<u8>>, Value) {
    let files = entries(&fs::read(path).expect("the archive"));
    let index = serde_json::from_slice(&files["index.json"]).expect("index.json");
    (files, index)
}

#[test]
fn files_go_to_a_folder_or_a_tar() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "files", DOCKERFILE, &[("b", "bee")]);
    for client in builders(&daemon) {
        let out = daemon.scratch("out").join(client.name().replace('/', "_"));
        build(&client, &folder, &format!("-o {}", out.display())).expect_success();
        assert_eq!(fs::read_to_string(out.join("file")).expect("file"), "made\n");
        assert_eq!(fs::read_to_string(out.join("sub/b")).expect("sub/b"), "bee");
        assert_eq!(fs::metadata(out.join("file")).expect("stat").mode() & 0o7777, 0o4750);
        let tar = out.with_extension("tar");
        build(&client, &folder, &format!("--output type=tar,dest={}", tar.display())).expect_success();
        let files = entries(&fs::read(&tar).expect("the tar"));
        assert_eq!(files["sub/b"], b"bee");
        // On standard output there is nothing but the tar.
        let mut piped = client.command(["build", "--progress=plain", "-o", "-"]);
        let piped = piped.arg(&folder).output().expect("the client");
        assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
        assert_eq!(entries(&piped.stdout), files);
        assert_eq!(daemon.docker().ok("images -aq --filter dangling=true"), "", "no image is recorded");
    }
}

#[test]
fn archives_are_layouts_and_can_be_loaded() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "archives", DOCKERFILE, &[("b", "bee")]);
    for client in builders(&daemon) {
        let out = daemon.scratch("archives-out").join(client.name().replace('/', "_"));
        let (oci, metadata, id) =
            (out.with_extension("oci"), out.with_extension("json"), out.with_extension("id"));
        let flags = format!(
            "-t exported:1 --annotation who=me --annotation manifest-descriptor:entry=e --metadata-file {} --iidfile {} \
             --output type=oci,dest={},compression=zstd,compression-level=7",
            metadata.display(),
            id.display(),
            oci.display()
        );
        build(&client, &folder, &flags).expect_success();
        let (files, index) = layout(&oci);
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/exported:1");
        assert_eq!(entry["annotations"]["entry"], "e");
        let manifest = blob(&files, entry);
        assert_eq!(manifest["annotations"]["who"], "me");
        let layers = manifest["layers"].as_array().expect("layers");
        let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
        assert!(layers.len() == 2 && layers.iter().all(|layer| layer["mediaType"] == zstd), "{manifest}");
        assert!(!files.contains_key("manifest.json"));
        let told: Value = serde_json::from_slice(&fs::read(&metadata).expect("metadata")).expect("JSON");
        assert_eq!(told["containerimage.digest"], entry["digest"]);
        assert_eq!(told["containerimage.descriptor"]["digest"], entry["digest"]);
        assert_eq!(told["image.name"], "docker.io/library/exported:1");
        assert_eq!(
            fs::read_to_string(&id).expect("the id"),
            manifest["config"]["digest"].as_str().expect("a digest")
        );
        let docker = daemon.docker();
        assert_eq!(docker.ok("images -q exported"), "");
        docker.run(["load", "-i", oci.to_str().expect("a path")]).expect_success();
        assert_eq!(docker.ok("images -q --no-trunc exported"), fs::read_to_string(&id).expect("the id"));
        docker.ok("rmi exported:1");
        // Docker's own kind, beside an image in the store.
        let archive = out.with_extension("docker");
        let flags = format!("-t both:1 -o type=image --output type=docker,dest={}", archive.display());
        build(&client, &folder, &flags).expect_success();
        let (files, _) = layout(&archive);
        let items: Value = serde_json::from_slice(&files["manifest.json"]).expect("manifest.json");
        assert_eq!(items[0]["RepoTags"][0], "both:1");
        assert_ne!(docker.ok("images -q both"), "");
        docker.ok("rmi both:1");
        docker.run(["load", "-i", archive.to_str().expect("a path")]).expect_output("both:1");
        docker.ok("rmi both:1");
    }
}

#[test]
fn images_are_pushed_with_what_was_asked_for() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = context(&daemon, "pushed", DOCKERFILE, &[("b", "bee")]);
    for (n, client) in builders(&daemon).iter().enumerate() {
        let name = format!("{}/pushed{n}", registry.host());
        let metadata = daemon.scratch("pushed-out").join(format!("{n}.json"));
        let flags = format!(
            "-t {name}:1 -t {name}:2 --push --annotation who=me --metadata-file {}",
            metadata.display()
        );
        build(client, &folder, &flags).expect_success();
        let told: Value = serde_json::from_slice(&fs::read(&metadata).expect("metadata")).expect("JSON");
        let digest = told["containerimage.digest"].as_str().expect("a digest").to_owned();
        for tag in ["1", "2", digest.as_str()] {
            let manifest = registry.manifest(&format!("pushed{n}"), tag);
            assert_eq!(manifest["annotations"]["who"], "me", "{tag}");
        }
        let docker = daemon.docker();
        let digests = docker.ok(&format!("image inspect -f {{{{.RepoDigests}}}} {name}:1"));
        assert!(digests.contains(&digest), "{digests}: {digest}");
        let format = format!(
            "-o type=image,name={name}:plain,push=true,compression=uncompressed,force-compression=true"
        );
        build(client, &folder, &format).expect_success();
        let manifest = registry.manifest(&format!("pushed{n}"), "plain");
        let kind = manifest["layers"][0]["mediaType"].as_str().expect("a type").to_owned();
        assert!(kind.ends_with(".tar"), "{manifest}");
    }
    let [buildx, dray] = builders(&daemon);
    build(&buildx, &folder, "--push").expect_error("tag is needed when pushing to registry");
    build(&dray, &folder, "--push").expect_code(1).expect_error("tag is needed when pushing to registry");
}

#[test]
fn outputs_that_cannot_be_are_refused_by_name() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "refused", DOCKERFILE, &[("b", "bee")]);
    let file = daemon.scratch("refused-out").join("x");
    for client in builders(&daemon) {
        let compression = format!("-o type=oci,dest={},compression=lz4", file.display());
        build(&client, &folder, &compression).expect_code(1).expect_error("lz4");
        build(&client, &folder, "-o type=nosuch").expect_code(1).expect_error("nosuch");
    }
    // A place that cannot take it is an error of the build, and nothing half-written is left.
    let full = daemon.scratch("full").join("missing/x");
    let failed = build(&daemon.dray(), &folder, &format!("-o type=oci,dest={}", full.display()));
    failed.expect_code(1).expect_error("does not exist");
    let blocked = daemon.scratch("blocked").join("out");
    fs::create_dir_all(blocked.join("file/in/the/way")).expect("folders");
    let failed = build(&daemon.dray(), &folder, &format!("-o {}", blocked.display()));
    failed.expect_code(1).expect_error("cannot overwrite directory with non-directory");
}

#[test]
fn several_outputs_are_one_build() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "several", DOCKERFILE, &[("b", "bee")]);
    for client in builders(&daemon) {
        let out = daemon.scratch("several-out").join(client.name().replace('/', "_"));
        let (oci, files) = (out.with_extension("oci"), out.with_extension("d"));
        let flags =
            format!("-t several -o type=image -o type=oci,dest={} -o {}", oci.display(), files.display());
        build(&client, &folder, &flags).expect_success();
        assert_eq!(fs::read_to_string(files.join("sub/b")).expect("sub/b"), "bee");
        let (blobs, index) = layout(&oci);
        let config = &blob(&blobs, &index["manifests"][0])["config"]["digest"];
        assert_eq!(*config, Value::from(daemon.docker().ok("images -q --no-trunc several")));
        daemon.docker().ok("rmi several");
    }
}

#[test]
fn a_squashed_image_has_one_layer_more_than_its_base() {
    let daemon = Daemon::start();
    let dockerfile = "FROM busybox\nRUN echo secret > /gone\nRUN rm /gone && echo kept > /kept\nENV A=b\n";
    let folder = context(&daemon, "squash", dockerfile, &[]);
    build(&daemon.dray(), &folder, "--squash -t squashed").expect_success();
    let client = daemon.docker();
    let layers = client.run(["image", "inspect", "-f", "{{len .RootFS.Layers}}", "squashed"]);
    layers.expect_success().expect_output("2");
    let found =
        client.run(["run", "--rm", "squashed", "sh", "-c", "cat /kept; test -e /gone || echo gone; echo $A"]);
    assert_eq!(found.expect_success().stdout, "kept\ngone\nb\n");
    client::eventually("no image is left between", || {
        client.ok("images -q --filter dangling=true").is_empty()
    });
}
