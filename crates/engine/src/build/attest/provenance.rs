//! How a result was made, as SLSA's provenance (slsa.dev/spec/v1.1/provenance) with BuildKit's fields
//! (docs/attestations/slsa-definitions.md there).

use std::collections::BTreeMap;

use dray_build::{Built, Capture, DoneStep, Material, Operation};
use dray_image::export::{Predicate, image_purl};
use dray_spec::{Descriptor, Platform, Reference};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{ProvenanceMode, ProvenanceOptions, Statement};

const V1: &str = "https://slsa.dev/provenance/v1";
const V02: &str = "https://slsa.dev/provenance/v0.2";
const BUILD_TYPE_V1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";
const METADATA_V02: &str = "https://mobyproject.org/buildkit@v1#metadata";

/// Attributes that are this host's, or nobody's business.
const HOST_SPECIFIC: [&str; 4] = ["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"];
/// Begins those that say where the sources come from.
const VCS: &str = "vcs:";

/// What a build was asked for, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The frontend's attributes.
    pub attrs: BTreeMap<String, String>,
    /// Its id.
    pub id: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub finished: String,
}

impl Invocation {
    /// A build that begins now.
    pub fn begin(attrs: BTreeMap<String, String>) -> Self {
        let mut random = [0; 16];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let now = Timestamp::now().to_string();
        Invocation { attrs, id: hex::encode(random), started: now.clone(), finished: now }
    }

    /// It has ended.
    pub fn end(&mut self) {
        self.finished = Timestamp::now().to_string();
    }
}

/// What there is to be told of a result.
pub(in crate::build) struct Told<'a> {
    pub invocation: &'a Invocation,
    pub built: &'a Built,
    /// The blobs of the image's layers, bottom first, as far as there are some.
    pub layers: &'a [Descriptor],
}

/// The same, taken apart.
struct Taken<'a> {
    invocation: &'a Invocation,
    capture: &'a Capture,
    /// The layer that a step wrote, by the step's place.
    layers: BTreeMap<usize, Descriptor>,
}

impl<'a> From<&Told<'a>> for Taken<'a> {
    fn from(told: &Told<'a>) -> Self {
        let capture = told.built.capture.as_ref();
        let written = |(n, step): (usize, &DoneStep)| {
            let layer = step.layer?;
            let place = told.built.content.layers.iter().position(|known| *known == layer)?;
            Some((n, told.layers.get(place)?.clone()))
        };
        let layers = capture.steps.iter().enumerate().filter_map(written).collect();
        Taken { invocation: told.invocation, capture, layers }
    }
}

/// The statement about how a result was made.
pub(in crate::build) fn provenance(told: &Told<'_>, options: &ProvenanceOptions) -> Statement {
    statement(&Taken::from(told), options)
}

fn statement(taken: &Taken<'_>, options: &ProvenanceOptions) -> Statement {
    let parts = Parts::of(taken, options);
    let (kind, content) = match options.old {
        false => (V1, parts.version_1()),
        true => (V02, parts.version_02()),
    };
    Statement {
        predicate: Predicate { kind: kind.to_owned(), content },
        file: options.filename.clone(),
        inline_only: options.inline_only,
    }
}

/// What both versions have, each at its place.
struct Parts<'a> {
    told: &'a Taken<'a>,
    options: &'a ProvenanceOptions,
    /// Where the Dockerfile is.
    source: Map<String, Value>,
    request: Map<String, Value>,
    request_complete: bool,
    materials: Vec<Value>,
    materials_complete: bool,
    metadata: Map<String, Value>,
    config: Option<Value>,
}

impl<'a> Parts<'a> {
    fn of(told: &'a Taken<'a>, options: &'a ProvenanceOptions) -> Self {
        let max = options.mode == ProvenanceMode::Max;
        let mut attrs = told.invocation.attrs.clone();
        attrs.retain(|name, value| {
            !value.is_empty() && !HOST_SPECIFIC.contains(&name.as_str()) && !is_steering(name)
        });
        let mut source = Map::new();
        let context = attrs.remove("context");
        if let Some(context) = &context {
            source.insert("uri".into(), without_credentials(context).into());
            if let Some(digest) =
                told.capture.materials.iter().find_map(|material| digest_at(material, context))
            {
                source.insert("digest".into(), digest);
            }
        }
        let path = attrs.remove("filename").unwrap_or_else(|| told.capture.dockerfile.0.clone());
        source.insert("path".into(), path.into());
        let mut metadata = Map::new();
        let vcs: BTreeMap<String, String> = attrs
            .iter()
            .filter_map(|(name, value)| {
                Some((name.strip_prefix(VCS)?.to_owned(), without_credentials(value)))
            })
            .collect();
        if !vcs.is_empty() {
            metadata.insert("vcs".into(), json!(vcs));
        }
        attrs.retain(|name, _| !name.starts_with(VCS));
        let all = attrs.len();
        if !max {
            attrs.retain(|name, _| !name.starts_with("build-arg:") && !name.starts_with("label:"));
        }
        let request_complete = attrs.len() == all;
        let mut request = Map::new();
        request.insert("frontend".into(), "dockerfile.v0".into());
        if !attrs.is_empty() {
            request.insert("args".into(), json!(attrs));
        }
        if max {
            for (name, ids) in [("secrets", &told.capture.secrets), ("ssh", &told.capture.agents)] {
                if !ids.is_empty() {
                    request.insert(name.into(), ids.iter().map(named).collect());
                }
            }
        }
        let locals = locals(told, context.is_some());
        if !locals.is_empty() {
            let locals: Vec<Value> = locals.iter().map(|name| json!({ "name": name })).collect();
            request.insert("locals".into(), locals.into());
        }
        if max {
            metadata.insert("source".into(), source_of(told));
            let layers: Map<String, Value> =
                told.layers.iter().map(|(n, layer)| (format!("step{n}:0"), json!([[layer]]))).collect();
            if !layers.is_empty() {
                metadata.insert("layers".into(), layers.into());
            }
        }
        let config = max.then(|| json!({ "llbDefinition": definition(&told.capture.steps) }));
        Parts {
            told,
            options,
            source,
            request,
            request_complete,
            materials: told.capture.materials.iter().map(material).collect(),
            materials_complete: locals.is_empty(),
            metadata,
            config,
        }
    }

    fn hermetic(&self) -> bool {
        self.materials_complete && !uses_network(&self.told.capture.steps)
    }

    fn version_1(self) -> Value {
        let hermetic = self.hermetic();
        let mut internal = Map::new();
        internal.extend(self.config.map(|config| ("buildConfig".to_owned(), config)));
        internal.insert("builderPlatform".into(), Platform::host().to_string().into());
        let invocation = self.told.invocation;
        let mut metadata = json!({
            "invocationId": invocation.id,
            "startedOn": invocation.started,
            "finishedOn": invocation.finished,
            "buildkit_metadata": self.metadata,
            "buildkit_completeness": {
                "request": self.request_complete,
                "resolvedDependencies": self.materials_complete,
            },
        });
        for (name, is) in
            [("buildkit_hermetic", hermetic), ("buildkit_reproducible", self.options.reproducible)]
        {
            if is {
                metadata[name] = true.into();
            }
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE_V1,
                "externalParameters": { "configSource": self.source, "request": self.request },
                "internalParameters": internal,
                "resolvedDependencies": self.materials,
            },
            "runDetails": {
                "builder": { "id": self.options.builder_id },
                "metadata": metadata,
            },
        })
    }

    fn version_02(mut self) -> Value {
        let hermetic = self.hermetic();
        if let Some(path) = self.source.remove("path") {
            self.source.insert("entryPoint".into(), path);
        }
        let invocation = self.told.invocation;
        let mut metadata = json!({
            "buildInvocationID": invocation.id,
            "buildStartedOn": invocation.started,
            "buildFinishedOn": invocation.finished,
            "completeness": {
                "parameters": self.request_complete,
                "environment": true,
                "materials": self.materials_complete,
            },
            "reproducible": self.options.reproducible,
        });
        metadata[METADATA_V02] = self.metadata.into();
        if hermetic {
            metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true.into();
        }
        let mut predicate = json!({
            "builder": { "id": self.options.builder_id },
            "buildType": BUILD_TYPE_V02,
            "materials": self.materials,
            "invocation": {
                "configSource": self.source,
                "parameters": self.request,
                "environment": { "platform": Platform::host().to_string() },
            },
            "metadata": metadata,
        });
        if let Some(config) = self.config {
            predicate["buildConfig"] = config;
        }
        predicate
    }
}

/// Whether some step could use a network.
fn uses_network(steps: &[DoneStep]) -> bool {
    steps.iter().any(|step| matches!(step.operation, Operation::Exec { network: true, .. }))
}

/// Attributes of the protocol itself.
fn is_steering(name: &str) -> bool {
    ["attest:", "local-sessionid:", "contextkey", "dockerfilekey", "multi-platform"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || name.starts_with("build-arg:BUILDKIT_ATTEST_")
}

fn named((id, optional): &(String, bool)) -> Value {
    match optional {
        true => json!({ "id": id, "optional": true }),
        false => json!({ "id": id }),
    }
}

/// The folders of the client that were used.
fn locals(told: &Taken<'_>, remote: bool) -> Vec<String> {
    let used = told.capture.steps.iter().filter_map(|step| match &step.operation {
        Operation::Source { identifier } => identifier.strip_prefix("local://"),
        _ => None,
    });
    let mut names: Vec<String> =
        used.filter(|name| !remote || *name != "context").map(str::to_owned).collect();
    if !remote {
        names.push("dockerfile".to_owned());
    }
    names.sort();
    names.dedup();
    names
}

/// The digest of what is at an address, if the build took it from there.
fn digest_at(material: &Material, address: &str) -> Option<Value> {
    match material {
        Material::Http { url, digest } if url == address => Some(digests(digest)),
        Material::Git { url, commit } if address.split(['#', '?']).next() == Some(url.as_str()) => {
            Some(json!({ "sha1": commit }))
        }
        _ => None,
    }
}

fn digests(digest: &dray_spec::Digest) -> Value {
    json!({ digest.algorithm().to_string(): digest.hex() })
}

fn material(material: &Material) -> Value {
    match material {
        Material::Image { name, platform, digest } => {
            let uri =
                Reference::parse(name).map_or_else(|_| name.clone(), |name| image_purl(&name, platform));
            let mut material = json!({ "uri": uri });
            if let Some(digest) = digest {
                material["digest"] = digests(digest);
            }
            material
        }
        Material::Http { url, digest } => {
            json!({ "uri": without_credentials(url), "digest": digests(digest) })
        }
        Material::Git { url, commit } => {
            let kind = if commit.len() == 64 { "sha256" } else { "sha1" };
            json!({ "uri": without_credentials(url), "digest": { kind: commit } })
        }
    }
}

/// An address without the name and password in it.
fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => address.to_owned(),
    }
}

/// The steps as a graph.
fn definition(steps: &[DoneStep]) -> Vec<Value> {
    let step = |(n, step): (usize, &DoneStep)| {
        let operation = match &step.operation {
            Operation::Source { identifier } => json!({ "source": { "identifier": identifier } }),
            Operation::Exec { args, cwd, user, .. } => {
                let mut meta = json!({ "args": args, "cwd": cwd });
                if !user.is_empty() {
                    meta["user"] = user.as_str().into();
                }
                json!({ "exec": { "meta": meta } })
            }
            Operation::File { sources, dest } => {
                let copy = |source: &String| json!({ "Action": { "copy": { "src": source, "dest": dest } } });
                json!({ "file": { "actions": sources.iter().map(copy).collect::<Vec<_>>() } })
            }
            Operation::Directory { path } => {
                json!({ "file": { "actions": [{ "Action": { "mkdir": { "path": path, "makeParents": true } } }] } })
            }
        };
        let platform = json!({ "Architecture": step.platform.architecture, "OS": step.platform.os });
        let mut described =
            json!({ "id": format!("step{n}"), "op": { "Op": operation, "platform": platform } });
        if !step.inputs.is_empty() {
            let inputs: Vec<String> = step.inputs.iter().map(|input| format!("step{input}:0")).collect();
            described["inputs"] = inputs.into();
        }
        described
    };
    steps.iter().enumerate().map(step).collect()
}

/// The Dockerfile, and which of its lines each step is.
fn source_of(told: &Taken<'_>) -> Value {
    use base64::Engine as _;
    let (name, text) = &told.capture.dockerfile;
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    let mut locations = Map::new();
    for (n, step) in told.capture.steps.iter().enumerate().filter(|(_, step)| step.lines.0 > 0) {
        let range = |line: usize| json!({ "start": { "line": line }, "end": { "line": line } });
        let ranges: Vec<Value> = (step.lines.0..=step.lines.1).map(range).collect();
        locations.insert(format!("step{n}"), json!({ "locations": [{ "ranges": ranges }] }));
    }
    json!({
        "locations": locations,
        "infos": [{ "filename": name, "language": "Dockerfile", "data": data }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(options: &ProvenanceOptions) -> Value {
        let attrs = [
            ("build-arg:TOKEN", "private"),
            ("label:a", "b"),
            ("target", "app"),
            ("platform", "linux/arm64"),
            ("vcs:source", "https://user:pass@example.org/app.git"),
            ("vcs:revision", "abc"),
            ("attest:provenance", "mode=max"),
            ("local-sessionid:context", "s"),
        ];
        let invocation = Invocation {
            attrs: attrs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            id: "build".into(),
            started: "2026-01-01T00:00:00Z".into(),
            finished: "2026-01-01T00:00:01Z".into(),
        };
        let platform = Platform::new("linux", "amd64", None);
        let digest = dray_spec::Digest::sha256_of(b"x");
        let step = |operation, inputs: &[usize], lines| DoneStep {
            operation,
            platform: platform.clone(),
            inputs: inputs.to_vec(),
            lines,
            layer: None,
        };
        let steps = [
            step(
                Operation::Source { identifier: "docker-image://docker.io/library/alpine:3".into() },
                &[],
                (1, 1),
            ),
            step(Operation::Source { identifier: "local://context".into() }, &[], (0, 0)),
            step(Operation::File { sources: vec!["/a".into()], dest: "/b".into() }, &[0, 1], (2, 3)),
            step(
                Operation::Exec {
                    args: vec!["/bin/sh".into(), "-c".into(), "x".into()],
                    cwd: "/".into(),
                    user: String::new(),
                    network: true,
                },
                &[2],
                (4, 4),
            ),
        ];
        let materials = [
            Material::Image {
                name: "alpine:3".into(),
                platform: platform.clone(),
                digest: Some(digest.clone()),
            },
            Material::Http { url: "https://u:p@example.org/f".into(), digest: digest.clone() },
            Material::Git { url: "https://example.org/r.git".into(), commit: "c".repeat(40) },
        ];
        let layer = Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip", digest, 7);
        let capture = Capture {
            materials: materials.to_vec(),
            steps: steps.to_vec(),
            secrets: vec![("token".to_owned(), false)],
            agents: Vec::new(),
            dockerfile: ("Dockerfile".to_owned(), "FROM alpine:3\n".to_owned()),
        };
        let taken = Taken { invocation: &invocation, capture: &capture, layers: [(2, layer)].into() };
        statement(&taken, options).predicate.content
    }

    #[test]
    fn the_least_has_nothing_private() {
        let min = ProvenanceOptions { mode: ProvenanceMode::Min, ..ProvenanceOptions::default() };
        let predicate = told(&min);
        let text = predicate.to_string();
        for secret in ["private", "label:a", "token", "pass", "u:p", "local-sessionid"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        let definition = &predicate["buildDefinition"];
        assert_eq!(definition["externalParameters"]["request"]["args"], json!({ "target": "app" }));
        let locals = &definition["externalParameters"]["request"]["locals"];
        assert_eq!(*locals, json!([{ "name": "context" }, { "name": "dockerfile" }]));
        assert_eq!(definition["internalParameters"]["buildConfig"], Value::Null);
        let dependencies = &definition["resolvedDependencies"];
        assert_eq!(dependencies[0]["uri"], "pkg:docker/alpine@3?platform=linux%2Famd64");
        assert_eq!(dependencies[1]["uri"], "https://example.org/f");
        assert_eq!(dependencies[2]["digest"]["sha1"], "c".repeat(40));
        let metadata = &predicate["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_completeness"]["request"], false);
        assert_eq!(metadata["buildkit_metadata"]["vcs"]["source"], "https://example.org/app.git");
        assert_eq!(metadata["buildkit_metadata"]["source"], Value::Null);
    }

    #[test]
    fn the_most_has_steps_sources_and_layers() {
        let options = ProvenanceOptions { reproducible: true, ..ProvenanceOptions::default() };
        let predicate = told(&options);
        let definition = &predicate["buildDefinition"];
        let request = &definition["externalParameters"]["request"];
        assert_eq!(request["args"]["build-arg:TOKEN"], "private");
        assert_eq!(request["secrets"], json!([{ "id": "token" }]));
        let steps = &definition["internalParameters"]["buildConfig"]["llbDefinition"];
        assert_eq!(steps[2]["inputs"], json!(["step0:0", "step1:0"]));
        assert_eq!(steps[3]["op"]["Op"]["exec"]["meta"]["args"][2], "x");
        let metadata = &predicate["runDetails"]["metadata"];
        assert_eq!(metadata["buildkit_reproducible"], true);
        assert_eq!(metadata["buildkit_hermetic"], Value::Null);
        let buildkit = &metadata["buildkit_metadata"];
        assert_eq!(buildkit["source"]["infos"][0]["data"], "RlJPTSBhbHBpbmU6Mwo=");
        let ranges = &buildkit["source"]["locations"]["step2"]["locations"][0]["ranges"];
        assert_eq!(ranges.as_array().map(Vec::len), Some(2));
        assert_eq!(buildkit["layers"]["step2:0"][0][0]["size"], 7);
    }

    #[test]
    fn the_older_version_has_the_same_at_other_places() {
        let predicate = told(&ProvenanceOptions { old: true, ..ProvenanceOptions::default() });
        assert_eq!(predicate["invocation"]["configSource"]["entryPoint"], "Dockerfile");
        assert_eq!(predicate["materials"].as_array().map(Vec::len), Some(3));
        assert_eq!(predicate["buildConfig"]["llbDefinition"].as_array().map(Vec::len), Some(4));
        assert!(predicate["metadata"][METADATA_V02]["vcs"].is_object());
    }
}
