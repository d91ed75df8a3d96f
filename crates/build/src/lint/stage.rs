//! The instructions of a stage, with the environment that they would see.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use dray_spec::{ImageConfig, RunConfig};

use super::{Linter, Place, rule};
use crate::args::{BuildArgs, is_steering};
use crate::config::{self, Edits};
use crate::dockerfile::{
    Command, Instruction, KeyValue, Mount, MountKind, Stage, closest, did_you_mean, parse_trigger, quoted,
};
use crate::dockerignore::Patterns;
use crate::error::BuildError;
use crate::expand::{Env, Expander};
use crate::glob::clean_path;
use crate::solve::{expanded, kind};

/// What a stage has come to, as far as the checks care.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageView {
    env: BTreeMap<String, String>,
    /// What `ARG` has declared, with or without value.
    declared: BTreeSet<String>,
    /// Whether the shell is not the usual one.
    has_shell: bool,
    /// Whether a line of the Dockerfile has set a working directory.
    has_workdir: bool,
    on_build: Vec<String>,
    /// What the stage itself asks for.
    arguments: Vec<Argument>,
    secrets: Vec<Wish>,
    agents: Vec<Wish>,
}

/// An `ARG`: name, value, and the comments above it with its lines; without these where it is a global one.
type Argument = (String, Option<String>, Option<(Vec<String>, (usize, usize))>);

/// A secret or an agent: its id, whether it is required, and the lines of the step.
type Wish = (String, bool, (usize, usize));

/// What the stages of a build have in common.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) escape: char,
    pub(crate) args: &'a BuildArgs,
    /// What the context leaves out.
    pub(crate) ignore: Option<&'a Patterns>,
}

impl StageView {
    /// The arguments that the stage declares.
    pub(crate) fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// The secrets that its steps ask for.
    pub(crate) fn secrets(&self) -> &[Wish] {
        &self.secrets
    }

    /// The SSH agents that its steps ask for.
    pub(crate) fn agents(&self) -> &[Wish] {
        &self.agents
    }

    /// Notes a mount that somebody has to provide for.
    fn wish(&mut self, mount: Mount, lines: (usize, usize)) {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        match mount.kind {
            MountKind::Secret => {
                let id = Some(mount.source).filter(|id| !id.is_empty()).or(mount.id);
                self.secrets.push((id.unwrap_or_else(|| last(&mount.target)), mount.required, lines));
            }
            MountKind::Ssh => {
                self.agents.push((mount.id.unwrap_or_else(|| "default".to_owned()), mount.required, lines));
            }
            _ => {}
        }
    }

    /// A stage that begins with nothing, or with an image.
    pub(crate) fn of_image(config: Option<&ImageConfig>) -> StageView {
        let mut run = config.and_then(|config| config.config.clone()).unwrap_or_default();
        config::begin_stage(&mut run);
        let RunConfig { env, shell, on_build, .. } = run;
        let split = |variable: String| match variable.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (variable, String::new()),
        };
        StageView {
            env: env.unwrap_or_default().into_iter().map(split).collect(),
            has_shell: shell.is_some_and(|shell| !shell.is_empty()),
            on_build: on_build.unwrap_or_default(),
            ..StageView::default()
        }
    }
}

/// The environment, noting what is asked for and not there.
struct Watched<'a> {
    view: &'a StageView,
    missing: RefCell<BTreeSet<String>>,
    report: &'a dyn Fn(&BTreeSet<String>),
}

impl Env for Watched<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.view.env.get(name).map(String::as_str);
        if value.is_none() {
            self.missing.borrow_mut().insert(name.to_owned());
        }
        value
    }

    fn end_of_word(&self) {
        let mut missing = std::mem::take(&mut *self.missing.borrow_mut());
        missing.retain(|name| !self.view.declared.contains(name) && !is_steering(name));
        (self.report)(&missing);
    }
}

/// Instructions of which only the last counts, where they were.
#[derive(Default)]
struct Once<'a> {
    seen: BTreeMap<&'static str, Place<'a>>,
}

impl Linter<'_> {
    /// Checks a stage that begins with `view`; gives what the next stage may begin with.
    ///
    /// # Errors
    /// The first instruction that cannot be carried out, if that is known from its text, with its lines.
    pub(crate) fn stage(
        &self,
        stage: &Stage,
        mut view: StageView,
        around: Surroundings<'_>,
    ) -> Result<StageView, BuildError> {
        view.arguments.clear();
        view.secrets.clear();
        view.agents.clear();
        let mut triggers = Vec::new();
        for trigger in std::mem::take(&mut view.on_build) {
            let failed = |error| BuildError::from(error).at((stage.line, stage.last_line));
            let mut instruction = parse_trigger(&trigger).map_err(failed)?;
            (instruction.line, instruction.last_line) = (stage.line, stage.last_line);
            triggers.push(instruction);
        }
        let mut once = Once::default();
        for instruction in triggers.iter().chain(&stage.instructions) {
            let lines = (instruction.line, instruction.last_line);
            self.instruction(instruction, &mut view, around, &mut once).map_err(|error| error.at(lines))?;
        }
        Ok(view)
    }

    fn instruction<'i>(
        &self,
        instruction: &'i Instruction,
        view: &mut StageView,
        around: Surroundings<'_>,
        once: &mut Once<'i>,
    ) -> Result<(), BuildError> {
        let expander = Expander::new(around.escape);
        match &instruction.command {
            Command::Arg(_) => return self.arg(instruction, view, around, &expander),
            // Its variables may well be empty.
            Command::Expose(_) => return self.expose(instruction, view, &expander),
            Command::Cmd(line) | Command::Entrypoint(line) => {
                self.last_one_counts(instruction, once);
                if line.shell && !view.has_shell {
                    let name = &instruction.keyword;
                    self.found(&rule::JSON_ARGS_RECOMMENDED, instruction, || {
                        format!(
                            "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
                        )
                    });
                }
            }
            Command::Healthcheck(_) => self.last_one_counts(instruction, once),
            _ => {}
        }
        let mut mounts = Vec::new();
        let command = self.watched(instruction, view, |env| {
            if let Command::Run(run) = &instruction.command {
                for mount in &run.mounts {
                    mounts.push(Mount::parse(mount, &|text| expander.word(text, env))?);
                }
            }
            Ok(expanded(&instruction.command, &expander, env)?)
        })?;
        for mount in mounts {
            view.wish(mount, (instruction.line, instruction.last_line));
        }
        self.apply(instruction, &command, view, around)
    }

    /// Lets `work` use variables, and tells of those that are not there.
    fn watched<T>(
        &self,
        instruction: &Instruction,
        view: &StageView,
        work: impl FnOnce(&dyn Env) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let options: Vec<&str> = view.env.keys().map(String::as_str).collect();
        let report = |missing: &BTreeSet<String>| {
            for name in missing {
                self.found(&rule::UNDEFINED_VAR, instruction, || {
                    let meant = match closest(name, &options, false) {
                        Some(meant) => did_you_mean(&Some(format!("${meant}"))),
                        None => String::new(),
                    };
                    format!("Usage of undefined variable '${name}'{meant}")
                });
            }
        };
        work(&Watched { view, missing: RefCell::default(), report: &report })
    }

    fn last_one_counts<'i>(&self, instruction: &'i Instruction, once: &mut Once<'i>) {
        if let Some(before) = once.seen.insert(instruction.command.name(), instruction.into()) {
            let name = &instruction.keyword;
            self.found(&rule::MULTIPLE_INSTRUCTIONS_DISALLOWED, before, || {
                format!(
                    "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
                )
            });
        }
    }

    fn arg(
        &self,
        instruction: &Instruction,
        view: &mut StageView,
        around: Surroundings<'_>,
        expander: &Expander,
    ) -> Result<(), BuildError> {
        let Command::Arg(pairs) = &instruction.command else { return Ok(()) };
        for pair in pairs {
            self.no_secret("ARG", &pair.key, instruction);
            let value = match (around.args.given(&pair.key), &pair.value) {
                (Some(given), _) => Some(given.to_owned()),
                (None, None) => around.args.global(&pair.key),
                (None, Some(default)) => {
                    Some(self.watched(instruction, view, |env| Ok(expander.word(default, env)?))?)
                }
            };
            let is_global = around.args.given(&pair.key).is_none() && pair.value.is_none() && value.is_some();
            let lines = (instruction.line, instruction.last_line);
            let place = (!is_global).then(|| (instruction.comments.clone(), lines));
            view.arguments.push((pair.key.clone(), value.clone(), place));
            if let Some(value) = value.filter(|_| !is_steering(&pair.key)) {
                view.env.insert(pair.key.clone(), value);
            }
            view.declared.insert(pair.key.clone());
        }
        Ok(())
    }

    fn expose(
        &self,
        instruction: &Instruction,
        view: &StageView,
        expander: &Expander,
    ) -> Result<(), BuildError> {
        let command = expanded(&instruction.command, expander, &view.env)?;
        let Command::Expose(ports) = &command else { return Ok(()) };
        for port in ports {
            let (host, container) =
                port.rsplit_once(':').map_or((None, port.as_str()), |(h, c)| (Some(h), c));
            let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
            if protocol != protocol.to_lowercase() {
                self.found(&rule::EXPOSE_PROTO_CASING, instruction, || {
                    format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase")
                });
            }
            if host.is_some_and(|host| host.chars().any(|c| c != ':')) {
                self.found(&rule::EXPOSE_INVALID_FORMAT, instruction, || {
                    format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'")
                });
            }
        }
        Edits::default().apply(&mut RunConfig::default(), &command)?;
        Ok(())
    }

    /// What the instruction does, its variables known.
    fn apply(
        &self,
        instruction: &Instruction,
        command: &Command,
        view: &mut StageView,
        around: Surroundings<'_>,
    ) -> Result<(), BuildError> {
        match command {
            Command::Env(pairs) => {
                for pair in pairs {
                    self.key_value(instruction, pair);
                    self.no_secret("ENV", &pair.key, instruction);
                    view.env.insert(pair.key.clone(), pair.value.clone());
                }
            }
            Command::Label(pairs) => pairs.iter().for_each(|pair| self.key_value(instruction, pair)),
            Command::Workdir(path) => {
                if !view.has_workdir && !path.starts_with('/') {
                    let path = quoted(path);
                    self.found(&rule::WORKDIR_RELATIVE_PATH, instruction, || {
                        format!(
                            "Relative workdir {path} can have unexpected results if the base image changes"
                        )
                    });
                }
                view.has_workdir = true;
            }
            Command::Copy(copy) if copy.from.is_none() => {
                self.ignored_sources(instruction, "Copy", &copy.sources, around);
            }
            Command::Add(add) => self.ignored_sources(instruction, "Add", &add.sources, around),
            Command::Shell(_) => view.has_shell = true,
            Command::Onbuild(trigger) => view.on_build.push(trigger.clone()),
            _ => {}
        }
        if matches!(command, Command::StopSignal(_) | Command::Volume(_) | Command::Workdir(_)) {
            Edits::default().apply(&mut RunConfig::default(), command)?;
        }
        Ok(())
    }

    fn key_value(&self, instruction: &Instruction, pair: &KeyValue) {
        if !pair.delimited {
            let name = &instruction.keyword;
            self.found(&rule::LEGACY_KEY_VALUE_FORMAT, instruction, || {
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format")
            });
        }
    }

    fn no_secret(&self, name: &str, key: &str, instruction: &Instruction) {
        if is_secret(key) {
            self.found(&rule::SECRETS_USED_IN_ARG_OR_ENV, instruction, || {
                format!("Do not use ARG or ENV instructions for sensitive data ({name} {})", quoted(key))
            });
        }
    }

    /// Where a `!` takes something back in, the patterns alone do not tell what is missing.
    fn ignored_sources(
        &self,
        instruction: &Instruction,
        verb: &str,
        sources: &[String],
        around: Surroundings<'_>,
    ) {
        let Some(patterns) = around.ignore.filter(|patterns| !patterns.has_exceptions()) else { return };
        for source in sources.iter().filter(|source| kind(source).is_none()) {
            let path = clean_path(source);
            let ignored = match path.as_str() {
                "." | "/" => patterns.texts().any(|text| matches!(text, "*" | "**" | "**/*")),
                path => patterns.ignores(path),
            };
            if ignored {
                self.found(&rule::COPY_IGNORED_FILE, instruction, || {
                    format!("Attempting to {verb} file {} that is excluded by .dockerignore", quoted(&path))
                });
            }
        }
    }
}

/// Whether a variable's name says that it holds a secret, by one of its words.
fn is_secret(name: &str) -> bool {
    const DENIED: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const ALLOWED: [&str; 3] = ["public", "file", "version"];
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
    has(&DENIED) && !has(&ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in ["TOKEN", "github_token", "Key_Id", "APIKEY", "MYSQL_PASSWORD", "AUTH"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["TOKENS", "MONKEY", "PUBLIC_KEY", "TOKEN_FILE", "AUTH_VERSION", "KEYRING", ""] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
