//! Attestations: provenance and lists of parts, as buildx reads them back from a registry, and as files.

use std::fs;
use std::path::Path;

use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon, Finished, fixture};
use serde_json::Value;
use sha2::Digest as _;

use super::output::{blob, layout};
use super::{buildx, context};

fn build(client: &Client, folder: &Path, flags: &str) -> Finished {
    let folder = folder.to_string_lossy();
    let words = ["build", "--progress=plain"].into_iter().chain(flags.split_whitespace());
    client.run(words.chain([folder.as_ref()]))
}

/// What buildx reads of an image in a registry.
fn inspected(daemon: &Daemon, name: &str, what: &str) -> Value {
    let format = format!("{{{{json .{what}}}}}");
    let said = buildx(daemon).run(["imagetools", "inspect", name, "--format", &format]).expect_success();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

/// The entries of an index that are statements about its images.
fn attested(index: &Value) -> Vec<&Value> {
    let all = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter(|entry| entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest")
        .collect()
}

const DOCKERFILE: &str = "FROM busybox AS made\nARG TOKEN=none\nRUN --mount=type=secret,id=key echo made > /out\n\
                          FROM busybox\nCOPY --from=made /out /out\nCOPY files /\n";

const STATUS: &str = "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.4+deb12u5\n\n\
                      Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.3\n";
const FILES: [(&str, &str); 4] = [
    ("files/var/lib/dpkg/status", STATUS),
    ("files/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
    (
        "files/app/node_modules/express/package.json",
        r#"{"name":"express","version":"4.19.2","license":"MIT"}"#,
    ),
    ("files/usr/lib/python3/dist-packages/Flask-3.0.3.dist-info/METADATA", "Name: Flask\nVersion: 3.0.3\n"),
];

#[test]
fn provenance_is_read_back_by_buildx() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = context(&daemon, "provenance", DOCKERFILE, &FILES);
    for (n, client) in [buildx(&daemon), daemon.dray()].iter().enumerate() {
        for mode in ["min", "max"] {
            let name = format!("{}/provenance{n}:{mode}", registry.host());
            let flags = format!("--provenance mode={mode} --build-arg TOKEN=hush -t {name} --push");
            build(client, &folder, &flags).expect_success();
            let index = registry.manifest(&format!("provenance{n}"), mode);
            let [entry] = &attested(&index)[..] else { panic!("one entry: {index}") };
            assert_eq!(entry["annotations"]["vnd.docker.reference.digest"], index["manifests"][0]["digest"]);
            assert_eq!(entry["platform"]["architecture"], "unknown");
            let predicate = &inspected(&daemon, &name, "Provenance")["SLSA"];
            let definition = &predicate["buildDefinition"];
            let request = &definition["externalParameters"]["request"];
            assert_eq!(request["frontend"], "dockerfile.v0");
            let base = &definition["resolvedDependencies"][0];
            let uri = base["uri"].as_str().expect("a URI");
            assert!(uri.starts_with("pkg:docker/busybox@latest?platform=linux%2F"), "{uri}");
            assert!(predicate["runDetails"]["metadata"]["startedOn"].is_string());
            let max = mode == "max";
            assert_eq!(request["args"]["build-arg:TOKEN"] == "hush", max, "{request}");
            assert_eq!(request["secrets"][0]["id"] == "key", max, "{request}");
            let steps = &definition["internalParameters"]["buildConfig"]["llbDefinition"];
            assert_eq!(steps.is_array(), max);
            if !max {
                assert!(!predicate.to_string().contains("hush"));
                continue;
            }
            let ran =
                steps.as_array().expect("steps").iter().find(|step| step["op"]["Op"]["exec"].is_object());
            let args = &ran.expect("a RUN")["op"]["Op"]["exec"]["meta"]["args"];
            assert_eq!(args[2], "echo made > /out");
            let metadata = &predicate["runDetails"]["metadata"]["buildkit_metadata"];
            assert_eq!(metadata["source"]["infos"][0]["filename"], "Dockerfile");
            let layers = metadata["layers"].as_object().expect("layers");
            let of_image = registry.manifest(
                &format!("provenance{n}"),
                index["manifests"][0]["digest"].as_str().expect("a digest"),
            );
            let top = of_image["layers"].as_array().expect("layers").last().expect("a layer");
            let last = |of_step: &Value| of_step[0].as_array().and_then(|chain| chain.last()).cloned();
            let is_top = |of_step| last(of_step).is_some_and(|layer| layer["digest"] == top["digest"]);
            assert!(layers.values().any(is_top), "{layers:?}: {top}");
        }
    }
    // Others pull and run it as any image.
    let other = Daemon::empty();
    let name = format!("{}/provenance0:max", registry.host());
    assert_eq!(other.docker().ok(&format!("run --rm {name} cat /out")).lines().last(), Some("made"));
}

#[test]
fn what_clients_ask_for_by_themselves_goes_along_when_the_image_leaves() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = context(&daemon, "usual", DOCKERFILE, &FILES);
    let (client, docker) = (buildx(&daemon), daemon.docker());
    let name = format!("{}/usual", registry.host());
    build(&client, &folder, &format!("-t {name}:pushed --push")).expect_success();
    assert_eq!(attested(&registry.manifest("usual", "pushed")).len(), 1);
    // In the store it costs nothing: the layers are packed when it is pushed.
    build(&client, &folder, &format!("-t {name}:later")).expect_success();
    docker.ok(&format!("push {name}:later"));
    let index = registry.manifest("usual", "later");
    assert_eq!(attested(&index).len(), 1, "{index}");
    let predicate = &inspected(&daemon, &format!("{name}:later"), "Provenance")["SLSA"];
    assert_eq!(predicate["buildDefinition"]["externalParameters"]["request"]["frontend"], "dockerfile.v0");
    docker.ok(&format!("push {name}:later"));
    assert_eq!(registry.manifest("usual", "later"), index, "the second time it is the same");
    // Pulled with all that belongs to it, it goes on as it came.
    let other = Daemon::empty();
    other.dray().ok(&format!("pull --all-platforms {name}:later"));
    other.docker().ok(&format!("tag {name}:later {name}:on"));
    other.docker().ok(&format!("push {name}:on"));
    assert_eq!(registry.manifest("usual", "on"), index);
    build(&client, &folder, &format!("--provenance=false -t {name}:none --push")).expect_success();
    assert!(registry.manifest("usual", "none")["layers"].is_array());
    // A layout has it only if it was asked for.
    let out = daemon.scratch("usual-out").join("a.oci");
    build(&client, &folder, &format!("-o type=oci,dest={}", out.display())).expect_success();
    let (files, top) = layout(&out);
    assert!(blob(&files, &top["manifests"][0])["layers"].is_array());
}

#[test]
fn what_is_said_of_an_image_is_in_its_archive() {
    let daemon = Daemon::start();
    let folder = context(&daemon, "saved", DOCKERFILE, &FILES);
    let (docker, out) = (daemon.docker(), daemon.scratch("saved-out").join("saved.tar"));
    let name = "example.org/saved:1";
    build(&buildx(&daemon), &folder, &format!("-t {name}")).expect_success();
    let id = docker.ok(&format!("image inspect -f {{{{.Id}}}} {name}"));
    docker.run([Path::new("save"), Path::new("-o"), &out, name.as_ref()]).expect_success();
    let (files, top) = layout(&out);
    let index = blob(&files, &top["manifests"][0]);
    let [entry] = &attested(&index)[..] else { panic!("one entry: {index}") };
    assert_eq!(entry["annotations"]["vnd.docker.reference.digest"], index["manifests"][0]["digest"]);
    let said = blob(&files, entry);
    assert_eq!(said["subject"]["digest"], index["manifests"][0]["digest"]);
    let statement = blob(&files, &said["layers"][0]);
    assert_eq!(
        statement["predicate"]["buildDefinition"]["externalParameters"]["request"]["frontend"],
        "dockerfile.v0"
    );
    assert!(
        statement["subject"][0]["name"]
            .as_str()
            .is_some_and(|subject| subject.ends_with("/saved@1?platform=linux%2Famd64")),
        "{statement}"
    );
    // Nothing was packed or kept for it.
    assert_eq!(docker.ok(&format!("image inspect -f {{{{.Id}}}} {name}")), id);
    let other = Daemon::empty();
    other.docker().run([Path::new("load"), Path::new("-i"), &out]).expect_success();
    assert_eq!(other.docker().ok(&format!("run --rm {name} cat /out")), "made");
    // Nor is it lost there: the image is saved with the same index, and pushed by it.
    let again = daemon.scratch("saved-again").join("saved.tar");
    other.docker().run([Path::new("save"), Path::new("-o"), &again, name.as_ref()]).expect_success();
    assert!(fs::read(&again).expect("the archive") == fs::read(&out).expect("the archive"));
    let registry = Registry::start();
    let pushed = format!("{}/saved:1", registry.host());
    other.docker().ok(&format!("tag {name} {pushed}"));
    other.docker().ok(&format!("push {pushed}"));
    assert_eq!(registry.manifest("saved", "1"), index);
    let predicate = &inspected(&other, &pushed, "Provenance")["SLSA"];
    assert_eq!(predicate["buildDefinition"]["externalParameters"]["request"]["frontend"], "dockerfile.v0");
}

/// What BuildKit's layouts say of an image is kept with it, counted, and goes with it.
#[test]
fn what_is_said_in_a_layout_is_loaded_with_the_image() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = context(&daemon, "layout", DOCKERFILE, &FILES);
    let out = daemon.scratch("layout-out").join("a.oci");
    let name = format!("{}/layout:1", registry.host());
    let flags = format!("--provenance=mode=max --sbom=true -o type=oci,name={name},dest={}", out.display());
    build(&buildx(&daemon), &folder, &flags).expect_success();
    let (files, top) = layout(&out);
    let index = blob(&files, &top["manifests"][0]);
    let statements: u64 = attested(&index)
        .iter()
        .flat_map(|entry| blob(&files, entry)["layers"].as_array().expect("statements").clone())
        .map(|statement| statement["size"].as_u64().expect("a size"))
        .sum();
    assert!(statements > 0);
    let other = Daemon::empty();
    for client in other.clients() {
        client.run([Path::new("load"), Path::new("-i"), &out]).expect_success();
        client.ok(&format!("push {name}"));
        assert_eq!(registry.manifest("layout", "1"), index, "{}", client.name());
        assert!(inspected(&daemon, &name, "Provenance")["SLSA"].is_object());
        assert!(inspected(&daemon, &name, "SBOM")["SPDX"].is_object());
        client.ok(&format!("rmi {name}"));
    }
    let blobs = || -> Vec<String> {
        let entries = fs::read_dir(other.data_root().join("blobs/sha256")).expect("blobs");
        entries.map(|entry| entry.expect("a blob").file_name().to_string_lossy().into_owned()).collect()
    };
    other.docker().run([Path::new("load"), Path::new("-i"), &out]).expect_success();
    other.docker().ok("image prune -f");
    let entry = attested(&index)[0]["digest"].as_str().expect("a digest")["sha256:".len()..].to_owned();
    assert!(blobs().iter().any(|name| name.starts_with(&entry)), "the manifest of the statements is kept");
    other.docker().ok(&format!("rmi {name}"));
    assert!(blobs().is_empty(), "nothing is left of it: {:?}", blobs());
}

#[test]
fn parts_are_listed_for_buildx() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = context(&daemon, "parts", DOCKERFILE, &FILES);
    let name = format!("{}/parts:1", registry.host());
    let built = build(&buildx(&daemon), &folder, &format!("--sbom=true -t {name} --push"));
    built.expect_success();
    let document = &inspected(&daemon, &name, "SBOM")["SPDX"];
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let packages = document["packages"].as_array().expect("packages");
    let purls: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .collect();
    for purl in [
        "pkg:deb/debian/base-files@12.4%2Bdeb12u5?arch=amd64&distro=debian-12",
        "pkg:deb/debian/zlib1g@1:1.3?arch=amd64&distro=debian-12",
        "pkg:npm/express@4.19.2",
        "pkg:pypi/flask@3.0.3",
    ] {
        assert!(purls.contains(&purl), "{purl}: {purls:?}");
    }
    let name = format!("{}/parts:2", registry.host());
    let flags = format!("--sbom format=both --provenance mode=min -t {name} --push");
    build(&daemon.dray(), &folder, &flags).expect_success();
    let index = registry.manifest("parts", "2");
    let digest = attested(&index)[0]["digest"].as_str().expect("a digest").to_owned();
    let manifest = registry.manifest("parts", &digest);
    assert_eq!(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json");
    let kinds: Vec<&str> = manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .filter_map(|layer| layer["annotations"]["in-toto.io/predicate-type"].as_str())
        .collect();
    let wanted = ["https://spdx.dev/Document", "https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1"];
    assert_eq!(kinds, wanted);
    let refused = build(&buildx(&daemon), &folder, "--attest type=sbom,generator=example.org/scanner");
    refused.expect_code(1).expect_error("\"example.org/scanner\" is not supported");
}

/// The names of the packages of a document.
fn packages(document: &Value) -> Vec<&str> {
    let packages = document["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    packages.iter().filter_map(|package| package["name"].as_str()).collect()
}

#[test]
fn stages_and_the_context_are_listed_where_the_dockerfile_asks_for_it() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let dockerfile = "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nARG BUILDKIT_SBOM_SCAN_STAGE=tools\n\
                      FROM busybox AS tools\nCOPY files/var /var\n\
                      FROM busybox AS made\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n\
                      RUN echo stage:$BUILDKIT_SBOM_SCAN_STAGE:; test -z \"$BUILDKIT_SBOM_SCAN_STAGE\"\n\
                      COPY --from=tools /var/lib/dpkg/status /status\nCOPY files/usr /usr\n\
                      FROM busybox AS other\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN no-such-program\n\
                      FROM busybox\nCOPY --from=made /status /\n";
    let folder = context(&daemon, "extras", dockerfile, &FILES);
    for (n, client) in [buildx(&daemon), daemon.dray()].iter().enumerate() {
        let name = format!("{}/extras{n}:1", registry.host());
        build(client, &folder, &format!("--sbom=true -t {name} --push")).expect_success();
        let said = inspected(&daemon, &name, "SBOM");
        let more = said["AdditionalSPDXs"].as_array().expect("further documents");
        let names: Vec<&str> = more.iter().filter_map(|document| document["name"].as_str()).collect();
        assert_eq!(names, ["sbom-context", "sbom-made", "sbom-tools"]);
        assert!(!packages(&said["SPDX"]).contains(&"zlib1g"), "the result has no packages");
        assert!(packages(&more[0]).contains(&"express"), "{}", more[0]);
        assert!(packages(&more[1]).contains(&"Flask") && !packages(&more[1]).contains(&"zlib1g"));
        assert!(packages(&more[2]).contains(&"zlib1g") && !packages(&more[2]).contains(&"Flask"));
        let mut ids: Vec<&Value> = more.iter().map(|document| &document["documentNamespace"]).collect();
        ids.push(&said["SPDX"]["documentNamespace"]);
        ids.dedup();
        assert_eq!(ids.len(), 4);
        // Each is about the image, as the first is.
        let index = registry.manifest(&format!("extras{n}"), "1");
        let digest = attested(&index)[0]["digest"].as_str().expect("a digest").to_owned();
        let layers = registry.manifest(&format!("extras{n}"), &digest)["layers"].clone();
        for layer in layers.as_array().expect("layers") {
            let blob =
                registry.get(&format!("/v2/extras{n}/blobs/{}", layer["digest"].as_str().expect("one")));
            let statement: Value = serde_json::from_str(&blob.text()).expect("a statement");
            let of_image =
                format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().expect("one"));
            assert_eq!(index["manifests"][0]["digest"], of_image);
        }
        let out = daemon.scratch("extras-out").join(n.to_string());
        let off = "--build-arg BUILDKIT_SBOM_SCAN_CONTEXT=false --build-arg BUILDKIT_SBOM_SCAN_STAGE=tools,x";
        build(client, &folder, &format!("--sbom=true {off} -o {}", out.display())).expect_success();
        let there = |name: &str| out.join(name).exists();
        assert!(there("sbom.spdx.json") && there("sbom-tools.spdx.json"));
        assert!(!there("sbom-made.spdx.json") && !there("sbom-context.spdx.json"));
    }
}

#[test]
fn files_have_what_is_said_of_them_beside_them() {
    let daemon = Daemon::start();
    // A program of Go tells of its modules.
    let program = fixture::buildx();
    let dockerfile = "FROM scratch\nCOPY program /bin/program\nCOPY zz /zz\n";
    let folder = context(&daemon, "beside", dockerfile, &[("zz", "z")]);
    fs::hard_link(&program, folder.join("program"))
        .or_else(|_| fs::copy(&program, folder.join("program")).map(drop))
        .expect("the program");
    for client in [buildx(&daemon), daemon.dray()] {
        let out = daemon.scratch("beside-out").join(client.name().replace('/', "_"));
        let flags = format!("--provenance mode=max --sbom=true -o {}", out.display());
        build(&client, &folder, &flags).expect_success();
        let read = |name: &str| -> Value {
            let bytes = fs::read(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            serde_json::from_slice(&bytes).expect("JSON")
        };
        let said = read("provenance.json");
        assert_eq!(said["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(said["predicateType"], "https://slsa.dev/provenance/v1");
        let subjects = said["subject"].as_array().expect("subjects");
        let zz = subjects.iter().find(|subject| subject["name"] == "zz").expect("zz");
        assert_eq!(zz["digest"]["sha256"], hex::encode(sha2::Sha256::digest("z")));
        let parts = read("sbom.spdx.json");
        let packages = parts["predicate"]["packages"].as_array().expect("packages");
        let has = |name: &str| packages.iter().any(|package| package["name"] == name);
        assert!(has("github.com/docker/buildx") && has("stdlib"), "{packages:?}");
        assert_eq!(fs::read(out.join("zz")).expect("zz"), b"z");
        // What clients ask for by themselves is for images.
        let plain = out.with_extension("plain");
        build(&client, &folder, &format!("-o {}", plain.display())).expect_success();
        assert!(!plain.join("provenance.json").exists());
    }
}

#[test]
fn an_image_is_pushed_by_its_digest_alone() {
    let daemon = Daemon::start();
    let registry = Registry::start();
    let folder = context(&daemon, "digest", "FROM busybox\nCOPY Dockerfile /\n", &[]);
    let metadata = daemon.scratch("digest-out").join("told.json");
    let name = format!("{}/digest", registry.host());
    let flags = format!(
        "-o type=image,name={name},push=true,push-by-digest=true --metadata-file {}",
        metadata.display()
    );
    build(&daemon.dray(), &folder, &flags).expect_success();
    let told: Value = serde_json::from_slice(&fs::read(&metadata).expect("metadata")).expect("JSON");
    let digest = told["containerimage.digest"].as_str().expect("a digest");
    assert!(registry.manifest("digest", digest)["layers"].is_array());
    let tags = registry.get("/v2/digest/tags/list");
    assert!(!tags.text().contains("latest"), "no tag is made");
    daemon.docker().ok(&format!("run --rm {name}@{digest} true"));
    daemon.docker().sh(&format!("image inspect {name}:latest")).expect_code(1);
}
