//! Compose files as bake files: each service with a `build` is a target, all of them the group `default`.

use std::collections::BTreeMap;

use dray_compose::load::{Disk, RealDisk};
use dray_compose::model::Project;
use dray_compose::model::service::{Build, Service};
use dray_compose::parse::node::{Map, Node, Value};
use dray_compose::{Loader, Request, Skip};

use crate::definition::{Config, check_name};
use crate::source::File;
use crate::target::entry::parse_all;
use crate::target::{Attest, Entry, Group, Output, Pairs, Secret, Ssh, Target};

/// What is around the files.
pub(crate) struct Around<'a> {
    /// The folder that names of files are seen from.
    pub folder: &'a str,
    /// Variables of the environment.
    pub environment: &'a BTreeMap<String, String>,
}

/// The disk, with the files that were read already.
struct Over<'a> {
    files: BTreeMap<String, &'a str>,
    disk: RealDisk,
}

impl Disk for Over<'_> {
    fn read(&self, path: &str) -> std::io::Result<String> {
        match self.files.get(path) {
            Some(text) => Ok((*text).to_owned()),
            None => self.disk.read(path),
        }
    }

    fn is_file(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.disk.is_file(path)
    }

    fn is_dir(&self, path: &str) -> bool {
        self.disk.is_dir(path)
    }

    fn real(&self, path: &str) -> String {
        self.disk.real(path)
    }
}

fn load(files: &[&File], around: &Around<'_>, check: bool) -> Result<Project, String> {
    // By numbers: a file may come from standard input, or twice.
    let names: Vec<String> = (0..files.len()).map(|n| format!("{}/.bake-{n}", around.folder)).collect();
    let texts = names.iter().cloned().zip(files.iter().map(|file| file.text.as_str())).collect();
    let disk = Over { files: texts, disk: RealDisk::default() };
    let name = around.environment.get("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    let request = Request {
        files: names.clone(),
        name: name.cloned().unwrap_or_else(|| "bake".to_owned()),
        directory: around.folder.to_owned(),
        profiles: vec!["*".to_owned()],
        environment: around.environment.clone(),
        current: around.folder.to_owned(),
        skip: Skip { normalization: true, paths: true, consistency: !check, interpolation: false },
        ..Request::default()
    };
    let project = Loader::new(&disk).project(&request).map_err(|error| error.to_string());
    project.map_err(|text| {
        let named = |text: String, (name, file): (&String, &&File)| text.replace(name.as_str(), &file.name);
        names.iter().zip(files).fold(text, named)
    })
}

/// Whether a file is one of Compose: by its name, else by what is in it.
///
/// # Errors
/// It is called as one and is none.
pub(crate) fn is_compose(file: &File, around: &Around<'_>) -> Result<bool, String> {
    let name = file.name.to_lowercase();
    if name.ends_with(".json") || name.ends_with(".hcl") {
        return Ok(false);
    }
    let loaded = load(&[file], around, false);
    if name.ends_with(".yml") || name.ends_with(".yaml") {
        return loaded.map(|_| true);
    }
    Ok(loaded.is_ok_and(|project| project.all_services().next().is_some()))
}

/// Reads the files of one project.
///
/// # Errors
/// They are none, or name what cannot be.
pub(crate) fn read(files: &[&File], around: &Around<'_>) -> Result<Config, String> {
    let project = load(files, around, false)?;
    let mut config = Config::default();
    let mut group = Group { name: "default".to_owned(), ..Group::default() };
    let mut services: Vec<(&String, &Service)> = project.all_services().collect();
    services.sort_by_key(|(name, _)| *name);
    for (name, service) in services {
        let Some(build) = &service.build else { continue };
        let name = name.replace('.', "_");
        check_name(&name).map_err(|why| format!("invalid service name {name:?}: {why}"))?;
        group.targets.push(name.clone());
        config.targets.push(target(name, &project, service, build)?);
    }
    config.groups.push(group);
    Ok(config)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn several<T>(all: Vec<T>) -> Option<Vec<T>> {
    Some(all).filter(|all| !all.is_empty())
}

fn target(name: String, project: &Project, service: &Service, build: &Build) -> Result<Target, String> {
    let mut target = Target {
        name,
        context: some(&build.context),
        dockerfile: some(&build.dockerfile),
        dockerfile_inline: some(&build.dockerfile_inline),
        target: some(&build.target),
        network: some(&build.network),
        tags: several(build.tags.clone()),
        platforms: several(build.platforms.clone()),
        no_cache: build.no_cache.then_some(true),
        pull: build.pull.then_some(true),
        cache_from: several(parse_all::<Entry>(&build.cache_from)?),
        cache_to: several(parse_all::<Entry>(&build.cache_to)?),
        attest: several(attests(build)?),
        args: args(project, service, build),
        ..Target::default()
    };
    target.labels =
        Some(build.labels.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect());
    if build.shm_size.0 > 0 {
        target.shm_size = Some(size(build.shm_size.0));
    }
    target.context = target.context.map(|context| folder(&context));
    let contexts = build.additional_contexts.iter().map(|(name, value)| (name.clone(), context(value)));
    target.contexts = Some(contexts.collect()).filter(|all: &BTreeMap<_, _>| !all.is_empty());
    let ulimits = build.ulimits.iter().map(|(name, limit)| {
        let (soft, hard) =
            if limit.single != 0 { (limit.single, limit.single) } else { (limit.soft, limit.hard) };
        format!("{name}={soft}:{hard}")
    });
    target.ulimits = several(ulimits.collect());
    target.extra_hosts =
        Some(build.extra_hosts.0.iter().map(|(name, all)| (name.clone(), Some(all.join(",")))).collect());
    let keys =
        build.ssh.0.iter().map(|(id, path)| Ssh { id: id.clone(), paths: some(path).into_iter().collect() });
    target.ssh = several(keys.collect());
    target.secrets = several(secrets(project, build)?);
    if let Some(more) = build.extensions.get("x-bake").and_then(Node::map) {
        extend(&mut target, more)?;
    }
    if target.tags.is_none() {
        target.tags = some(&service.image).map(|image| vec![image]);
    }
    Ok(target)
}

/// Arguments without a value are the service's variables, else the environment's.
fn args(project: &Project, service: &Service, build: &Build) -> Option<Pairs> {
    let value = |name: &String, value: &Option<String>| {
        let of_service = || service.environment.get(name).cloned().flatten();
        value.clone().or_else(of_service).or_else(|| project.environment.get(name).cloned())
    };
    let all: Pairs = build
        .args
        .iter()
        .filter_map(|(name, given)| Some((name.clone(), Some(value(name, given)?))))
        .collect();
    Some(all).filter(|all| !all.is_empty())
}

fn attests(build: &Build) -> Result<Vec<Attest>, String> {
    let mut all = Vec::new();
    for (kind, value) in [("sbom", &build.sbom), ("provenance", &build.provenance)] {
        if let Some(text) = attest_text(kind, value) {
            all.extend(parse_all::<Attest>(&[text])?);
        }
    }
    Ok(all)
}

/// `--sbom` and `--provenance` as `--attest` has them.
pub fn attest_text(kind: &str, value: &str) -> Option<String> {
    match (value, crate::target::change::boolean(value)) {
        ("", _) => None,
        (_, Some(on)) => Some(format!("type={kind},disabled={}", !on)),
        (value, None) => Some(format!("type={kind},{value}")),
    }
}

fn secrets(project: &Project, build: &Build) -> Result<Vec<Secret>, String> {
    let one = |source: &String| {
        let declared = project.secrets.get(source).map(|secret| &secret.0);
        if declared.is_some_and(|secret| secret.external) {
            return Err(format!("unsupported external secret {source}"));
        }
        let get = |text: Option<&String>| text.cloned().unwrap_or_default();
        let (file, env) = (get(declared.map(|s| &s.file)), get(declared.map(|s| &s.environment)));
        let src = if file.is_empty() { file } else { dray_spec::glob::clean_path(&file) };
        Ok(Secret { id: source.clone(), src, env })
    };
    build.secrets.iter().map(|secret| one(&secret.source)).collect()
}

/// `service:base` is the target of that service.
fn context(value: &str) -> String {
    match value.strip_prefix("service:").or_else(|| value.strip_prefix("target:")) {
        Some(name) => format!("target:{}", name.replace('.', "_")),
        None => folder(value),
    }
}

/// A size in words, with four digits as Docker has it.
#[allow(clippy::cast_precision_loss, reason = "four digits of it are shown")]
fn size(bytes: i64) -> String {
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit < 5 {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    let digits = 3usize.saturating_sub(size.log10().max(0.0) as usize);
    let text = format!("{size:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit])
}

/// A folder without what says nothing; addresses as they are.
fn folder(value: &str) -> String {
    match value.contains("://") || value.starts_with("git@") || value.starts_with("github.com/") {
        true => value.to_owned(),
        false => dray_spec::glob::clean_path(value),
    }
}

/// A list, or words in one text.
fn texts(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Str(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::List(items) => items.iter().filter_map(scalar).collect(),
        _ => Vec::new(),
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Str(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// `x-bake`: what Compose's own keys cannot say.
fn extend(target: &mut Target, more: &Map) -> Result<(), String> {
    let get = |name: &str| more.get(name).map(texts).unwrap_or_default();
    let truth = |name: &str| match more.get(name).map(|node| &node.value) {
        Some(Value::Bool(value)) => Some(*value),
        _ => None,
    };
    let add = |old: &mut Option<Vec<String>>, name: &str| {
        for text in get(name) {
            let old = old.get_or_insert_default();
            if !old.contains(&text) {
                old.push(text);
            }
        }
    };
    add(&mut target.tags, "tags");
    add(&mut target.platforms, "platforms");
    add(&mut target.no_cache_filter, "no-cache-filter");
    let mut over = Target {
        cache_from: several(parse_all::<Entry>(&get("cache-from"))?),
        secrets: several(parse_all::<Secret>(&get("secret"))?),
        ssh: several(parse_all::<Ssh>(&get("ssh"))?),
        pull: truth("pull"),
        no_cache: truth("no-cache"),
        ..Target::default()
    };
    over.cache_to = several(
        [target.cache_to.clone().unwrap_or_default(), parse_all::<Entry>(&get("cache-to"))?].concat(),
    );
    over.outputs =
        several([target.outputs.clone().unwrap_or_default(), parse_all::<Output>(&get("output"))?].concat());
    target.merge(&over);
    if let Some(ssh) = &mut target.ssh {
        ssh.sort_by(|a, b| (&a.id, &a.paths).cmp(&(&b.id, &b.paths)));
    }
    for (name, node) in more.get("contexts").and_then(Node::map).into_iter().flat_map(Map::iter) {
        if let Some(value) = scalar(node) {
            target.contexts.get_or_insert_default().entry(name.clone()).or_insert_with(|| context(&value));
        }
    }
    Ok(())
}
