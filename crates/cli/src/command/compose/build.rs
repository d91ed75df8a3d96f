//! `compose build`: a service's `build` as the words of the command that builds one image.
//!
//! All of the specification's keys are here; what the daemon cannot do it refuses in its own words.

use std::collections::BTreeMap;
use std::path::Path;

use dray_client::rehearsal::Rehearsal;
use dray_compose::Project;
use dray_compose::apply::{Progress as _, Status};
use dray_compose::load::Source;
use dray_compose::model::service::{Build, Service};
use dray_spec::Digest;

use super::bakefile;
use super::display::Display;
use super::image::told;
use super::{delegate, project, say};
use crate::app::App;
use crate::builder;
use crate::command::image::{build as image_build, push as image_push};
use crate::command::own_file::OwnFile;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, switch, text};
use crate::spec::{Args, Command, Done};

/// How services are built.
#[derive(Debug, Default)]
pub struct How {
    /// Without words.
    pub quiet: bool,
    /// For all platforms that the service names, not only for the one that it runs on.
    pub all_platforms: bool,
    /// More words.
    pub more: Vec<String>,
}

/// The words of `build` for a service, and files that must be there until it has ended.
struct Words {
    words: Vec<String>,
    files: Vec<OwnFile>,
}

impl Words {
    fn pair(&mut self, flag: &str, value: impl Into<String>) {
        self.words.extend([flag.to_owned(), value.into()]);
    }

    /// A file of this process's own with this content; its path.
    fn file(&mut self, content: &str) -> Result<String, Error> {
        let own = OwnFile::new("dray-compose", content)?;
        let text = own.path().display().to_string();
        self.files.push(own);
        Ok(text)
    }
}

/// Services in an order in which those come first that others are built on: by `depends_on`, and by contexts that are
/// other services' images.
///
/// # Errors
/// Two are built on each other, or one on a service that is not built.
pub fn in_order<'a>(
    project: &Project,
    mut services: Vec<(&'a String, &'a Service)>,
) -> Result<Vec<(&'a String, &'a Service)>, Error> {
    let order = project.in_order();
    services.sort_by_key(|(name, _)| order.iter().position(|n| n == *name));
    let mut done: Vec<(&String, &Service)> = Vec::new();
    while !services.is_empty() {
        let waits = |name: &String| services.iter().any(|(other, _)| *other == name);
        let ready = services.iter().position(|(_, s)| !bases(s).iter().any(waits));
        let Some(at) = ready else {
            let names: Vec<&str> = services.iter().map(|(name, _)| name.as_str()).collect();
            let text =
                format!("build.additional_contexts: these are built on each other: {}", names.join(", "));
            return Err(Error::Refused(text));
        };
        done.push(services.remove(at));
    }
    Ok(done)
}

/// Services whose images others are built on come along, whether they were named or not.
pub fn with_bases<'a>(project: &'a Project, builds: &mut Vec<(&'a String, &'a Service)>) {
    let mut at = 0;
    while let Some((_, service)) = builds.get(at) {
        for base in bases(service) {
            let found = project.all_services().find(|(name, s)| **name == base && s.build.is_some());
            builds.extend(found.filter(|(name, _)| !builds.iter().any(|(other, _)| other == name)));
        }
        at += 1;
    }
}

/// The services whose images a service is built on.
fn bases(service: &Service) -> Vec<String> {
    let contexts = service.build.iter().flat_map(|build| build.additional_contexts.iter());
    contexts.filter_map(|(_, context)| Some(context.strip_prefix("service:")?.to_owned())).collect()
}

fn words(
    app: &App,
    project: &Project,
    name: &str,
    service: &Service,
    build: &Build,
    how: &How,
) -> Result<Words, Error> {
    let image = service.image_or_default(&project.name, name, project::separator(app));
    let mut words = Words { words: Vec::new(), files: Vec::new() };
    words.pair("--tag", image);
    build.tags.iter().for_each(|tag| words.pair("--tag", tag));
    for (arg, value) in build.args.iter() {
        match value.clone().or_else(|| project.environment.get(arg).cloned()) {
            Some(value) => words.pair("--build-arg", format!("{arg}={value}")),
            None => words.pair("--build-arg", arg),
        }
    }
    build.labels.iter().for_each(|(label, value)| words.pair("--label", format!("{label}={value}")));
    words.pair("--label", format!("com.docker.compose.project={}", project.name));
    words.pair("--label", format!("com.docker.compose.service={name}"));
    words.pair(
        "--label",
        format!("com.docker.compose.version={}", dray_compose::plan::label::COMPOSE_VERSION),
    );
    dockerfile(&mut words, build)?;
    for (flag, value) in
        [("--target", &build.target), ("--network", &build.network), ("--isolation", &build.isolation)]
    {
        if !value.is_empty() {
            words.pair(flag, value);
        }
    }
    build.cache_from.iter().for_each(|cache| words.pair("--cache-from", cache));
    build.cache_to.iter().for_each(|cache| words.pair("--cache-to", cache));
    build.extra_hosts.lines(":").into_iter().for_each(|host| words.pair("--add-host", host));
    if build.shm_size.0 > 0 {
        words.pair("--shm-size", build.shm_size.0.to_string());
    }
    for (limit, u) in &build.ulimits {
        let value = if u.single == 0 { format!("{}:{}", u.soft, u.hard) } else { u.single.to_string() };
        words.pair("--ulimit", format!("{limit}={value}"));
    }
    contexts(app, &mut words, project, name, build)?;
    secrets(&mut words, project, name, build)?;
    for (id, path) in &build.ssh.0 {
        words.pair("--ssh", if path.is_empty() { id.clone() } else { format!("{id}={path}") });
    }
    build.entitlements.iter().for_each(|entitlement| words.pair("--allow", entitlement));
    if build.privileged && !build.entitlements.iter().any(|e| e == "security.insecure") {
        words.pair("--allow", "security.insecure");
    }
    attestations(&mut words, name, build)?;
    let platforms = platforms(project, service, build, how.all_platforms);
    if !platforms.is_empty() {
        words.pair("--platform", platforms.join(","));
    }
    let switches = [("--no-cache", build.no_cache), ("--pull", build.pull), ("--quiet", how.quiet)];
    words.words.extend(switches.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.to_owned()));
    words.words.extend(how.more.iter().cloned());
    words.words.push(build.context.clone());
    Ok(words)
}

fn dockerfile(words: &mut Words, build: &Build) -> Result<(), Error> {
    if !build.dockerfile_inline.is_empty() {
        let path = words.file(&build.dockerfile_inline)?;
        words.pair("--file", path);
    } else if !build.dockerfile.is_empty() {
        let remote = build.context.contains("://") || Source::parse(&build.context).is_some();
        let file = Path::new(&build.context).join(&build.dockerfile);
        words.pair("--file", if remote { build.dockerfile.clone() } else { file.display().to_string() });
    }
    Ok(())
}

/// Further contexts; `service:base` is the image that another service of the project is built to.
fn contexts(app: &App, words: &mut Words, project: &Project, name: &str, build: &Build) -> Result<(), Error> {
    for (context, value) in build.additional_contexts.iter() {
        let value = match value.strip_prefix("service:") {
            None => value.clone(),
            Some(base) => {
                let service = project.all_services().find(|(other, _)| *other == base).map(|(_, s)| s);
                let service = service.filter(|service| service.build.is_some()).ok_or_else(|| {
                    Error::Refused(format!(
                        "service {name:?}: build.additional_contexts.{context}: service {base:?} is not built here"
                    ))
                })?;
                let image = service.image_or_default(&project.name, base, project::separator(app));
                format!("docker-image://{image}")
            }
        };
        words.pair("--build-context", format!("{context}={value}"));
    }
    Ok(())
}

fn secrets(words: &mut Words, project: &Project, name: &str, build: &Build) -> Result<(), Error> {
    for mount in &build.secrets {
        let refuse = |text: &str| {
            Err(Error::Refused(format!("service {name:?}: build secret {:?} {text}", mount.source)))
        };
        let Some(secret) = project.secrets.get(&mount.source).map(|secret| &secret.0) else {
            return refuse("is not declared");
        };
        let id = if mount.target.is_empty() { &mount.source } else { &mount.target };
        if !secret.file.is_empty() {
            words.pair("--secret", format!("id={id},src={}", secret.file));
        } else if !secret.environment.is_empty() {
            let Some(value) = project.environment.get(&secret.environment) else {
                return refuse(&format!("needs the variable {}, which is not set", secret.environment));
            };
            // Variables of env files are not this process's own.
            let path = words.file(value)?;
            words.pair("--secret", format!("id={id},src={path}"));
        } else {
            return refuse("is external: only those of a file or a variable can be used in a build");
        }
    }
    Ok(())
}

/// `provenance` and `sbom`, where they are on.
fn attestations(words: &mut Words, name: &str, build: &Build) -> Result<(), Error> {
    for (flag, value) in [("provenance", &build.provenance), ("sbom", &build.sbom)] {
        let off = matches!(value.as_str(), "" | "false" | "0");
        let known = image_build::COMMAND.flags.iter().any(|flags| flags.iter().any(|f| f.name() == flag));
        match (off, known) {
            (true, false) => {}
            (true, true) if value.is_empty() => {}
            (_, true) => words.words.push(format!("--{flag}={value}")),
            (false, false) => {
                return Err(Error::Refused(format!("service {name:?}: build.{flag} is not supported")));
            }
        }
    }
    Ok(())
}

/// What a service is built for. An image that is to run here is of one platform.
fn platforms(project: &Project, service: &Service, build: &Build, all: bool) -> Vec<String> {
    let named = |text: &String| (!text.is_empty()).then(|| text.clone());
    let runs_on = named(&service.platform)
        .or_else(|| project.environment.get("DOCKER_DEFAULT_PLATFORM").and_then(named));
    match (runs_on, build.platforms.as_slice()) {
        (Some(one), _) if !all || build.platforms.is_empty() => vec![one],
        (_, [only]) => vec![only.clone()],
        (_, many) if all => many.to_vec(),
        // The builder's own.
        _ => Vec::new(),
    }
}

/// Builds a service's image.
///
/// # Errors
/// The build fails.
pub async fn one(
    app: &App,
    project: &Project,
    name: &str,
    service: &Service,
    how: &How,
) -> Result<(), Error> {
    let Some(build) = &service.build else { return Ok(()) };
    if let Some(rehearsal) = app.client()?.rehearsal() {
        return rehearse(app, project, name, service, rehearsal);
    }
    let words = words(app, project, name, service, build, how)?;
    let done = delegate(app, &image_build::COMMAND, words.words).await;
    drop(words.files);
    match done? {
        0 => {
            let image = service.image_or_default(&project.name, name, project::separator(app));
            Display::new(app, "Building")?.event(told(&image, Status::Done, "Built"));
            Ok(())
        }
        code => Err(Error::Exit(code)),
    }
}

/// Says what would be built.
fn rehearse(
    app: &App,
    project: &Project,
    name: &str,
    service: &Service,
    rehearsal: &Rehearsal,
) -> Result<(), Error> {
    let image = service.image_or_default(&project.name, name, project::separator(app));
    let display = Display::new(app, "Building")?;
    let id: String = Digest::sha256_of(name.as_bytes()).hex().chars().take(40).collect();
    display.event(told(&format!("{name} ==>"), Status::Done, &format!("==> writing image dryRun-{id}")));
    display.event(told(&format!("{name} ==> ==>"), Status::Done, &format!("naming to {image}")));
    display.event(told(name, Status::Done, "Built"));
    rehearsal.built(&image);
    Ok(())
}

const BUILD_FLAGS: &[Flag] = &[
    list("build-arg", NONE, "Set a build argument").shown("stringArray"),
    text("builder", NONE, "Where to build: a builder of buildx that is a daemon (BUILDX_BUILDER)"),
    switch("check", NONE, "Check the Dockerfiles, build nothing"),
    switch("compress", NONE, "Kept for old scripts").default("true").hidden(),
    switch("force-rm", NONE, "Kept for old scripts").default("true").hidden(),
    text("memory", 'm', "Limit of memory of builds").shown("bytes"),
    switch("no-cache", NONE, "Carry out all steps anew"),
    switch("no-rm", NONE, "Kept for old scripts").hidden(),
    switch("parallel", NONE, "Kept for old scripts").default("true").hidden(),
    switch("print", NONE, "Print the same as a bake file, build nothing"),
    text("provenance", NONE, "How the images were made (true, mode=max)"),
    switch("pull", NONE, "Look for newer base images"),
    switch("push", NONE, "Push the images"),
    switch("quiet", 'q', "Show less"),
    text("progress", NONE, "How to show progress").hidden(),
    text("sbom", NONE, "What the images are made of (true, generator=…)"),
    text("ssh", NONE, "Keys for builds"),
    switch("with-dependencies", NONE, "Build what the services depend on, too"),
];

/// `compose build`
pub static BUILD: Command =
    Command::new("build", &["[OPTIONS] [SERVICE...]"], Args::Any, "Build or rebuild services", |a, p| {
        Box::pin(build(a, p))
    })
    .flags(&[BUILD_FLAGS]);

async fn build(app: &App, p: Parsed) -> Done {
    builder::choose(app, p.get("builder"))?;
    let mut project = project::load(app, &p.args, project::How::default())?;
    if p.is("print") {
        let chosen = |name: &String| p.args.is_empty() || p.is("with-dependencies") || p.args.contains(name);
        let builds = project.services.iter().filter(|(name, s)| s.build.is_some() && chosen(name));
        let mut builds = builds.collect();
        with_bases(&project, &mut builds);
        app.print(bakefile::text(app, &project, &builds, &p)?)?;
        return Ok(0);
    }
    if !p.get("ssh").is_empty() {
        let (id, path) = p.get("ssh").split_once('=').unwrap_or((p.get("ssh"), ""));
        let keys = BTreeMap::from([(id.to_owned(), path.to_owned())]);
        project
            .services
            .values_mut()
            .filter_map(|s| s.build.as_mut())
            .for_each(|b| b.ssh.0.extend(keys.clone()));
    }
    let chosen = |name: &String| p.args.is_empty() || p.is("with-dependencies") || p.args.contains(name);
    let mut builds: Vec<_> =
        project.services.iter().filter(|(n, s)| s.build.is_some() && chosen(n)).collect();
    with_bases(&project, &mut builds);
    if builds.is_empty() {
        say::warn("No services to build");
    }
    let mut how = How { quiet: p.is("quiet"), all_platforms: true, more: Vec::new() };
    how.more = p.all("build-arg").into_iter().flat_map(|a| ["--build-arg".into(), a]).collect();
    for flag in ["check", "no-cache", "pull"] {
        if p.is(flag) {
            how.more.push(format!("--{flag}"));
        }
    }
    for flag in ["provenance", "sbom"] {
        if !p.get(flag).is_empty() {
            how.more.push(format!("--{flag}={}", p.get(flag)));
        }
    }
    if !p.get("memory").is_empty() {
        how.more.extend(["--memory".into(), p.get("memory").to_owned()]);
    }
    for (name, service) in in_order(&project, builds)? {
        one(app, &project, name, service, &how).await?;
        if p.is("push") && !service.image.is_empty() {
            delegate(app, &image_push::COMMAND, vec![service.image.clone()]).await?;
        }
    }
    Ok(0)
}
