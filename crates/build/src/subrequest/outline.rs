//! What a target takes: arguments with their values, secrets, SSH agents.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Answer, Location, description, encoded, table};
use crate::builder::Builder;
use crate::definition::Source;
use crate::dockerfile::{ArgPair, Command, Dockerfile, Instruction, parse};
use crate::error::BuildError;
use crate::expand::Expander;
use crate::lint::{CheckOptions, Linter, Noted, StageView, Surroundings, walk};
use crate::plan::{Plan, StagePlan};
use crate::request::BuildRequest;

#[derive(Default, Serialize)]
struct Outline {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Wanted>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Wanted>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Arg {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
    location: Location,
}

/// A secret or an agent.
#[derive(Serialize)]
struct Wanted {
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

pub(super) fn answer(
    builder: &Builder,
    source: &Source,
    request: &BuildRequest,
) -> Result<Answer, BuildError> {
    let dockerfile = parse(&source.text, &source.name)?;
    let plan = Plan::new(&dockerfile, request)?;
    let linter = Linter::new(CheckOptions::default(), |_| {});
    let around = Surroundings { escape: plan.escape, args: &plan.args, ignore: None };
    let config = |name: &str, platform: &_| Ok(builder.bases.config(name, platform, &request.cancel)?);
    let views = walk(&linter, &plan, around, |stage: &StagePlan| stage.needed, config)?;
    let outline = outline(&dockerfile, &plan, &views, source);
    let text = text(&outline);
    Ok(super::answer(&outline, text))
}

fn outline(dockerfile: &Dockerfile, plan: &Plan, views: &[Option<StageView>], source: &Source) -> Outline {
    let globals = Globals::read(dockerfile, plan);
    let mut used = BTreeSet::new();
    let mut args: BTreeMap<String, (usize, Arg)> = BTreeMap::new();
    let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
    for stage in plan.stages.iter().filter(|stage| stage.needed) {
        globals.mark_from(dockerfile, stage.index, &mut used);
        let Some(view) = views.get(stage.index).and_then(Option::as_ref) else { continue };
        for (key, value, place) in view.arguments() {
            let Some((comments, lines)) = place else {
                globals.mark(key, &mut used);
                continue;
            };
            let arg = Arg {
                name: key.clone(),
                description: description(comments, key),
                value: value.clone().unwrap_or_default(),
                location: (*lines).into(),
            };
            args.entry(key.clone()).or_insert((lines.0, arg));
        }
        for (all, wanted) in [(&mut secrets, view.secrets()), (&mut ssh, view.agents())] {
            for (name, required, lines) in wanted {
                let wanted = Wanted { name: name.clone(), required: *required, location: (*lines).into() };
                all.entry(name.clone()).or_insert((lines.0, wanted));
            }
        }
    }
    for key in used {
        if let Some(arg) = globals.arg(&key) {
            args.entry(key).or_insert(arg);
        }
    }
    let target = plan.stages.get(plan.target).map(|stage| &stage.stage);
    let name = target.and_then(|stage| stage.name.clone()).unwrap_or_default();
    let said = target.map(|stage| description(&stage.comments, &name)).unwrap_or_default();
    Outline {
        name,
        description: said,
        args: by_line(args),
        secrets: by_line(secrets),
        ssh: by_line(ssh),
        sources: vec![encoded(source)],
    }
}

fn by_line<T>(all: BTreeMap<String, (usize, T)>) -> Vec<T> {
    let mut all: Vec<(usize, T)> = all.into_values().collect();
    all.sort_by_key(|(line, _)| *line);
    all.into_iter().map(|(_, one)| one).collect()
}

/// The arguments before the first `FROM`, and which of them need which.
struct Globals<'a> {
    values: BTreeMap<String, String>,
    declared: BTreeMap<&'a str, (&'a Instruction, BTreeSet<String>)>,
    expander: Expander,
}

impl<'a> Globals<'a> {
    fn read(dockerfile: &'a Dockerfile, plan: &Plan) -> Self {
        let expander = Expander::new(dockerfile.escape);
        let values = plan.args.for_from();
        let mut declared = BTreeMap::new();
        for instruction in &dockerfile.global_args {
            let Command::Arg(pairs) = &instruction.command else { continue };
            for ArgPair { key, value } in pairs {
                let noted = Noted::new(&values);
                if let Some(value) = value.as_ref().filter(|_| plan.args.given(key).is_none()) {
                    let _ = expander.word(value, &noted);
                }
                declared.insert(key.as_str(), (instruction, noted.found()));
            }
        }
        Globals { values, declared, expander }
    }

    /// Marks what a stage's `FROM` uses.
    fn mark_from(&self, dockerfile: &Dockerfile, stage: usize, used: &mut BTreeSet<String>) {
        let Some(stage) = dockerfile.stages.get(stage) else { return };
        let noted = Noted::new(&self.values);
        for text in std::iter::once(&stage.base).chain(&stage.platform) {
            let _ = self.expander.word(text, &noted);
        }
        noted.found().iter().for_each(|key| self.mark(key, used));
    }

    /// Marks an argument, and those that its default uses.
    fn mark(&self, key: &str, used: &mut BTreeSet<String>) {
        if used.insert(key.to_owned())
            && let Some((_, needed)) = self.declared.get(key)
        {
            needed.iter().for_each(|key| self.mark(key, used));
        }
    }

    fn arg(&self, key: &str) -> Option<(usize, Arg)> {
        let (instruction, _) = self.declared.get(key)?;
        let lines = (instruction.line, instruction.last_line);
        let arg = Arg {
            name: key.to_owned(),
            description: description(&instruction.comments, key),
            value: self.values.get(key).cloned().unwrap_or_default(),
            location: lines.into(),
        };
        Some((lines.0, arg))
    }
}

fn text(outline: &Outline) -> String {
    let mut out = String::new();
    let mut add = |rows: Vec<Vec<String>>, padding| {
        out.push_str(&table::table(&rows, padding));
        out.push('\n');
    };
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<String>>();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let mut rows = vec![row(&["TARGET:", name])];
        if !outline.description.is_empty() {
            rows.push(row(&["DESCRIPTION:", &outline.description]));
        }
        add(rows, 1);
    }
    if !outline.args.is_empty() {
        let mut rows = vec![row(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
        rows.extend(outline.args.iter().map(|arg| row(&[&arg.name, &arg.value, &arg.description])));
        add(rows, 3);
    }
    for (title, all) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !all.is_empty() {
            let mut rows = vec![row(&[title, "REQUIRED"])];
            rows.extend(all.iter().map(|one| row(&[&one.name, if one.required { "true" } else { "" }])));
            add(rows, 3);
        }
    }
    out
}
