//! A target as the words of `build`, and what it wants of this machine.

use std::collections::BTreeMap;

use dray_bake::entitlement::Wants;
use dray_bake::target::Target;
use dray_bake::{Around, Plan};
use dray_spec::glob::clean_path;

use super::remote::{HERE, Remote, git_secrets};
use crate::build_context::is_url;
use crate::build_session::Offers;
use crate::command::own_file::OwnFile;
use crate::command_error::Error;
use crate::opts::{limit, output};

/// The words, and files that must be there until the build has ended.
pub(super) struct Words {
    pub words: Vec<String>,
    files: Vec<OwnFile>,
}

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What the target puts out.
    Itself,
    /// Others are built upon it.
    Base,
}

/// Completes targets as buildx does before it shows or builds them, and refuses what cannot be.
///
/// # Errors
/// A target asks for what is not there, or wrong.
pub(super) fn complete(plan: &mut Plan, around: &Around, remote: Option<&Remote>) -> Result<(), Error> {
    let epoch = around.environment.get("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty());
    for target in plan.targets.values_mut() {
        if let Some(epoch) = epoch {
            let args = target.args.get_or_insert_default();
            args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| Some(epoch.clone()));
        }
        check(target).map_err(Error::Refused)?;
        if let Some(remote) = remote {
            remote.place(target).map_err(Error::Refused)?;
        }
        let context = target.context.clone().unwrap_or_default();
        target.context = Some(local(&context));
    }
    Ok(())
}

/// A context as it is built: cleaned, if it is a folder.
fn local(context: &str) -> String {
    match context.strip_prefix(HERE) {
        Some(folder) => clean_path(folder),
        None if is_url(context) => context.to_owned(),
        None => clean_path(context),
    }
}

fn check(target: &Target) -> Result<(), String> {
    if target.context.as_deref() == Some("-") {
        return Err("context from stdin not allowed in bake".to_owned());
    }
    if target.dockerfile.as_deref() == Some("-") {
        return Err("dockerfile from stdin not allowed in bake".to_owned());
    }
    if let Some(size) = &target.shm_size {
        dray_client::api::size::parse_binary(size)
            .map_err(|_| format!("invalid value {size} for membytes key shm-size"))?;
    }
    for text in target.platforms.iter().flatten().filter(|text| *text != "local") {
        text.parse::<dray_spec::Platform>().map_err(|error| error.to_string())?;
    }
    target.ulimits.iter().flatten().try_for_each(|text| limit::ulimit(text).map(|_| ()))?;
    Offers::parse(&secrets(target), &agents(target))?;
    output::outputs(&outputs(target), false, false, &target.annotations.clone().unwrap_or_default())?;
    Ok(())
}

fn secrets(target: &Target) -> Vec<String> {
    target.secrets.iter().flatten().map(|secret| secret.text()).collect()
}

fn agents(target: &Target) -> Vec<String> {
    target.ssh.iter().flatten().map(|ssh| ssh.text()).collect()
}

fn outputs(target: &Target) -> Vec<String> {
    target.outputs.iter().flatten().map(|output| output.text()).collect()
}

/// Where the Dockerfile is: beside a folder's files, or in what an address leads to.
fn dockerfile(target: &Target) -> String {
    let (context, file) =
        (target.context.clone().unwrap_or_default(), target.dockerfile.clone().unwrap_or_default());
    match file.strip_prefix(HERE) {
        Some(file) => {
            let file = clean_path(file);
            std::path::absolute(&file).map_or(file, |full| full.display().to_string())
        }
        None if is_url(&context) || file.starts_with('/') || is_url(&file) => file,
        None => clean_path(&format!("{context}/{file}")),
    }
}

impl Words {
    /// The words for a target; `images` are those of the targets that it is built upon.
    ///
    /// # Errors
    /// An inline Dockerfile cannot be written.
    pub fn new(target: &Target, purpose: Purpose, images: &BTreeMap<String, String>) -> Result<Words, Error> {
        let mut words = Words { words: Vec::new(), files: Vec::new() };
        match &target.dockerfile_inline {
            Some(text) if !text.is_empty() => {
                let own = OwnFile::new("dray-bake", text)?;
                words.add("file", &own.path().display().to_string());
                words.files.push(own);
            }
            _ => words.add("file", &dockerfile(target)),
        }
        words.steps(target, images);
        if purpose == Purpose::Itself {
            words.results(target);
        }
        words.words.extend(["--".to_owned(), target.context.clone().unwrap_or_default()]);
        Ok(words)
    }

    fn add(&mut self, flag: &str, value: &str) {
        self.words.push(format!("--{flag}={value}"));
    }

    /// What steps are carried out by.
    fn steps(&mut self, target: &Target, images: &BTreeMap<String, String>) {
        for (name, value) in target.args.iter().flatten() {
            if let Some(value) = value {
                self.add("build-arg", &format!("{name}={value}"));
            }
        }
        for (name, context) in target.contexts.iter().flatten() {
            let value = match context.strip_prefix("target:").and_then(|base| images.get(base)) {
                Some(image) => format!("docker-image://{image}"),
                None => context.strip_prefix(HERE).map_or_else(|| context.clone(), clean_path),
            };
            self.add("build-context", &format!("{name}={value}"));
        }
        let one = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        for (flag, value) in
            [("target", &target.target), ("network", &target.network), ("shm-size", &target.shm_size)]
        {
            if let Some(value) = one(value) {
                self.add(flag, &value);
            }
        }
        for (flag, texts) in
            [("ulimit", &target.ulimits), ("platform", &target.platforms), ("allow", &target.entitlements)]
        {
            texts.iter().flatten().for_each(|text| self.add(flag, text));
        }
        for (name, addresses) in target.extra_hosts.iter().flatten() {
            for address in addresses.iter().flat_map(|all| all.split(',')) {
                self.add("add-host", &format!("{name}={address}"));
            }
        }
        if is_url(target.context.as_deref().unwrap_or_default()) {
            git_secrets().iter().for_each(|text| self.add("secret", text));
        }
        secrets(target).iter().for_each(|text| self.add("secret", text));
        agents(target).iter().for_each(|text| self.add("ssh", text));
        target.cache_from.iter().flatten().for_each(|cache| self.add("cache-from", &cache.text()));
        if target.no_cache == Some(true) {
            self.words.push("--no-cache".to_owned());
        }
        target.no_cache_filter.iter().flatten().for_each(|stage| self.add("no-cache-filter", stage));
        if target.pull == Some(true) {
            self.words.push("--pull".to_owned());
        }
        for (name, value) in target.labels.iter().flatten() {
            if let Some(value) = value {
                self.add("label", &format!("{name}={value}"));
            }
        }
    }

    /// What comes of it.
    fn results(&mut self, target: &Target) {
        target.tags.iter().flatten().for_each(|tag| self.add("tag", tag));
        target.annotations.iter().flatten().for_each(|text| self.add("annotation", text));
        target.attest.iter().flatten().for_each(|attest| self.add("attest", &attest.text()));
        target.cache_to.iter().flatten().for_each(|cache| self.add("cache-to", &cache.text()));
        outputs(target).iter().for_each(|output| self.add("output", output));
        if let Some(call) = target.call.as_deref().filter(|call| !call.is_empty()) {
            self.add("call", call);
        }
    }
}

/// Whether a context by name is no folder.
pub(super) fn is_elsewhere(context: &str) -> bool {
    is_url(context) || ["target:", "docker-image:", "oci-layout:"].iter().any(|p| context.starts_with(p))
}

/// What targets want of this machine.
pub(super) fn wants(plan: &Plan, is_remote: bool) -> Wants {
    let mut wants = Wants::default();
    for target in plan.targets.values() {
        wants.entitlements.extend(target.entitlements.iter().flatten().cloned());
        let context = target.context.clone().unwrap_or_default();
        let inline = target.dockerfile_inline.as_ref().is_some_and(|text| !text.is_empty());
        let file = dockerfile(target);
        // Beside a context that is fetched only a file in full is of this machine.
        let file_is_here = !is_url(&file) && (file.starts_with('/') || !is_url(&context));
        if file_is_here && !inline {
            wants.read.insert(file);
        }
        if !is_url(&context) {
            wants.read.insert(context);
        }
        for context in target.contexts.iter().flatten().map(|(_, context)| context) {
            if let Some(place) = context.strip_prefix("oci-layout://").filter(|_| is_remote) {
                // buildx passes over these. Files of others shall not find out what is on this machine.
                let path = place.split(['@', ':']).next().unwrap_or(place);
                wants.read.insert(path.to_owned());
            } else if !is_elsewhere(context) {
                wants.read.insert(context.strip_prefix(HERE).unwrap_or(context).to_owned());
            }
        }
        let attr = |entry: &dray_bake::target::Entry, key: &str| {
            entry.attrs.get(key).cloned().filter(|_| entry.kind == "local")
        };
        wants.read.extend(target.cache_from.iter().flatten().filter_map(|entry| attr(entry, "src")));
        wants.write.extend(target.cache_to.iter().flatten().filter_map(|entry| attr(entry, "dest")));
        let dests = target.outputs.iter().flatten().map(|output| output.dest.clone());
        wants.write.extend(dests.filter(|dest| !dest.is_empty() && dest != "-"));
        let files = target.secrets.iter().flatten().map(|secret| secret.src.clone());
        wants.read.extend(files.filter(|file| !file.is_empty()));
        for ssh in target.ssh.iter().flatten() {
            wants.ssh |= ssh.paths.is_empty();
            wants.read.extend(ssh.paths.iter().cloned());
        }
    }
    wants
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_becomes_the_words_of_a_build() {
        let texts = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let target = Target {
            context: Some("app".into()),
            dockerfile: Some("docker/Dockerfile".into()),
            args: Some([("A".into(), Some("1".into())), ("B".into(), None)].into()),
            contexts: Some(
                [("base".into(), "target:base".into()), ("src".into(), "cwd://./src".into())].into(),
            ),
            tags: texts(&["app:1"]),
            no_cache_filter: texts(&["build"]),
            extra_hosts: Some([("db".into(), Some("10.0.0.1,10.0.0.2".into()))].into()),
            ..Target::default()
        };
        let images = BTreeMap::from([("base".to_owned(), "sha256:aa".to_owned())]);
        let words = Words::new(&target, Purpose::Itself, &images).map(|w| w.words).unwrap_or_default();
        let expected = [
            "--file=app/docker/Dockerfile",
            "--build-arg=A=1",
            "--build-context=base=docker-image://sha256:aa",
            "--build-context=src=src",
            "--add-host=db=10.0.0.1",
            "--add-host=db=10.0.0.2",
            "--no-cache-filter=build",
            "--tag=app:1",
            "--",
            "app",
        ];
        assert_eq!(words, expected);
        let base = Words::new(&target, Purpose::Base, &images).map(|w| w.words).unwrap_or_default();
        assert!(!base.iter().any(|word| word.starts_with("--tag")));
    }
}
