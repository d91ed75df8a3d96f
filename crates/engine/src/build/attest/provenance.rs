//! How a result was made, as SLSA's provenance (slsa.dev/spec/v1.1/provenance) with BuildKit's fields
//! (docs/attestations/slsa-definitions.md there).

use std::collections::BTreeMap;

use dray_build::{Built, Capture, DoneStep, Material, Operation};
use dray_image::export::{Predicate, image_purl};
use dray_spec::{Descriptor, Platform, Reference};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{ProvenanceMode, ProvenanceOptions, Statement, graph};

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
    /// The layers that there were after a step of the image, by the step's place.
    layers: BTreeMap<usize, Vec<Descriptor>>,
}

impl<'a> From<&Told<'a>> for Taken<'a> {
    fn from(told: &Told<'a>) -> Self {
        let capture = told.built.capture.as_ref();
        let layers = layers(told, capture);
        Taken { invocation: told.invocation, capture, layers }
    }
}

/// The layers after each step that the image is made of, from its base on.
fn layers(told: &Told<'_>, capture: &Capture) -> BTreeMap<usize, Vec<Descriptor>> {
    let mut chain: Vec<usize> = Vec::new();
    let mut next = capture.result;
    while let Some((n, step)) = next.and_then(|n| Some((n, capture.steps.get(n)?))) {
        chain.push(n);
        next = step.inputs.first().copied().filter(|_| step.is_upon);
    }
    let mut count = told.built.base.as_ref().map_or(0, |(_, layers)| *layers);
    let mut after = BTreeMap::new();
    for n in chain.into_iter().rev() {
        let place = |layer| told.built.content.layers.iter().position(|known| *known == layer);
        if let Some(place) = capture.steps[n].layer.and_then(place) {
            count = place + 1;
        }
        if let Some(layers) = told.layers.get(..count).filter(|layers| !layers.is_empty()) {
            after.insert(n, layers.to_vec());
        }
    }
    after
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
            let found = told.capture.materials.iter().find_map(|material| at(material, context));
            let (uri, digest) = found.map_or((context.as_str(), None), |(uri, of)| (uri, Some(of)));
            source.insert("uri".into(), without_credentials(uri).into());
            source.extend(digest.map(|digest| ("digest".to_owned(), digest)));
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
            metadata.insert("source".into(), source_of(told, context.is_some()));
            let layers: Map<String, Value> =
                told.layers.iter().map(|(n, layers)| (format!("step{n}:0"), json!([layers]))).collect();
            if !layers.is_empty() {
                metadata.insert("layers".into(), layers.into());
            }
        }
        let config = max.then(|| graph::definition(told.capture));
        Parts {
            told,
            options,
            source,
            request,
            request_complete,
            materials: materials(told.capture),
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
            "invocationID": invocation.id,
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
        let mut definition = json!({
            "buildType": BUILD_TYPE_V1,
            "externalParameters": { "configSource": self.source, "request": self.request },
            "internalParameters": internal,
        });
        if !self.materials.is_empty() {
            definition["resolvedDependencies"] = self.materials.into();
        }
        json!({
            "buildDefinition": definition,
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
            "invocation": {
                "configSource": self.source,
                "parameters": self.request,
                "environment": { "platform": Platform::host().to_string() },
            },
            "metadata": metadata,
        });
        if !self.materials.is_empty() {
            predicate["materials"] = self.materials.into();
        }
        if let Some(config) = self.config {
            predicate["buildConfig"] = config;
        }
        predicate
    }
}

/// Whether some step could use a network.
fn uses_network(steps: &[DoneStep]) -> bool {
    steps.iter().any(|step| matches!(&step.operation, Operation::Exec { network, .. } if network != "none"))
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

/// What is at an address, if the build took it from there: how it is called, and its digest.
fn at<'a>(material: &'a Material, address: &str) -> Option<(&'a str, Value)> {
    match material {
        Material::Http { url, digest } if Some(url.as_str()) == address.split('#').next() => {
            Some((url, digests(digest)))
        }
        Material::Git { url, commit } if Material::repository(address).as_ref() == Some(url) => {
            Some((url, of_commit(commit)))
        }
        _ => None,
    }
}

fn of_commit(commit: &str) -> Value {
    let kind = if commit.len() == 64 { "sha256" } else { "sha1" };
    json!({ kind: commit })
}

/// Images first, then repositories, then files, each in their order.
fn materials(capture: &Capture) -> Vec<Value> {
    let mut all: Vec<&Material> = capture.materials.iter().collect();
    all.sort_by_key(|material| match material {
        Material::Image { name, platform, .. } => (0, name.clone(), platform.to_string()),
        Material::Git { url, .. } => (1, url.clone(), String::new()),
        Material::Http { url, .. } => (2, url.clone(), String::new()),
    });
    all.into_iter().map(material).collect()
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
            json!({ "uri": without_credentials(url), "digest": of_commit(commit) })
        }
    }
}

/// An address without the name and password in it.
pub(super) fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => address.to_owned(),
    }
}

/// The Dockerfile, and which of its lines each step is.
fn source_of(told: &Taken<'_>, remote: bool) -> Value {
    use base64::Engine as _;
    let (name, text) = &told.capture.dockerfile;
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    let range = |line: usize| json!({ "start": { "line": line }, "end": { "line": line } });
    let location = |(first, last): &(usize, usize)| {
        let ranges: Vec<Value> = (*first..=*last).map(range).collect();
        json!({ "ranges": ranges })
    };
    let mut locations = Map::new();
    for (n, step) in told.capture.steps.iter().enumerate() {
        let of_step: Vec<Value> = step.lines.iter().map(location).collect();
        let of_step = if of_step.is_empty() { json!({}) } else { json!({ "locations": of_step }) };
        locations.insert(format!("step{n}"), of_step);
    }
    let mut info = json!({ "filename": name, "language": "Dockerfile", "data": data });
    if let (false, Value::Object(brought)) = (remote, graph::of_dockerfile(name)) {
        info.as_object_mut().into_iter().for_each(|info| info.extend(brought.clone()));
    }
    json!({ "locations": locations, "infos": [info] })
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
        let step = |operation, inputs: &[usize], lines: (usize, usize)| DoneStep {
            operation,
            platform: platform.clone(),
            inputs: inputs.to_vec(),
            is_upon: !inputs.is_empty(),
            lines: Some(lines).filter(|lines| lines.0 > 0).into_iter().collect(),
            layer: None,
        };
        let steps = [
            step(
                Operation::Source { identifier: "docker-image://docker.io/library/alpine:3".into() },
                &[],
                (1, 1),
            ),
            step(Operation::Source { identifier: "local://context".into() }, &[], (0, 0)),
            step(
                Operation::File {
                    sources: vec!["a".into(), "c".into()],
                    dest: "/b/".into(),
                    owner: Some("2:app".into()),
                    mode: Some("u+x".into()),
                    unpacks: false,
                },
                &[0, 1],
                (2, 3),
            ),
            step(
                Operation::Exec {
                    args: vec!["/bin/sh".into(), "-c".into(), "x".into()],
                    env: vec!["PATH=/bin".into()],
                    cwd: "/".into(),
                    user: String::new(),
                    network: String::new(),
                    insecure: false,
                    mounts: Vec::new(),
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
            result: Some(3),
        };
        let taken = Taken { invocation: &invocation, capture: &capture, layers: [(2, vec![layer])].into() };
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
        assert_eq!(dependencies[1]["digest"]["sha1"], "c".repeat(40));
        assert_eq!(dependencies[2]["uri"], "https://example.org/f");
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
        let (first, second) =
            (&steps[2]["op"]["Op"]["file"]["actions"][0], &steps[2]["op"]["Op"]["file"]["actions"][1]);
        assert_eq!(
            (&first["input"], &first["secondaryInput"], &first["output"]),
            (&json!(0), &json!(1), &json!(-1))
        );
        assert_eq!(
            (&second["input"], &second["secondaryInput"], &second["output"]),
            (&json!(2), &json!(1), &json!(0))
        );
        let copy = &second["Action"]["copy"];
        assert_eq!((&copy["src"], &copy["modeStr"]), (&json!("/c"), &json!("u+x")));
        assert_eq!(copy["owner"]["user"]["User"]["byId"], 2);
        assert_eq!(steps[3]["op"]["Op"]["exec"]["meta"]["args"][2], "x");
        assert_eq!(steps[3]["op"]["Op"]["exec"]["mounts"], json!([{ "dest": "/" }]));
        assert_eq!(steps[4], json!({ "id": "step4", "inputs": ["step3:0"], "op": { "Op": {} } }));
        let base = steps[0]["op"]["Op"]["source"]["identifier"].as_str().unwrap_or_default();
        assert!(base.starts_with("docker-image://docker.io/library/alpine:3@sha256:"), "{base}");
        let mapping = &definition["internalParameters"]["buildConfig"]["digestMapping"];
        assert_eq!(mapping.as_object().map(Map::len), Some(5));
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
        assert_eq!(predicate["buildConfig"]["llbDefinition"].as_array().map(Vec::len), Some(5));
        assert!(predicate["metadata"][METADATA_V02]["vcs"].is_object());
    }
}
