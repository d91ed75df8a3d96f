//! `compose config`: the project as it is after all files, variables and defaults; or one aspect of it.

use std::collections::{BTreeMap, BTreeSet};

use dray_compose::Loader;
use dray_compose::model::{Data, Form, consistent, hash};
use dray_compose::parse::node::{Node, Value};
use dray_compose::parse::template::{self, Variable};
use dray_compose::render::{json, yaml};
use dray_compose::{Project, Skip};
use dray_spec::Reference;

use super::project::{self, How};
use super::remote::Remote;
use super::say;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::format::table;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("environment", NONE, "Print environment used for interpolation"),
    text("format", NONE, "Format of the output (yaml, json)"),
    text("hash", NONE, "Print the configuration hash of services, one per line"),
    switch("images", NONE, "Print the image names, one per line"),
    switch("lock-image-digests", NONE, "Make an override file with image digests"),
    switch("models", NONE, "Print the model names, one per line"),
    switch("networks", NONE, "Print the network names, one per line"),
    switch("no-consistency", NONE, "Do not check the consistency of the project"),
    switch("no-env-resolution", NONE, "Do not resolve env files of services"),
    switch("no-interpolate", NONE, "Leave variables as they are"),
    switch("no-normalize", NONE, "Do not normalise the project"),
    switch("no-path-resolution", NONE, "Leave paths as they are"),
    text("output", 'o', "Write to a file"),
    switch("profiles", NONE, "Print the profile names, one per line"),
    switch("quiet", 'q', "Only check, print nothing"),
    switch("resolve-image-digests", NONE, "Pin image tags to digests"),
    switch("services", NONE, "Print the service names, one per line"),
    switch("variables", NONE, "Print the variables and their default values"),
    switch("volumes", NONE, "Print the volume names, one per line"),
];

/// `compose config`
pub static COMMAND: Command = Command::new(
    "config",
    &["[OPTIONS] [SERVICE...]"],
    Args::Any,
    "Parse, resolve and render compose file in canonical format",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.aliases(&["convert"]);

async fn run(app: &App, p: Parsed) -> Done {
    let config = Config { app, p: &p };
    if let Some(lines) = config.aspect()? {
        if !p.is("quiet") {
            app.print(lines)?;
        }
        return Ok(0);
    }
    let format = match p.get("format") {
        "" => "yaml",
        other => other,
    };
    if !matches!(format, "yaml" | "json") {
        return Err(Error::Refused(format!("unsupported format {format:?}")));
    }
    let text = if p.is("no-interpolate") {
        config.model(format).await?
    } else {
        config.project(format).await?.replace('$', "$$")
    };
    if p.is("quiet") {
        return Ok(0);
    }
    match p.get("output") {
        "" => app.print(text)?,
        _ if text.is_empty() => {}
        path => std::fs::write(path, text).map_err(Error::file("open", path))?,
    }
    Ok(0)
}

struct Config<'a> {
    app: &'a App,
    p: &'a Parsed,
}

fn lines<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|n| format!("{n}\n")).collect()
}

impl Config<'_> {
    fn skip(&self) -> Skip {
        Skip {
            interpolation: self.p.is("no-interpolate"),
            normalization: self.p.is("no-normalize") || self.app.group.is("compatibility"),
            paths: self.p.is("no-path-resolution"),
            consistency: self.p.is("no-consistency"),
        }
    }

    fn load(&self, services: &[String], resolved: bool) -> Result<Project, Error> {
        let (skip, keep_env_files) = (self.skip(), !resolved);
        let how = How { skip, keep_env_files, forget_label_files: true, ..How::default() };
        project::load(self.app, services, how)
    }

    /// What one of the flags for an aspect prints.
    fn aspect(&self) -> Result<Option<String>, Error> {
        let (p, args) = (self.p, &self.p.args);
        Ok(Some(if p.is("services") {
            if p.is("no-interpolate") {
                let tree = self.tree()?;
                lines(tree.get("services").and_then(Node::map).into_iter().flat_map(|s| s.keys()))
            } else {
                lines(&self.load(&[], false)?.in_order())
            }
        } else if p.is("volumes") {
            lines(self.load(&[], false)?.volumes.keys())
        } else if p.is("networks") {
            lines(self.load(&[], false)?.networks.keys())
        } else if p.is("models") {
            let project = self.load(&[], false)?;
            lines(project.models.values().map(|m| &m.model).filter(|m| !m.is_empty()))
        } else if !p.get("hash").is_empty() {
            self.hashes()?
        } else if p.is("profiles") {
            let project = self.load(args, false)?;
            let all: BTreeSet<&String> = project.all_services().flat_map(|(_, s)| &s.profiles).collect();
            lines(all)
        } else if p.is("images") {
            let project = self.load(args, false)?;
            let separator = project::separator(self.app);
            let image = |(name, s): (&String, &dray_compose::model::service::Service)| {
                format!("{}\n", s.image_or_default(&project.name, name, separator))
            };
            project.services.iter().map(image).collect()
        } else if p.is("variables") {
            self.variables()?
        } else if p.is("environment") {
            let project = self.load(args, true)?;
            project.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
        } else {
            return Ok(None);
        }))
    }

    fn hashes(&self) -> Result<String, Error> {
        let project = self.load(&[], false)?;
        let wanted = self.p.get("hash");
        let mut names: Vec<String> = match wanted {
            "*" => project.services.keys().cloned().collect(),
            list => list.split(',').map(str::to_owned).collect(),
        };
        names.sort();
        let mut out = String::new();
        for name in names {
            out.push_str(&format!("{name} {}\n", hash::service(project.service(&name)?)));
        }
        Ok(out)
    }

    /// The tree with its variables as they are.
    fn tree(&self) -> Result<Node, Error> {
        let disk = Remote::new(self.app);
        let loader = Loader::new(&disk);
        let skip = Skip { interpolation: true, ..self.skip() };
        let loaded = loader.load(&project::request(self.app, skip)?);
        for warning in loader.warnings() {
            say::warn(&warning);
        }
        Ok(loaded?.tree.into())
    }

    fn variables(&self) -> Result<String, Error> {
        fn collect(node: &Node, into: &mut BTreeMap<String, Variable>) {
            match &node.value {
                Value::Str(text) => template::variables(text, into),
                Value::List(list) => list.iter().for_each(|n| collect(n, into)),
                Value::Map(map) => map.values().for_each(|n| collect(n, into)),
                _ => {}
            }
        }
        let mut found = BTreeMap::new();
        collect(&self.tree()?, &mut found);
        let fields = |name: &str, v: &Variable, lower: bool| {
            let key = |k: &str| if lower { k.to_lowercase() } else { k.to_owned() };
            Data::Map(vec![
                (key("Name"), name.into()),
                (key("DefaultValue"), v.default.as_str().into()),
                (key("PresenceValue"), v.alternate.as_str().into()),
                (key("Required"), Data::Bool(v.required)),
            ])
        };
        Ok(match self.p.get("format") {
            "yaml" => {
                let all = found.iter().map(|(name, v)| (name.clone(), fields(name, v, true))).collect();
                yaml::wide(&Data::Map(all))
            }
            "json" => {
                let all = found.iter().map(|(name, v)| (name.clone(), fields(name, v, false))).collect();
                // Docker Compose ends the line twice.
                json::listed(&Data::Map(all)) + "\n\n"
            }
            "" | "table" | "pretty" => {
                let mut text = String::from("NAME\tREQUIRED\tDEFAULT VALUE\tALTERNATE VALUE\n");
                for (name, v) in &found {
                    text.push_str(&format!("{name}\t{}\t{}\t{}\n", v.required, v.default, v.alternate));
                }
                table::align(&text, super::TABLE)
            }
            other => {
                return Err(Error::Refused(format!(
                    "format value {other:?} could not be parsed: parsing failed"
                )));
            }
        })
    }

    async fn project(&self, format: &str) -> Result<String, Error> {
        // Docker Compose resolves env files here even if told not to.
        let mut project = self.load(&self.p.args, true)?;
        let lock = self.p.is("lock-image-digests");
        if lock || self.p.is("resolve-image-digests") {
            for service in project.services.values_mut().filter(|s| !s.image.is_empty()) {
                service.image = pinned(self.app, &service.image).await?;
            }
        }
        if !self.p.is("no-consistency") {
            consistent::unique_container_names(&project)?;
        }
        if lock {
            project = images_only(&project);
        }
        Ok(if format == "json" {
            json::indented(&project.write(Form::Json))
        } else {
            yaml::document(&project.write(Form::Yaml))
        })
    }

    async fn model(&self, format: &str) -> Result<String, Error> {
        let mut tree = self.tree()?;
        let lock = self.p.is("lock-image-digests");
        if lock || self.p.is("resolve-image-digests") {
            let services = tree.map_mut().and_then(|t| t.get_mut("services")).and_then(Node::map_mut);
            for service in services.into_iter().flat_map(|s| s.values_mut()).filter_map(Node::map_mut) {
                if let Some(image) = service.get("image").and_then(Node::str).map(str::to_owned) {
                    service.insert("image".into(), pinned(self.app, &image).await?.into());
                }
                if lock {
                    service.retain(|name, _| name == "image");
                }
            }
            if lock && let Some(map) = tree.map_mut() {
                map.retain(|name, _| name == "services");
            }
        }
        let mut data = Data::from(&tree);
        Ok(if format == "json" {
            json::indented(&data)
        } else {
            yaml::sorted(&mut data);
            yaml::document(&data)
        })
    }
}

/// Only the images of a project.
pub fn images_only(project: &Project) -> Project {
    let services = project.services.iter().map(|(name, s)| {
        let only = dray_compose::model::service::Service { image: s.image.clone(), ..Default::default() };
        (name.clone(), only)
    });
    Project { services: services.collect(), ..Project::default() }
}

/// An image's name with its digest.
///
/// # Errors
/// The registry does not know it.
pub async fn pinned(app: &App, image: &str) -> Result<String, Error> {
    let reference = Reference::parse(image).map_err(|e| Error::Refused(e.to_string()))?.tagged();
    if reference.digest().is_some() {
        return Ok(reference.to_string());
    }
    let auth = crate::command::image::pull::auth_for(app, &reference);
    let name = reference.familiar_name();
    let tag = reference.tag().unwrap_or("latest");
    let found = app.client()?.distribution_inspect(&format!("{name}:{tag}"), &auth).await?;
    let digest = found.descriptor.digest;
    Ok(format!("{reference}@{digest}"))
}
