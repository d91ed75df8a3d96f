//! Skopeo, Debian's, which copies between registries without a daemon, against `dray registry serve`.

use std::fs;
use std::path::Path;
use std::process::Command;

use dray_harness::registry::DrayRegistry;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An OCI layout with one index: an image for each of two platforms, and a statement about each.
struct Layout<'a>(&'a Path);

impl Layout<'_> {
    fn put(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(self.0.join("blobs/sha256").join(&digest), bytes).expect("a blob");
        json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    fn manifest(&self, architecture: &str, layer: &Value) -> Value {
        let config = json!({
            "architecture": architecture,
            "os": if architecture == "unknown" { "unknown" } else { "linux" },
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = self.put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
        let mut entry = self.put(kind, manifest.to_string().as_bytes());
        let os = if architecture == "unknown" { "unknown" } else { "linux" };
        entry["platform"] = json!({ "architecture": architecture, "os": os });
        entry
    }

    /// Writes it; gives the index's digest.
    fn write(&self) -> String {
        fs::create_dir_all(self.0.join("blobs/sha256")).expect("folders");
        let mut manifests = Vec::new();
        for (architecture, length) in [("amd64", 700_000), ("arm64", 700)] {
            // What is not compressed it compresses on the way to a registry.
            let plain = self.0.join("layer");
            let bytes: Vec<u8> =
                (0_u32..length).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            fs::write(&plain, bytes).expect("a layer");
            let gzip = Command::new("gzip").arg("-cn").arg(&plain).output().expect("gzip");
            fs::remove_file(plain).expect("a layer");
            let layer = self.put("application/vnd.oci.image.layer.v1.tar+gzip", &gzip.stdout);
            let image = self.manifest(architecture, &layer);
            let said = format!("{{\"about\":\"{architecture}\"}}");
            let statement = self.put("application/vnd.in-toto+json", said.as_bytes());
            let mut statements = self.manifest("unknown", &statement);
            statements["annotations"] = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": image["digest"],
            });
            manifests.extend([image, statements]);
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests });
        let mut entry = self.put(kind, index.to_string().as_bytes());
        let digest = entry["digest"].as_str().expect("a digest").to_owned();
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
        let top = json!({ "schemaVersion": 2, "manifests": [entry] });
        fs::write(self.0.join("index.json"), top.to_string()).expect("index.json");
        fs::write(self.0.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("oci-layout");
        digest
    }
}

/// Runs it; gives what it says.
fn skopeo(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "--tmpdir"])
        .arg(folder)
        .args(words)
        .output()
        .expect("skopeo: installed by `cargo xtask test`");
    let (said, problem) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "skopeo {words:?}: {problem}");
    String::from_utf8(said).expect("text")
}

#[test]
fn all_that_an_index_names_goes_in_around_and_out() {
    let registry = DrayRegistry::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let (from, back) = (folder.path().join("from"), folder.path().join("back"));
    let digest = Layout(&from).write();
    let at = |name: &str| format!("docker://{}/{name}", registry.host());
    let run = |words: &[&str]| skopeo(folder.path(), words);
    let copy = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = |from: &str, to: &str| drop(run(&[&copy[..], &[from, to]].concat()));
    let raw = |name: &str| run(&["inspect", "--raw", "--tls-verify=false", &at(name)]);
    let tags = |name: &str| -> Value {
        let said = run(&["list-tags", "--tls-verify=false", &at(name)]);
        serde_json::from_str::<Value>(&said).expect("JSON")["Tags"].clone()
    };
    copy(&format!("oci:{}:v1", from.display()), &at("a/app:v1"));
    copy(&at("a/app:v1"), &at("b/app:v2"));
    copy(&at("b/app:v2"), &format!("oci:{}:v1", back.display()));
    let top: Value =
        serde_json::from_slice(&fs::read(back.join("index.json")).expect("index.json")).expect("JSON");
    assert_eq!(top["manifests"][0]["digest"], digest.as_str());
    let blobs = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder.join("blobs/sha256"))
            .expect("blobs")
            .map(|entry| entry.expect("a blob").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(blobs(&back), blobs(&from));
    assert_eq!(tags("b/app"), json!(["v2"]));

    // One platform alone, in Docker's form.
    let docker = ["copy", "--format=v2s2", "--override-arch=arm64", "--src-tls-verify=false"];
    run(&[&docker[..], &["--dest-tls-verify=false", &at("a/app:v1"), &at("b/app:docker")]].concat());
    assert!(raw("b/app:docker").contains("application/vnd.docker.distribution.manifest.v2+json"));

    let host = registry.host();
    run(&[
        "sync",
        "--all",
        "--src=docker",
        "--dest=docker",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &format!("{host}/b/app"),
        &format!("{host}/mirror"),
    ]);
    assert_eq!(tags("mirror/app"), json!(["docker", "v2"]));
    assert_eq!(raw("mirror/app:v2"), raw("a/app:v1"));

    run(&["delete", "--tls-verify=false", &at("b/app:v2")]);
    assert_eq!(tags("b/app"), json!(["docker"]));
}
