//! What a client asks the Dockerfile frontend for (BuildKit's frontend/dockerui), as options of a build.
//!
//! Attributes that nobody knows are passed over, as BuildKit does; those that ask for something that this builder
//! does not do are refused by name.

use std::collections::{BTreeMap, HashMap};

use dray_build::dockerfile::is_own_frontend;
use dray_build::{ContextDir, Entitlements, Material, Resources, Subrequest};
use dray_buildkit::grpc::{Code, Status};
use dray_buildkit::proto::Definition;
use dray_engine::build::{Attests, Options, RemoteCache};
use dray_spec::Platform;

use super::failure::{invalid, unsupported};
use super::remote_cache::imports;

type Attrs = HashMap<String, String>;

/// A build as the frontend is asked for it.
#[derive(Debug)]
pub(super) struct Frontend {
    pub options: Options,
    /// The Dockerfile's name in its folder.
    pub filename: String,
    /// Under which names, and over which sessions (if not the build's), the client offers its folders.
    pub dockerfile: Folder,
    pub context: Folder,
    /// The Dockerfile is the client's, wherever the context comes from.
    pub own_dockerfile: bool,
    /// What the client asks instead of a build.
    pub question: Option<Subrequest>,
    /// Under which sessions (if not the build's) it offers folders.
    pub folders: HashMap<String, String>,
    /// Graphs that are contexts here: results of other builds, and files (`input:name`; the main one, `context`).
    pub inputs: HashMap<String, Definition>,
    /// What was fetched of them already, by the names that [`Frontend::options`] has for these contexts.
    pub given: HashMap<String, ContextDir>,
    /// What that was.
    pub materials: Vec<Material>,
    /// Caches to be read from.
    pub cache_imports: Vec<RemoteCache>,
}

/// A folder of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub name: String,
    pub session: Option<String>,
}

impl Frontend {
    /// A build as `POST /build` describes it.
    pub fn of_options(options: Options) -> Self {
        let folder = |name: &str| Folder { name: name.to_owned(), session: None };
        Frontend {
            filename: options.dockerfile.clone(),
            options,
            dockerfile: folder("dockerfile"),
            context: folder("context"),
            own_dockerfile: false,
            question: None,
            folders: HashMap::new(),
            inputs: HashMap::new(),
            given: HashMap::new(),
            materials: Vec::new(),
            cache_imports: Vec::new(),
        }
    }

    pub fn read(frontend: &str, attrs: &Attrs, entitlements: &[String]) -> Result<Self, Status> {
        check_frontend(frontend, attrs)?;
        refuse(attrs)?;
        let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
        let folder = |key: &str, default: &str| {
            let name = Some(get(key)).filter(|name| !name.is_empty()).unwrap_or(default).to_owned();
            let session = attrs.get(&format!("local-sessionid:{name}")).cloned();
            Folder { name, session }
        };
        Ok(Frontend {
            options: options(attrs, entitlements)?,
            filename: Some(get("filename"))
                .filter(|name| !name.is_empty())
                .unwrap_or("Dockerfile")
                .to_owned(),
            dockerfile: folder("dockerfilekey", "dockerfile"),
            context: folder("contextkey", "context"),
            own_dockerfile: attrs.contains_key("dockerfilekey"),
            question: question(get("requestid"))?,
            folders: attrs
                .iter()
                .filter_map(|(name, session)| {
                    Some((name.strip_prefix("local-sessionid:")?.to_owned(), session.clone()))
                })
                .collect(),
            inputs: HashMap::new(),
            given: HashMap::new(),
            materials: Vec::new(),
            cache_imports: imports(attrs)?,
        })
    }
}

/// The Dockerfile frontend is built in; an image of it is taken as ours.
fn check_frontend(frontend: &str, attrs: &Attrs) -> Result<(), Status> {
    match frontend {
        "dockerfile.v0" => Ok(()),
        "gateway.v0" => check_syntax(attrs.get("source").map(String::as_str).unwrap_or_default()),
        other => Err(Status::new(Code::Unknown, format!("frontend {other} not found"))),
    }
}

/// The `# syntax=` of a Dockerfile: the official frontend in any version.
pub(super) fn check_syntax(image: &str) -> Result<(), Status> {
    let name = image.split_whitespace().next().unwrap_or_default();
    match is_own_frontend(image) {
        true => Ok(()),
        false => Err(unsupported(format!("frontend image {name:?} is"))),
    }
}

/// What a client asks instead of a build; nothing for a build.
fn question(id: &str) -> Result<Option<Subrequest>, Status> {
    match (id, Subrequest::named(id)) {
        ("", _) => Ok(None),
        (_, Some(question)) => Ok(Some(question)),
        (_, None) => Err(Status::new(Code::Unimplemented, format!("unsupported request {id}"))),
    }
}

fn refuse(attrs: &Attrs) -> Result<(), Status> {
    let given = |name: &str| attrs.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(syntax) = given("build-arg:BUILDKIT_SYNTAX") {
        check_syntax(syntax)?;
    }
    if given("contextsubdir").is_some() {
        return Err(unsupported("contextsubdir is"));
    }
    if given("hostname").is_some() || given("build-arg:BUILDKIT_SANDBOX_HOSTNAME").is_some() {
        return Err(unsupported("a hostname for RUN steps is"));
    }
    Ok(())
}

fn options(attrs: &Attrs, entitlements: &[String]) -> Result<Options, Status> {
    let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
    let with_prefix = |prefix: &'static str| {
        attrs.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value)))
    };
    let pull = match get("image-resolve-mode") {
        "" | "default" | "local" => false,
        "pull" => true,
        other => return Err(invalid(format!("invalid image-resolve-mode: {other}"))),
    };
    let network_mode = match get("force-network-mode") {
        "" | "sandbox" => String::new(),
        "none" => "none".to_owned(),
        "host" if entitlements.iter().any(|given| given == "network.host") => "host".to_owned(),
        "host" => return Err(Status::new(Code::PermissionDenied, "network.host is not allowed")),
        other => return Err(invalid(format!("invalid netmode {other}"))),
    };
    Ok(Options {
        build_args: with_prefix("build-arg:").map(|(name, value)| (name, Some(value.clone()))).collect(),
        labels: with_prefix("label:").map(|(name, value)| (name, value.clone())).collect(),
        target: get("target").to_owned(),
        // The names of stages, or nothing for all.
        no_cache: attrs.get("no-cache").is_some_and(String::is_empty),
        no_cache_stages: get("no-cache")
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        pull,
        network_mode,
        remote: get(if get("contextkey").is_empty() { "context" } else { get("contextkey") }).to_owned(),
        contexts: with_prefix("context:").map(|(name, value)| (name, value.clone())).collect(),
        entitlements: Entitlements::parse(entitlements.iter().map(String::as_str))
            .map_err(|error| invalid(error.to_string()))?,
        check: attrs.get("build-arg:BUILDKIT_DOCKERFILE_CHECK").cloned(),
        platform: get("platform").split(',').next().unwrap_or_default().to_owned(),
        platforms: platforms(attrs)?,
        attests: Attests::read(attrs).map_err(|error| invalid(error.to_string()))?,
        asked: attrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        resources: Resources {
            cgroup_parent: get("cgroup-parent").to_owned(),
            shm_size: shm_size(get("shm-size"))?,
            ulimits: ulimits(get("ulimit"))?,
            extra_hosts: extra_hosts(get("add-hosts"))?,
            ..Resources::default()
        },
        ..Options::default()
    })
}

/// The platforms of a result for several, or for one that shall look like those; none for a plain one.
fn platforms(attrs: &Attrs) -> Result<Vec<Platform>, Status> {
    let given = |name: &str| attrs.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut platforms = Vec::new();
    for text in given("platform").unwrap_or_default().split(',').filter(|text| !text.is_empty()) {
        let platform = Platform::parse(text)
            .map_err(|error| invalid(format!("failed to parse target platform {text}: {error}")))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    let several = platforms.len() > 1;
    let wanted = match given("build-arg:BUILDKIT_MULTI_PLATFORM").or(given("multi-platform")) {
        None => several,
        Some(text) => {
            let wrong = || invalid(format!("invalid boolean value for multi-platform: {text}"));
            boolean(text).ok_or_else(wrong)?
        }
    };
    if !wanted && several {
        return Err(invalid("conflicting config: returning multiple target platforms is not allowed"));
    }
    if wanted && platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(if wanted { platforms } else { Vec::new() })
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn shm_size(text: &str) -> Result<i64, Status> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| invalid(format!("failed to parse shm size: {text:?}"))),
    }
}

fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(|field| field.trim_matches('"')).filter(|field| !field.is_empty())
}

/// `name=soft:hard,…`
fn ulimits(text: &str) -> Result<BTreeMap<String, (i64, i64)>, Status> {
    let one = |field: &str| {
        let (name, limits) = field.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some((name.to_owned(), (soft.parse().ok()?, hard.parse().ok()?)))
    };
    let wrong = |field: &str| invalid(format!("failed to parse ulimit: {field:?}"));
    fields(text).map(|field| one(field).ok_or_else(|| wrong(field))).collect()
}

/// `name=address,…`
fn extra_hosts(text: &str) -> Result<Vec<String>, Status> {
    let wrong = |field: &str| invalid(format!("invalid key-value pair {field:?}"));
    let one = |field: &str| match field.split_once('=') {
        Some((name, address)) => Ok(format!("{}:{address}", name.to_lowercase())),
        None => Err(wrong(field)),
    };
    fields(text).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(pairs: &[(&str, &str)]) -> Attrs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Frontend, String> {
        Frontend::read("dockerfile.v0", &attrs(pairs), &[]).map_err(|status| status.message)
    }

    #[test]
    fn attributes_become_options() {
        let frontend = read(&[
            ("filename", "Build"),
            ("build-arg:A", "1"),
            ("build-arg:BUILDKIT_INLINE_CACHE", "1"),
            ("label:l", "m"),
            ("target", "t"),
            ("no-cache", ""),
            ("image-resolve-mode", "pull"),
            ("force-network-mode", "none"),
            ("add-hosts", "Db=10.0.0.1,x=::1"),
            ("ulimit", "nofile=1:2"),
            ("shm-size", "1024"),
            ("contextkey", "shared0"),
            ("local-sessionid:shared0", "s"),
            ("platform", "linux/amd64"),
            ("context:base", "docker-image://x"),
            ("context", "https://example.org/x.git"),
            ("requestid", "frontend.lint"),
            ("build-arg:BUILDKIT_DOCKERFILE_CHECK", "skip=all"),
        ])
        .expect("readable");
        let options = &frontend.options;
        assert_eq!(frontend.filename, "Build");
        // A Dockerfile may declare those that steer the builder, too.
        let given = ["A", "BUILDKIT_DOCKERFILE_CHECK", "BUILDKIT_INLINE_CACHE"];
        assert_eq!(options.build_args.keys().collect::<Vec<_>>(), given);
        assert_eq!(options.labels["l"], "m");
        assert!(options.no_cache && options.pull);
        assert_eq!((options.target.as_str(), options.network_mode.as_str()), ("t", "none"));
        assert_eq!(options.resources.extra_hosts, ["db:10.0.0.1", "x:::1"]);
        assert_eq!((options.resources.ulimits["nofile"], options.resources.shm_size), ((1, 2), 1024));
        assert_eq!(frontend.context, Folder { name: "shared0".into(), session: Some("s".into()) });
        assert_eq!(options.contexts["base"], "docker-image://x");
        assert_eq!((options.remote.as_str(), options.check.as_deref()), ("", Some("skip=all")));
        assert_eq!(frontend.question, Some(Subrequest::Lint));
        assert_eq!(frontend.dockerfile, Folder { name: "dockerfile".into(), session: None });
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let refused = |name: &str, value: &str| read(&[(name, value)]).expect_err("refused");
        assert_eq!(refused("attest:other", ""), "unknown attestation type \"other\"");
        assert_eq!(refused("requestid", "frontend.other"), "unsupported request frontend.other");
        assert!(refused("build-arg:BUILDKIT_SYNTAX", "r2d4/mockerfile").contains("\"r2d4/mockerfile\""));
        assert_eq!(refused("force-network-mode", "host"), "network.host is not allowed");
        assert!(read(&[("attest:provenance", "disabled=true")]).is_ok());
    }

    #[test]
    fn several_platforms_make_an_index() {
        let platforms = |pairs: &[(&str, &str)]| {
            let options = read(pairs)?.options;
            Ok::<_, String>(options.platforms.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let two = ("platform", "linux/amd64,linux/arm64/v8,linux/amd64");
        assert_eq!(platforms(&[two]).unwrap(), ["linux/amd64", "linux/arm64"]);
        assert!(platforms(&[("platform", "linux/arm64")]).unwrap().is_empty());
        let index = ("multi-platform", "true");
        assert_eq!(platforms(&[("platform", "linux/arm64"), index]).unwrap(), ["linux/arm64"]);
        assert_eq!(platforms(&[index]).unwrap(), [Platform::host().to_string()]);
        assert_eq!(
            platforms(&[two, ("build-arg:BUILDKIT_MULTI_PLATFORM", "0")]).unwrap_err(),
            "conflicting config: returning multiple target platforms is not allowed"
        );
        let error = platforms(&[("platform", "linux/amd64,nonsense")]).unwrap_err();
        assert!(error.starts_with("failed to parse target platform nonsense: "), "{error}");
        let error = platforms(&[("multi-platform", "maybe")]).unwrap_err();
        assert_eq!(error, "invalid boolean value for multi-platform: maybe");
    }

    #[test]
    fn the_official_frontend_is_ours() {
        for image in ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile"] {
            assert!(check_syntax(image).is_ok(), "{image}");
        }
        for image in ["", "example.org/docker/dockerfile:1", "r2d4/mockerfile"] {
            assert!(check_syntax(image).is_err(), "{image}");
        }
    }
}
