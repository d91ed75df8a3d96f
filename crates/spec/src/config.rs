//! The image configuration: what an image is made of and how it runs (OCI image-spec, config.md, with
//! Docker's additions). Its bytes' digest is the image's ID, so bytes that came from outside are kept as
//! they were and never written anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::de::{null_default, strings};
use crate::{Digest, Hasher, Platform};

/// The image configuration document.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Go's name of the architecture.
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// The operating system.
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// The architecture's variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Windows' build number.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// What Docker calls the comment of a commit or import.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// How a container of it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RunConfig>,
    /// The layers by their diff IDs.
    #[serde(default, deserialize_with = "null_default")]
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers_kind")]
    pub kind: String,
    /// Digests of the uncompressed tars, bottom first.
    #[serde(default, deserialize_with = "null_default")]
    pub diff_ids: Vec<Digest>,
}

fn layers_kind() -> String {
    "layers".into()
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers_kind(), diff_ids: Vec::new() }
    }
}

/// One step of an image's making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A note.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// True if the step made no layer.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The set that Go writes as a map to empty objects (`ExposedPorts`, `Volumes`).
pub type KeySet = BTreeMap<String, BTreeMap<String, Value>>;

/// How a container of an image runs unless its creator says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// `user[:group]`, by name or number.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp` → `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<KeySet>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program with its fixed arguments.
    #[serde(default, deserialize_with = "strings", skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the program where there is no entry point.
    #[serde(default, deserialize_with = "strings", skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Windows: the command is escaped already.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// `/data` → `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<KeySet>,
    /// Where the program starts.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks the program to end; empty is SIGTERM.
    #[serde(default, deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds after which it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// How to see that it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds upon this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// The shell of the shell form.
    #[serde(default, deserialize_with = "strings", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// A health check; durations are nanoseconds, zero inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", line]`, `["NONE"]`; empty inherits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Until a check counts as failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// While failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between checks within the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl ImageConfig {
    /// An image of this platform without layers.
    #[must_use]
    pub fn for_platform(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            ..Self::default()
        }
    }

    /// What the image runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: Vec::new(),
            variant: self.variant.clone(),
        }
    }

    /// The document's bytes, whose digest is the image's ID. Field order is fixed, maps are sorted: the same
    /// configuration gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serialisation of these types cannot fail: every map key is a string.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The labels, none if there are none.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.config.as_ref()?.labels.as_ref()
    }
}

/// The name of a stack of layers: of one its diff ID, of more the digest over the lower stack's name and the
/// topmost diff ID (OCI image-spec, config.md, "Layer ChainID"). The empty stack has the digest of nothing.
#[must_use]
pub fn chain_id(diff_ids: &[Digest]) -> Digest {
    let Some((first, rest)) = diff_ids.split_first() else { return Digest::sha256_of(b"") };
    rest.iter().fold(first.clone(), |chain, diff_id| {
        let mut hasher = Hasher::new();
        hasher.update(chain.as_str().as_bytes());
        hasher.update(b" ");
        hasher.update(diff_id.as_str().as_bytes());
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSYBOX: &str = r#"{"architecture":"amd64","config":{"Hostname":"","Env":["PATH=/bin"],"Cmd":["sh"],
        "Image":"sha256:aa","Volumes":null,"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":null,
        "ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["CMD","true"],"Interval":1000000000}},
        "container":"c0ffee","created":"2023-05-18T22:34:17Z","docker_version":"23.0.5",
        "history":[{"created":"2023-05-18T22:34:17Z","created_by":"/bin/sh -c #(nop) CMD [\"sh\"]","empty_layer":true}],
        "os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

    #[test]
    fn reads_dockers_document_and_keeps_what_it_does_not_know() {
        let config: ImageConfig = serde_json::from_str(BUSYBOX).unwrap();
        let run = config.config.as_ref().unwrap();
        assert_eq!(run.cmd.as_deref(), Some(&["sh".to_string()][..]));
        assert_eq!(run.entrypoint, None);
        assert!(run.exposed_ports.as_ref().unwrap().contains_key("80/tcp"));
        assert_eq!(run.healthcheck.as_ref().unwrap().interval, 1_000_000_000);
        assert!(config.history[0].empty_layer);
        assert_eq!(config.extra["container"], "c0ffee");
        let again: ImageConfig = serde_json::from_slice(&config.to_bytes()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn command_may_be_one_string() {
        let run: RunConfig = serde_json::from_str(r#"{"Cmd":"sh","Entrypoint":["a","b"]}"#).unwrap();
        assert_eq!(run.cmd.unwrap(), ["sh"]);
        assert_eq!(run.entrypoint.unwrap(), ["a", "b"]);
    }

    #[test]
    fn an_empty_command_differs_from_none() {
        let run = RunConfig { cmd: Some(Vec::new()), ..RunConfig::default() };
        assert_eq!(serde_json::to_string(&run).unwrap(), r#"{"Cmd":[]}"#);
    }

    #[test]
    fn chain_id_follows_the_specification() {
        let a = Digest::sha256_of(b"a");
        let b = Digest::sha256_of(b"b");
        let c = Digest::sha256_of(b"c");
        assert_eq!(chain_id(std::slice::from_ref(&a)), a);
        let ab = Digest::sha256_of(format!("{a} {b}").as_bytes());
        assert_eq!(chain_id(&[a.clone(), b.clone()]), ab);
        assert_eq!(chain_id(&[a, b, c.clone()]), Digest::sha256_of(format!("{ab} {c}").as_bytes()));
    }
}
