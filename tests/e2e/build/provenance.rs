//! Provenance held against BuildKit's own: the same Dockerfile is built by buildkitd and here, and what consumers read of
//! either is the same, step by step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use dray_harness::buildkitd::Buildkitd;
use dray_harness::client::finish;
use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon};
use serde_json::{Value, json};

use super::{buildx, context};

/// Each with flags of its build.
const CASES: [(&str, &str, &str); 3] = [
    (
        "stages",
        "ARG BASE\nFROM ${BASE} AS made\nARG TOKEN=none\nWORKDIR /work\n\
         RUN --mount=type=secret,id=key --mount=type=cache,target=/c,sharing=locked \\\n    echo made > /out\n\
         RUN <<EOF\necho one\necho two > /two\nEOF\n\n\
         FROM ${BASE}\nENV A=b\nUSER 1:1\nCOPY --from=made /out /two /dir/\n\
         COPY --chown=2:3 --chmod=640 src a.txt /files/\nADD a.txt sub/b.txt\n\
         RUN --network=none --mount=type=bind,from=made,source=/out,target=/in true\nLABEL x=y\nCMD [\"x\"]\n",
        "--build-arg TOKEN=t --label l=m --secret id=key,src=a.txt",
    ),
    ("scratch", "FROM scratch\nCOPY a.txt /\nCOPY src /src/\nENV A=b\n", ""),
    (
        "mounts",
        "ARG BASE\nFROM ${BASE} AS files\nRUN mkdir -p /made\n\
         FROM files AS other\nRUN --mount=type=tmpfs,target=/t,size=1m true\n\
         FROM files\nRUN --mount=target=/context --mount=type=secret,id=key,env=KEY,required=true true\n\
         COPY --from=other /made /made\n",
        "--secret id=key,src=a.txt",
    ),
];

const FILES: [(&str, &str); 2] = [("a.txt", "hello"), ("src/x", "x")];

/// The working tree of a repository with an origin.
fn repository(daemon: &Daemon, name: &str, dockerfile: &str) -> PathBuf {
    let folder = context(daemon, name, dockerfile, &FILES);
    let script = "git init -q -b main . && git add . && \
                  git -c user.name=t -c user.email=t@example.org commit -qm x && \
                  git remote add origin https://user:password@example.org/one.git";
    let status = Command::new("sh").args(["-c", script]).current_dir(&folder).status().expect("sh");
    assert!(status.success());
    folder
}

/// Builds and pushes with provenance.
fn push(client: &Client, folder: &Path, name: &str, version: &str, flags: &str) {
    let mut command = client.command(["build", "--push", "-t", name, "--provenance"]);
    command
        .arg(format!("mode=max,version={version}"))
        .args(flags.split_whitespace())
        .arg(".")
        .current_dir(folder);
    finish(command, b"").expect_success();
}

fn read_back(client: &Client, name: &str) -> Value {
    let format = "{{json .Provenance.SLSA}}";
    let said = client.run(["imagetools", "inspect", name, "--format", format]).expect_success();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

/// The steps of a build as a tree below the last one: what each did, by which lines, upon what.
fn tree(config: &Value, source: &Value, layers: &Value, id: &str) -> Value {
    let steps = config["llbDefinition"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id}: {config}"));
    let inputs: Vec<Value> = step["inputs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|input| tree(config, source, layers, input.as_str().unwrap_or_default().trim_end_matches(":0")))
        .collect();
    let mut op = step["op"].clone();
    // What is said of how a client's folder is read is up to the builder.
    op["Op"]["source"].as_object_mut().into_iter().for_each(|source| drop(source.remove("attrs")));
    // What the directory of a cache mount is called, too.
    for mount in op["Op"]["exec"]["mounts"].as_array_mut().into_iter().flatten() {
        mount["cacheOpt"].as_object_mut().into_iter().for_each(|options| drop(options.remove("ID")));
    }
    let mut lines = source["locations"][id]["locations"].as_array().cloned().unwrap_or_default();
    lines.sort_by_key(Value::to_string);
    let layers = layers[format!("{id}:0")][0].as_array().map_or(0, Vec::len);
    // A step that wrote nothing has a layer there, and none here.
    json!({ "op": op, "inputs": inputs, "lines": lines, "has layers": layers > 0 })
}

/// What there is to compare of a predicate, in either version.
fn comparable(predicate: &Value) -> BTreeMap<&'static str, Value> {
    let old = predicate["buildDefinition"].is_null();
    let at = |new: &str, of_old: &str| {
        predicate.pointer(if old { of_old } else { new }).cloned().unwrap_or_default()
    };
    let config = at("/buildDefinition/internalParameters/buildConfig", "/buildConfig");
    let metadata = match old {
        false => predicate["runDetails"]["metadata"].clone(),
        true => predicate["metadata"].clone(),
    };
    let buildkit = match old {
        false => metadata["buildkit_metadata"].clone(),
        true => metadata["https://mobyproject.org/buildkit@v1#metadata"].clone(),
    };
    let last =
        config["llbDefinition"].as_array().and_then(|steps| steps.last()).expect("steps")["id"].clone();
    let last = last.as_str().expect("an id");
    let keys = |value: &Value| value.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
    let mapped = config["digestMapping"].as_object().map(|all| {
        let mut ids: Vec<String> = all.values().map(Value::to_string).collect();
        ids.sort();
        ids.len() == config["llbDefinition"].as_array().map_or(0, Vec::len)
    });
    let info = &buildkit["source"]["infos"][0];
    [
        ("keys", json!(keys(predicate))),
        ("keys of metadata", json!(keys(&metadata))),
        ("keys of BuildKit's metadata", json!(keys(&buildkit))),
        ("type", at("/buildDefinition/buildType", "/buildType")),
        ("source", at("/buildDefinition/externalParameters/configSource", "/invocation/configSource")),
        ("request", at("/buildDefinition/externalParameters/request", "/invocation/parameters")),
        (
            "platform",
            at("/buildDefinition/internalParameters/builderPlatform", "/invocation/environment/platform"),
        ),
        ("materials", at("/buildDefinition/resolvedDependencies", "/materials")),
        ("complete", at("/runDetails/metadata/buildkit_completeness", "/metadata/completeness")),
        ("repository", buildkit["vcs"].clone()),
        ("Dockerfile", json!([info["filename"], info["language"], info["data"], keys(info)])),
        ("all are mapped", json!(mapped)),
        ("steps", tree(&config, &buildkit["source"], &buildkit["layers"], last)),
    ]
    .into()
}

#[test]
fn provenance_is_buildkit_s_step_by_step() {
    // It pulls the base, as buildkitd does.
    let (maker, daemon, registry) = (Daemon::start(), Daemon::empty(), Registry::start());
    let base = format!("{}/busybox:latest", registry.host());
    maker.docker().ok(&format!("tag busybox {base}"));
    maker.docker().ok(&format!("push {base}"));
    let peer = Buildkitd::start();
    let (reference, ours) = (peer.buildx(), buildx(&daemon));
    for (name, dockerfile, flags) in CASES {
        let folder = repository(&daemon, name, dockerfile);
        let with_base = match dockerfile.contains("BASE") {
            true => format!("--build-arg BASE={base}"),
            false => String::new(),
        };
        let flags = format!("{flags} {with_base}");
        for version in ["v1", "v0.2"] {
            let read = |client: &Client, who: &str| {
                let image = format!("{}/{name}:{who}-{version}", registry.host());
                push(client, &folder, &image, version, &flags);
                read_back(&ours, &image)
            };
            let (theirs, ours, of_dray) =
                (read(&reference, "buildkit"), read(&ours, "buildx"), read(&daemon.dray(), "dray"));
            let (theirs, ours, of_dray) = (comparable(&theirs), comparable(&ours), comparable(&of_dray));
            for (what, expected) in &theirs {
                let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
                for (who, found) in [("buildx", &ours[what]), ("dray", &of_dray[what])] {
                    assert_eq!(
                        pretty(found),
                        pretty(expected),
                        "{name} {version}: {what} (left: with {who} here, right: BuildKit)"
                    );
                }
            }
        }
    }
}
