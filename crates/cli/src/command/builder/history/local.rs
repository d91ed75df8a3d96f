//! What a build is called. `docker buildx` keeps in a file of its own what folder a build was of; the daemon is not told.
//!
//! ```text
//! <config>/buildx/refs/default/default/<ref>     {"LocalPath": …, "DockerfilePath": …}
//! ```

use std::path::{Path, PathBuf};

use dray_client::api::build::{BuildLocal, BuildSummary};
use serde::Deserialize;

use crate::build_context::is_url;

/// Builder and node as buildx calls a daemon.
pub const NODE: &str = "default/default";
const DEFAULT_FILE: &str = "Dockerfile";

/// Where a build was of, on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Local {
    local_path: String,
    dockerfile_path: String,
}

impl Local {
    /// What is known here of a build: what `dray build` has said, or what buildx has kept in the configuration's folder.
    pub fn of(build: &BuildSummary, config: &Path) -> Local {
        let from_buildx = || {
            let folder = match std::env::var_os("BUILDX_CONFIG").filter(|path| !path.is_empty()) {
                Some(folder) => PathBuf::from(folder),
                None => config.join("buildx"),
            };
            // A reference is the daemon's word: it leads nowhere else.
            let name = Path::new(&build.r#ref).file_name()?;
            let text = std::fs::read(folder.join("refs").join(NODE).join(name)).ok()?;
            serde_json::from_slice(&text).ok()
        };
        let said = build.attrs.get("context").filter(|context| context.starts_with('/'));
        match said {
            Some(context) => Local {
                local_path: context.clone(),
                dockerfile_path: build.attrs.get("filename").cloned().unwrap_or_default(),
            },
            None => from_buildx().unwrap_or_default(),
        }
    }

    /// What a bundle says of it; none if nothing is known here.
    pub fn for_bundle(&self, target: &str) -> Option<BuildLocal> {
        let known = !self.local_path.is_empty() || !self.dockerfile_path.is_empty();
        known.then(|| BuildLocal {
            target: target.to_owned(),
            local_path: self.local_path.clone(),
            dockerfile_path: self.dockerfile_path.clone(),
        })
    }

    /// The context as it is shown: within the working directory if it is there.
    pub fn context(&self, build: &BuildSummary) -> String {
        if self.local_path.is_empty() {
            return build.attrs.get("context").cloned().unwrap_or_default();
        }
        let here = std::env::current_dir().unwrap_or_default();
        match Path::new(&self.local_path).strip_prefix(&here) {
            Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
            Ok(inside) => inside.display().to_string(),
            Err(_) => self.local_path.clone(),
        }
    }

    /// The Dockerfile as it is shown: within the context if it is there.
    pub fn dockerfile(&self, build: &BuildSummary) -> String {
        let said = || build.attrs.get("filename").cloned().unwrap_or_default();
        let path = if self.dockerfile_path.is_empty() { said() } else { self.dockerfile_path.clone() };
        match Path::new(&path).strip_prefix(&self.local_path) {
            Ok(inside) if !self.local_path.is_empty() => inside.display().to_string(),
            _ => path,
        }
    }
}

/// What a build is called: as buildx calls it, else by the first of its names.
pub fn name(build: &BuildSummary, local: &Local) -> String {
    let attr = |name: &str| build.attrs.get(name).map(String::as_str).unwrap_or_default();
    if !attr("build-arg:BUILDKIT_BUILD_NAME").is_empty() {
        return attr("build-arg:BUILDKIT_BUILD_NAME").to_owned();
    }
    let mut name = match attr("context") {
        context if !context.is_empty() && !context.starts_with('/') => context.to_owned(),
        _ => match attr("vcs:localdir:context") {
            "" | "." => of_paths(local, attr("filename")),
            context => context.to_owned(),
        },
    };
    if name.is_empty() {
        name = build.names.first().cloned().unwrap_or_default();
    }
    let target = attr("target");
    match (target.is_empty(), name.is_empty()) {
        (false, false) => name = format!("{name} ({target})"),
        (false, true) => name = target.to_owned(),
        _ => {}
    }
    if name.is_empty() { attr("vcs:source").to_owned() } else { name }
}

/// The context's last folder; with the Dockerfile's name, if that is not the usual one.
fn of_paths(local: &Local, file: &str) -> String {
    let context = if is_url(&local.local_path) || local.local_path == "-" { "" } else { &local.local_path };
    let file = match local.dockerfile_path.as_str() {
        "" | "-" => file,
        path => path,
    };
    let usual = file.is_empty() || file == DEFAULT_FILE || file.ends_with("/Dockerfile");
    let folder = file.strip_suffix("/Dockerfile").unwrap_or(if file == DEFAULT_FILE { "" } else { file });
    let inside = folder.strip_prefix(context).filter(|rest| !context.is_empty() && !rest.is_empty());
    if inside.is_some() {
        let begin = context.rfind('/').map_or(0, |at| at + 1);
        return folder[begin..].to_owned();
    }
    let base = if folder.is_empty() { context } else { folder };
    let (before, last) = base.rsplit_once('/').unwrap_or(("", base));
    match before.rsplit('/').next() {
        Some(parent) if !usual && !parent.is_empty() => format!("{parent}/{last}"),
        _ => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(attrs: &[(&str, &str)], names: &[&str]) -> BuildSummary {
        BuildSummary {
            attrs: attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..BuildSummary::default()
        }
    }

    fn local(context: &str, file: &str) -> Local {
        Local { local_path: context.into(), dockerfile_path: file.into() }
    }

    #[test]
    fn builds_are_called_as_buildx_calls_them() {
        let none = Local::default();
        assert_eq!(name(&build(&[("build-arg:BUILDKIT_BUILD_NAME", "x")], &[]), &none), "x");
        assert_eq!(name(&build(&[("context", "https://host/x.git")], &[]), &none), "https://host/x.git");
        assert_eq!(name(&build(&[], &[]), &local("/src/app", "/src/app/Dockerfile")), "app");
        let target = build(&[("target", "test")], &[]);
        assert_eq!(name(&target, &local("/src/app", "Dockerfile")), "app (test)");
        assert_eq!(name(&target, &none), "test");
        assert_eq!(name(&build(&[], &[]), &local("/src/app", "/src/app/sub/Dockerfile")), "app/sub");
        assert_eq!(
            name(&build(&[], &[]), &local("/src/app", "/src/app/web.Dockerfile")),
            "app/web.Dockerfile"
        );
        assert_eq!(name(&build(&[], &["docker.io/x"]), &none), "docker.io/x");
    }

    #[test]
    fn paths_are_shown_from_where_they_are_looked_at() {
        let of = local("/nowhere/app", "/nowhere/app/sub/Dockerfile");
        assert_eq!(of.context(&build(&[], &[])), "/nowhere/app");
        assert_eq!(of.dockerfile(&build(&[], &[])), "sub/Dockerfile");
        let remote = build(&[("context", "https://host/x.git"), ("filename", "Build")], &[]);
        assert_eq!(Local::default().context(&remote), "https://host/x.git");
        assert_eq!(Local::default().dockerfile(&remote), "Build");
    }
}
