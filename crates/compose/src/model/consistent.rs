//! What must hold between the parts of a project: references lead somewhere, limits agree, dependencies have no
//! cycle.

use std::collections::BTreeMap;

use super::project::Project;
use super::service::Service;
use crate::error::{Error, Kind};
use crate::load::Loaded;
use crate::parse::node::{Node, Pos};

/// Checks a project; errors name the place in the tree that it was made of.
///
/// # Errors
/// A rule does not hold.
pub fn check(project: &Project, loaded: &Loaded) -> Result<(), Error> {
    let checker = Checker { project, loaded };
    for (name, service) in &project.services {
        checker.service(name, service)?;
    }
    for (name, secret) in &project.secrets {
        let secret = &secret.0;
        if !secret.external && secret.file.is_empty() && secret.environment.is_empty() {
            let text = format!(
                "secret {name:?} must declare either `file` or `environment`: invalid compose project"
            );
            return Err(checker.error(&["secrets", name], text));
        }
    }
    checker.cycles()
}

/// No two services may have the same `container_name`.
///
/// # Errors
/// Two have.
pub fn unique_container_names(project: &Project) -> Result<(), Error> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, service) in &project.services {
        if service.container_name.is_empty() {
            continue;
        }
        if let Some(other) = names.insert(&service.container_name, name) {
            let text = format!(
                "services.{name}: container name {:?} is already in use by service {other}\"",
                service.container_name
            );
            return Err(Kind::Rule(text).into());
        }
    }
    Ok(())
}

struct Checker<'a> {
    project: &'a Project,
    loaded: &'a Loaded,
}

type Checked = Result<(), Error>;

impl Checker<'_> {
    /// The place of a path, or of the last part of it that exists.
    fn place(&self, path: &[&str]) -> Pos {
        let mut at = Pos::default();
        let mut node: Option<&Node> = path.first().and_then(|first| self.loaded.tree.get(*first));
        for part in path.iter().skip(1).map(Some).chain([None]) {
            let Some(found) = node else { break };
            at = if found.key.line > 0 { found.key } else { at };
            node = part.and_then(|p| match found.list() {
                Some(list) => list.get(p.parse::<usize>().ok()?),
                None => found.get(p),
            });
        }
        at
    }

    fn error(&self, path: &[&str], text: impl Into<String>) -> Error {
        Error::rule(self.place(path), text)
    }

    fn invalid(&self, path: &[&str], text: String) -> Error {
        self.error(path, format!("{text}: invalid compose project"))
    }

    fn service(&self, name: &str, s: &Service) -> Checked {
        let here = ["services", name];
        if s.build.is_none() && s.image.is_empty() && s.provider.is_none() {
            let text = format!("service {name:?} has neither an image nor a build context specified");
            return Err(self.invalid(&here, text));
        }
        self.build(name, s)?;
        self.networks(name, s)?;
        if let Some(first) = s.healthcheck.as_ref().and_then(|h| h.test.0.first())
            && !matches!(first.as_str(), "CMD" | "CMD-SHELL" | "NONE")
        {
            let text = "healthcheck.test must start either by \"CMD\", \"CMD-SHELL\" or \"NONE\"";
            return Err(self.error(&["services", name, "healthcheck", "test"], text));
        }
        for (other, dependency) in &s.depends_on {
            let optional = !dependency.required && self.project.disabled.contains_key(other);
            if !self.project.services.contains_key(other) && !optional {
                let text = format!("service {name:?} depends on undefined service {other:?}");
                return Err(self.invalid(&["services", name, "depends_on", other], text));
            }
        }
        self.resources(name, s)?;
        self.limits(name, s)?;
        self.watches(name, s)?;
        self.mounts(name, s)
    }

    fn build(&self, name: &str, s: &Service) -> Checked {
        let Some(build) = &s.build else { return Ok(()) };
        let at = ["services", name, "build"];
        if !build.dockerfile_inline.is_empty() && !build.dockerfile.is_empty() {
            let text =
                format!("service {name:?} declares mutualy exclusive dockerfile and dockerfile_inline");
            return Err(self.invalid(&at, text));
        }
        for (context, value) in build.additional_contexts.iter() {
            let Some(target) = value.strip_prefix("service:") else { continue };
            match self.project.services.get(target) {
                None => {
                    let text = format!(
                        "service {name:?} declares unknown service {target:?} as additional contexts {context}"
                    );
                    return Err(self.error(&at, text));
                }
                Some(other) if other.build.is_none() => {
                    let text = format!(
                        "service {name:?} declares non-buildable service {target:?} as additional contexts {context}"
                    );
                    return Err(self.error(&at, text));
                }
                Some(_) => {}
            }
        }
        if !build.platforms.is_empty() && !s.platform.is_empty() && !build.platforms.contains(&s.platform) {
            let text = format!("service.build.platforms MUST include service.platform {:?}", s.platform);
            return Err(self.invalid(&at, text));
        }
        Ok(())
    }

    fn networks(&self, name: &str, s: &Service) -> Checked {
        if !s.network_mode.is_empty() && !s.networks.is_empty() {
            let text = format!("service {name} declares mutually exclusive `network_mode` and `networks`");
            return Err(self.invalid(&["services", name, "network_mode"], text));
        }
        if let Some(network) = s.networks.keys().find(|n| !self.project.networks.contains_key(*n)) {
            let text = format!("service {name:?} refers to undefined network {network}");
            return Err(self.invalid(&["services", name, "networks", network], text));
        }
        if let Some(other) = s.network_mode.strip_prefix("service:")
            && !self.project.services.contains_key(other)
        {
            let text = format!("service {other:?} not found for network_mode 'service:{other}'");
            return Err(self.error(&["services", name, "network_mode"], text));
        }
        Ok(())
    }

    fn resources(&self, name: &str, s: &Service) -> Checked {
        let undefined = |field: &str, index: usize, what: &str, source: &str| {
            let text = format!("service {name:?} refers to undefined {what} {source}");
            Err(self.invalid(&["services", name, field, &index.to_string()], text))
        };
        for (i, volume) in s.volumes.iter().enumerate() {
            if volume.kind == "volume"
                && !volume.source.is_empty()
                && !self.project.volumes.contains_key(&volume.source)
            {
                return undefined("volumes", i, "volume", &volume.source);
            }
        }
        for (i, secret) in s.build.iter().flat_map(|b| &b.secrets).enumerate() {
            if !self.project.secrets.contains_key(&secret.source) {
                return undefined("build", i, "build secret", &secret.source);
            }
        }
        for (i, config) in s.configs.iter().enumerate() {
            if !self.project.configs.contains_key(&config.source) {
                return undefined("configs", i, "config", &config.source);
            }
        }
        if let Some(model) = s.models.keys().find(|m| !self.project.models.contains_key(*m)) {
            return undefined("models", 0, "model", model);
        }
        for (i, secret) in s.secrets.iter().enumerate() {
            if !self.project.secrets.contains_key(&secret.source) {
                return undefined("secrets", i, "secret", &secret.source);
            }
        }
        Ok(())
    }

    fn limits(&self, name: &str, s: &Service) -> Checked {
        let deploy = s.deploy.clone().unwrap_or_default();
        let distinct = |field: &str, other: &str| {
            let text = format!("services.{name}: can't set distinct values on '{field}' and '{other}'");
            Err(self.invalid(&["services", name, field], text))
        };
        if let (Some(scale), Some(replicas)) = (s.scale, deploy.replicas)
            && scale != replicas
        {
            return distinct("scale", "deploy.replicas");
        }
        if s.scale.is_some_and(|n| n < 0) {
            let text = format!("services.{name}.scale: must be greater than or equal to 0");
            return Err(self.error(&["services", name, "scale"], text));
        }
        if deploy.replicas.is_some_and(|n| n < 0) {
            let text = format!("services.{name}.deploy.replicas: must be greater than or equal to 0");
            return Err(self.error(&["services", name, "deploy", "replicas"], text));
        }
        if let Some(limits) = &deploy.resources.limits {
            if s.cpus != 0.0 && (limits.cpus.0 - s.cpus).abs() > f32::EPSILON {
                return distinct("cpus", "deploy.resources.limits.cpus");
            }
            if s.mem_limit.0 != 0 && limits.memory != s.mem_limit {
                return distinct("mem_limit", "deploy.resources.limits.memory");
            }
            if s.pids_limit != 0 && limits.pids != s.pids_limit {
                return distinct("pids_limit", "deploy.resources.limits.pids");
            }
        }
        if let Some(reservations) = &deploy.resources.reservations
            && s.mem_reservation.0 != 0
            && reservations.memory != s.mem_reservation
        {
            return distinct("mem_reservation", "deploy.resources.reservations.memory");
        }
        if s.replicas() > 1 && !s.container_name.is_empty() {
            let attribute = if s.scale.is_none() { "deploy.replicas" } else { "scale" };
            let text = format!(
                "services.{attribute}: can't set container_name and {name} as container name must be unique"
            );
            return Err(self.invalid(&["services", name, "container_name"], text));
        }
        Ok(())
    }

    fn watches(&self, name: &str, s: &Service) -> Checked {
        for watch in s.develop.iter().flat_map(|d| &d.watch) {
            if watch.target.is_empty() && watch.action != "rebuild" && watch.action != "restart" {
                let text =
                    format!("services.{name}.develop.watch: target is required for non-rebuild actions");
                return Err(self.invalid(&["services", name, "develop", "watch"], text));
            }
        }
        Ok(())
    }

    fn mounts(&self, name: &str, s: &Service) -> Checked {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let tmpfs = s.tmpfs.iter().map(|t| ("tmpfs", t.split(':').next().unwrap_or(t).to_owned()));
        let volumes = s.volumes.iter().map(|v| ("volumes", v.target.clone()));
        let (mut count, mut kind_before) = (0, "");
        for (kind, target) in tmpfs.chain(volumes) {
            count = if kind == kind_before { count + 1 } else { 0 };
            kind_before = kind;
            let place = format!("services.{name}.{kind}[{count}]");
            if let Some(first) = seen.get(&target) {
                let text = format!("{place}: target {target} already mounted as {first}");
                return Err(self.error(&["services", name, kind, &count.to_string()], text));
            }
            seen.insert(target, place);
        }
        Ok(())
    }

    fn cycles(&self) -> Checked {
        let mut clean = std::collections::BTreeSet::new();
        for name in self.project.services.keys() {
            self.cycle(&mut vec![name.clone()], &mut clean)?;
        }
        Ok(())
    }

    fn cycle(&self, path: &mut Vec<String>, clean: &mut std::collections::BTreeSet<String>) -> Checked {
        let Some(last) = path.last().cloned() else { return Ok(()) };
        if clean.contains(&last) {
            return Ok(());
        }
        let Some(service) = self.project.services.get(&last) else { return Ok(()) };
        for next in service.depends_on.keys() {
            if let Some(i) = path.iter().position(|p| p == next) {
                let text = format!("dependency cycle detected: {} -> {next}", path[i..].join(" -> "));
                return Err(self.error(&["services", &last, "depends_on", next], text));
            }
            path.push(next.clone());
            self.cycle(path, clean)?;
            path.pop();
        }
        clean.insert(last);
        Ok(())
    }
}
