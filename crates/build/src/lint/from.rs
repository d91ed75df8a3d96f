//! `FROM` lines: the arguments they use, and their platforms.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use dray_spec::{Platform, Reference};

use super::{Linter, rule};
use crate::dockerfile::{Dockerfile, Stage, closest, did_you_mean, quoted};
use crate::expand::{Env, Expander};
use crate::plan::GlobalArgs;

/// Variables that note which of them were asked for.
pub(crate) struct Noted<'a> {
    values: &'a BTreeMap<String, String>,
    found: RefCell<BTreeSet<String>>,
    missing: RefCell<BTreeSet<String>>,
}

impl<'a> Noted<'a> {
    pub(crate) fn new(values: &'a BTreeMap<String, String>) -> Self {
        Noted { values, found: RefCell::default(), missing: RefCell::default() }
    }

    /// Those that were there.
    pub(crate) fn found(&self) -> BTreeSet<String> {
        self.found.borrow().clone()
    }
}

impl Env for Noted<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name).map(String::as_str);
        let noted = if value.is_some() { &self.found } else { &self.missing };
        noted.borrow_mut().insert(name.to_owned());
        value
    }
}

impl Linter<'_> {
    /// Checks what the stages of a Dockerfile begin with. `defaults` are the arguments without what the build was
    /// given; nothing if they cannot be expanded.
    pub(crate) fn bases(
        &self,
        dockerfile: &Dockerfile,
        args: &GlobalArgs,
        defaults: Option<&BTreeMap<String, String>>,
    ) {
        let expander = Expander::new(dockerfile.escape);
        for stage in &dockerfile.stages {
            let Some(defaults) = defaults else { break };
            let Ok(name) = expander.word(&stage.base, defaults) else { break };
            if Reference::parse(&name).is_err() {
                let base = &stage.base;
                self.found(&rule::INVALID_DEFAULT_ARG_IN_FROM, stage, || {
                    format!("Default value for ARG {base} results in empty or invalid base image name")
                });
            }
        }
        let values = args.values();
        for stage in &dockerfile.stages {
            let env = Noted::new(&values);
            let base = expander.word(&stage.base, &env);
            self.undefined_args(stage, &env, args, &values);
            // The build ends here, and so do the checks.
            if !base.is_ok_and(|base| !base.is_empty()) {
                break;
            }
            if let Some(platform) = &stage.platform {
                self.platform(stage, platform, &expander, args, &values);
            }
        }
    }

    fn undefined_args(
        &self,
        stage: &Stage,
        env: &Noted<'_>,
        args: &GlobalArgs,
        values: &BTreeMap<String, String>,
    ) {
        let known: BTreeSet<&str> =
            args.declared().map(String::as_str).chain(values.keys().map(String::as_str)).collect();
        let options: Vec<&str> = known.iter().copied().collect();
        for name in env.missing.borrow().iter().filter(|name| !known.contains(name.as_str())) {
            let meant = did_you_mean(&closest(name, &options, false));
            self.found(&rule::UNDEFINED_ARG_IN_FROM, stage, || {
                format!("FROM argument '{name}' is not declared{meant}")
            });
        }
    }

    fn platform(
        &self,
        stage: &Stage,
        text: &str,
        expander: &Expander,
        args: &GlobalArgs,
        values: &BTreeMap<String, String>,
    ) {
        let env = Noted::new(values);
        let Ok(platform) = expander.word(text, &env) else { return };
        self.undefined_args(stage, &env, args, values);
        let (found, missing) = (env.found.borrow(), env.missing.borrow());
        if found.len() == 1
            && missing.is_empty()
            && found.contains("TARGETPLATFORM")
            && values.get("TARGETPLATFORM") == Some(&platform)
        {
            self.found(&rule::REDUNDANT_TARGET_PLATFORM, stage, || {
                format!(
                    "Setting platform to predefined {text} in FROM is redundant as this is the default behavior"
                )
            });
        }
        if !found.is_empty() || !missing.is_empty() {
            return;
        }
        let Ok(parsed) = Platform::parse(&platform) else { return };
        let name = stage.name.as_deref().unwrap_or_default();
        if !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
            self.found(&rule::FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage, || {
                format!("FROM --platform flag should not use constant value {}", quoted(&platform))
            });
        }
    }
}
