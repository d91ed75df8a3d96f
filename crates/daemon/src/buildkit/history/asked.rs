//! What a build was asked for, as its record has it: in BuildKit's names, and without anything secret.

use std::collections::{BTreeMap, HashMap};

use dray_buildkit::proto::control::SolveRequest;
use dray_engine::build::history::record::{BuildRecord, NoCache, RecordedOutput, Thing};
use dray_engine::build::{Options, Output, OutputKind};

/// Words in the names of attributes whose values are nobody's business.
const SECRET_WORDS: [&str; 4] = ["token", "secret", "password", "access_key"];
/// What stands in the place of a user's name and password in an address.
const HIDDEN: &str = "xxxxx";

/// What a build is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    reference: String,
    frontend: String,
    attrs: BTreeMap<String, String>,
    outputs: Vec<RecordedOutput>,
    names: Vec<String>,
}

impl Asked {
    /// By `Control.Solve`; `outputs` as they were read.
    pub(in crate::buildkit) fn by_client(request: &SolveRequest, outputs: &[Output]) -> Self {
        let exporter = |exporter: &dray_buildkit::proto::control::Exporter| RecordedOutput {
            kind: exporter.kind.clone(),
            attrs: without_secrets(exporter.attrs.iter()),
        };
        Asked {
            reference: request.reference.clone(),
            frontend: request.frontend.clone(),
            attrs: without_secrets(request.frontend_attrs.iter()),
            outputs: request.exporters.iter().map(exporter).collect(),
            names: names(outputs),
        }
    }

    /// By `POST /build`. `source` says where the context comes from.
    pub(crate) fn by_request(reference: &str, options: &Options, outputs: &[Output], source: &str) -> Self {
        let mut attrs: HashMap<String, String> = HashMap::new();
        let mut add = |name: String, value: &str| {
            if !value.is_empty() {
                attrs.insert(name, value.to_owned());
            }
        };
        add("filename".into(), &options.dockerfile);
        add("target".into(), &options.target);
        add("platform".into(), &options.platform);
        add("force-network-mode".into(), &options.network_mode);
        add("cgroup-parent".into(), &options.resources.cgroup_parent);
        add("context".into(), if options.remote.is_empty() { source } else { &options.remote });
        add("image-resolve-mode".into(), if options.pull { "pull" } else { "" });
        for (name, value) in &options.contexts {
            add(format!("context:{name}"), value);
        }
        for (name, value) in &options.labels {
            add(format!("label:{name}"), value);
        }
        for (name, value) in &options.build_args {
            add(format!("build-arg:{name}"), value.as_deref().unwrap_or_default());
        }
        for (name, value) in &options.vcs {
            add(format!("vcs:{name}"), value);
        }
        if options.no_cache || !options.no_cache_stages.is_empty() {
            attrs.insert("no-cache".into(), options.no_cache_stages.join(","));
        }
        let output = |output: &Output| RecordedOutput {
            kind: kind(output.kind).to_owned(),
            attrs: [("name".to_owned(), joined(output))].into_iter().filter(|(_, v)| !v.is_empty()).collect(),
        };
        Asked {
            reference: reference.to_owned(),
            frontend: "dockerfile.v0".to_owned(),
            attrs: without_secrets(attrs.iter()),
            outputs: outputs.iter().map(output).collect(),
            names: names(outputs),
        }
    }

    /// Which stages do not come from the cache.
    pub(super) fn no_cache(&self) -> NoCache {
        match self.attrs.get("no-cache").map(String::as_str) {
            None => NoCache::default(),
            Some("") => NoCache { all: true, stages: Vec::new() },
            Some(names) => NoCache { all: false, stages: names.split(',').map(str::to_owned).collect() },
        }
    }

    /// The record of a build that begins.
    pub(super) fn record(self) -> BuildRecord {
        let get = |name: &str| self.attrs.get(name).cloned().unwrap_or_default();
        let file = Some(get("filename")).filter(|file| !file.is_empty());
        let thing = Thing {
            context: Some(get("context"))
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| get("vcs:source")),
            names: self.names.clone(),
            file: file.unwrap_or_else(|| "Dockerfile".to_owned()),
            target: get("target"),
            platform: get("platform"),
        };
        BuildRecord {
            id: self.reference,
            frontend: self.frontend,
            attrs: self.attrs,
            outputs: self.outputs,
            thing,
            ..BuildRecord::default()
        }
    }
}

fn names(outputs: &[Output]) -> Vec<String> {
    outputs.iter().flat_map(|output| &output.names).map(ToString::to_string).collect()
}

fn joined(output: &Output) -> String {
    names(std::slice::from_ref(output)).join(",")
}

fn kind(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Image => "image",
        OutputKind::Docker => "docker",
        OutputKind::Oci => "oci",
        OutputKind::Tar => "tar",
        OutputKind::Local => "local",
    }
}

/// Attributes without session ids, tokens and passwords.
fn without_secrets<'a>(attrs: impl Iterator<Item = (&'a String, &'a String)>) -> BTreeMap<String, String> {
    let kept = attrs.filter(|(name, _)| !name.starts_with("local-sessionid:") && *name != "frontend.caps");
    let hidden = |(name, value): (&'a String, &'a String)| {
        let value = match name.as_str() {
            "cache-imports" => caches(value),
            _ => without_userinfo(value),
        };
        (name.clone(), value)
    };
    kept.map(hidden).collect()
}

/// The list of caches without what opens them.
fn caches(text: &str) -> String {
    let Ok(mut caches) = serde_json::from_str::<serde_json::Value>(text) else { return String::new() };
    let attrs =
        caches.as_array_mut().into_iter().flatten().filter_map(|cache| cache["Attrs"].as_object_mut());
    for attrs in attrs {
        attrs.retain(|name, _| !SECRET_WORDS.iter().any(|word| name.contains(word)));
    }
    caches.to_string()
}

/// Addresses without the user's name and password.
pub(in crate::buildkit) fn without_userinfo(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        hidden.push_str(before);
        let end = after.find(['/', '?', '#', ' ', ',', '"']).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(user) => {
                hidden.push_str(HIDDEN);
                &after[user..]
            }
            None => after,
        };
    }
    hidden + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_recorded() {
        let attrs: HashMap<String, String> = [
            ("context", "https://user:pw@host.example/x.git#main"),
            ("build-arg:https_proxy", "http://tok@proxy:3128"),
            ("build-arg:PLAIN", "a@b://c"),
            ("local-sessionid:context", "s"),
            (
                "cache-imports",
                r#"[{"Type":"gha","Attrs":{"scope":"x","token":"t","secret_access_key":"k"}}]"#,
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let kept = without_secrets(attrs.iter());
        assert_eq!(kept["context"], "https://xxxxx@host.example/x.git#main");
        assert_eq!(kept["build-arg:https_proxy"], "http://xxxxx@proxy:3128");
        assert_eq!(kept["build-arg:PLAIN"], "a@b://c");
        assert_eq!(kept["cache-imports"], r#"[{"Attrs":{"scope":"x"},"Type":"gha"}]"#);
        assert!(!kept.contains_key("local-sessionid:context"));
    }

    #[test]
    fn a_request_is_recorded_in_buildkit_s_names() {
        let options = Options {
            dockerfile: "sub/Build".into(),
            target: "t".into(),
            no_cache: true,
            build_args: [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)].into(),
            ..Options::default()
        };
        let asked = Asked::by_request("ref", &options, &[], "/src/app");
        assert!(asked.no_cache().all);
        let record = asked.record();
        assert_eq!(record.attrs["filename"], "sub/Build");
        assert_eq!(record.attrs["build-arg:A"], "1");
        assert!(!record.attrs.contains_key("build-arg:B"));
        let thing = &record.thing;
        let of = (thing.context.as_str(), thing.file.as_str(), thing.target.as_str());
        assert_eq!(of, ("/src/app", "sub/Build", "t"));
    }
}
