//! `compose build --print`: the services' builds as a bake file, as Docker Compose writes it.

use std::collections::BTreeMap;
use std::path::Path;

use dray_compose::Project;
use dray_compose::load::Source;
use dray_compose::model::service::{Build, Service};
use dray_compose::plan::label::{COMPOSE_VERSION, PROJECT, SERVICE};
use serde::Serialize;

use super::project;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;

type Texts = BTreeMap<String, String>;

#[derive(Serialize)]
struct File {
    group: BTreeMap<&'static str, Group>,
    target: BTreeMap<String, Target>,
}

#[derive(Serialize)]
struct Group {
    targets: Vec<String>,
}

/// The fields are in the order in which they are written.
#[derive(Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    context: String,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    contexts: Texts,
    #[serde(skip_serializing_if = "String::is_empty")]
    dockerfile: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dockerfile_inline: String,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    args: Texts,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    labels: Texts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_from: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_to: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secret: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "is_off")]
    pull: bool,
    #[serde(skip_serializing_if = "is_off")]
    no_cache: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    network: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    shm_size: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ulimits: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    call: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entitlements: Vec<String>,
    #[serde(skip_serializing_if = "Texts::is_empty")]
    extra_hosts: Texts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    output: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attest: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_off(value: &bool) -> bool {
    !value
}

/// The bake file: the builds of the project, and a group of those that are wanted.
///
/// # Errors
/// It cannot be written as JSON.
pub fn text(
    app: &App,
    project: &Project,
    wanted: &[(&String, &Service)],
    p: &Parsed,
) -> Result<String, Error> {
    let names = names(project);
    let all = project.services.iter().chain(wanted.iter().copied());
    let builds = all.filter_map(|(name, s)| Some((name, s, s.build.as_ref()?)));
    let around = Around { app, project, names: &names, p };
    let file = File {
        group: [(
            "default",
            Group { targets: wanted.iter().map(|(name, _)| names[*name].clone()).collect() },
        )]
        .into(),
        target: builds.map(|(name, s, build)| (names[name].clone(), around.target(name, s, build))).collect(),
    };
    let text = serde_json::to_string_pretty(&file)
        .map_err(|e| Error::Refused(format!("write the bake file: {e}")))?;
    // As Go's encoder writes texts.
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026") + "\n")
}

/// The target of each service: its name without dots, and unlike all others.
fn names(project: &Project) -> Texts {
    let mut names = Texts::new();
    for (service, _) in project.all_services() {
        let mut name = service.replace('.', "_");
        while names.values().any(|other| *other == name) {
            name.push('_');
        }
        names.insert(service.clone(), name);
    }
    names
}

struct Around<'a> {
    app: &'a App,
    project: &'a Project,
    names: &'a Texts,
    p: &'a Parsed,
}

impl Around<'_> {
    fn target(&self, name: &str, service: &Service, build: &Build) -> Target {
        let (project, p) = (self.project, self.p);
        let image = service.image_or_default(&project.name, name, project::separator(self.app));
        let mut entitlements = build.entitlements.clone();
        if build.privileged {
            entitlements.push("security.insecure".to_owned());
        }
        let given = Some(p.get("ssh")).filter(|ssh| !ssh.is_empty()).map(|ssh| match ssh.split_once('=') {
            Some((id, path)) => format!("{id}={path}"),
            None => format!("{ssh}="),
        });
        Target {
            context: build.context.clone(),
            contexts: build.additional_contexts.iter().map(|(k, v)| (k.clone(), self.context(v))).collect(),
            dockerfile: dockerfile(build),
            dockerfile_inline: build.dockerfile_inline.replace("${", "$${"),
            args: self.args(build),
            labels: self.labels(name, build),
            tags: build.tags.iter().cloned().chain([image]).collect(),
            cache_from: build.cache_from.clone(),
            cache_to: build.cache_to.clone(),
            target: build.target.clone(),
            secret: self.secrets(build),
            ssh: build.ssh.0.iter().map(|(id, path)| format!("{id}={path}")).chain(given).collect(),
            platforms: build.platforms.clone(),
            pull: build.pull || p.is("pull"),
            no_cache: build.no_cache || p.is("no-cache"),
            network: build.network.clone(),
            shm_size: Some(build.shm_size.0)
                .filter(|size| *size > 0)
                .map(|n| n.to_string())
                .unwrap_or_default(),
            ulimits: ulimits(build),
            call: if p.is("check") { "lint".to_owned() } else { String::new() },
            entitlements,
            extra_hosts: hosts(build),
            output: self.output(service, build),
            attest: attest(build),
        }
    }

    fn context(&self, value: &str) -> String {
        match value.strip_prefix("service:") {
            Some(base) => format!("target:{}", self.names.get(base).map_or("", String::as_str)),
            None => value.to_owned(),
        }
    }

    fn args(&self, build: &Build) -> Texts {
        let own = build.args.iter().map(|(name, value)| (name.clone(), value.clone()));
        let given = self.p.all("build-arg").into_iter().map(|arg| match arg.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        });
        let all: BTreeMap<String, Option<String>> = own.chain(given).collect();
        let known = |(name, value): (String, Option<String>)| {
            let value = value.or_else(|| self.project.environment.get(&name).cloned())?;
            Some((name, value.replace("${", "$${")))
        };
        all.into_iter().filter_map(known).collect()
    }

    fn labels(&self, name: &str, build: &Build) -> Texts {
        let own = build.labels.iter().map(|(label, value)| (label.clone(), value.clone()));
        let ours = [
            (PROJECT, self.project.name.as_str()),
            (SERVICE, name),
            ("com.docker.compose.version", COMPOSE_VERSION),
        ];
        own.chain(ours.map(|(label, value)| (label.to_owned(), value.to_owned()))).collect()
    }

    fn secrets(&self, build: &Build) -> Vec<String> {
        let one = |mount: &dray_compose::model::service::FileMount| {
            let secret = &self.project.secrets.get(&mount.source)?.0;
            let id = if mount.target.is_empty() { &mount.source } else { &mount.target };
            if !secret.environment.is_empty() {
                return Some(format!("id={id},type=env,env={}", secret.environment));
            }
            (!secret.file.is_empty()).then(|| format!("id={id},type=file,src={}", secret.file))
        };
        build.secrets.iter().filter_map(one).collect()
    }

    fn output(&self, service: &Service, build: &Build) -> Vec<String> {
        let push = self.p.is("push") && !service.image.is_empty();
        let output = match (build.platforms.len() > 1, push) {
            _ if self.p.is("check") => return Vec::new(),
            (true, push) => format!("type=image,push={push}"),
            (false, true) => "type=registry".to_owned(),
            (false, false) => "type=docker".to_owned(),
        };
        vec![output]
    }
}

fn dockerfile(build: &Build) -> String {
    let remote = build.context.contains("://") || Source::parse(&build.context).is_some();
    if build.dockerfile.is_empty() || remote {
        return build.dockerfile.clone();
    }
    let path = Path::new(&build.context).join(&build.dockerfile);
    let real = path.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
    let path = match (real, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    };
    path.display().to_string()
}

fn ulimits(build: &Build) -> Vec<String> {
    let limits = build.ulimits.iter();
    limits
        .map(|(limit, u)| match u.single {
            1.. => format!("{limit}={}", u.single),
            _ => format!("{limit}={}:{}", u.soft, u.hard),
        })
        .collect()
}

fn hosts(build: &Build) -> Texts {
    let mut hosts = Texts::new();
    for line in build.extra_hosts.lines("=") {
        let Some((name, address)) = line.split_once('=') else { continue };
        let known = hosts.entry(name.to_owned()).or_default();
        if !known.is_empty() {
            known.push(',');
        }
        known.push_str(address);
    }
    hosts
}

fn attest(build: &Build) -> Vec<String> {
    let one = |(kind, value): (&str, &String)| match value.as_str() {
        "" | "false" => None,
        "true" => Some(format!("type={kind}")),
        other => Some(format!("type={kind},{other}")),
    };
    [("provenance", &build.provenance), ("sbom", &build.sbom)].into_iter().filter_map(one).collect()
}
