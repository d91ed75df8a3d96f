//! What the text alone tells.

use std::collections::BTreeSet;

use super::{Linter, Place, rule};
use crate::dockerfile::{Command, Dockerfile, Instruction, Stage, quoted};

/// Names that mean something of their own.
const RESERVED: [&str; 2] = ["context", "scratch"];

impl Linter<'_> {
    /// Checks everything that needs no variables.
    pub(crate) fn file(&self, dockerfile: &Dockerfile) {
        for line in &dockerfile.empty_continuations {
            let place = Place { comments: &[], lines: (*line, *line) };
            self.found(&rule::NO_EMPTY_CONTINUATION, place, || "Empty continuation line".to_owned());
        }
        dockerfile.global_args.iter().for_each(|instruction| self.alone(instruction));
        for stage in &dockerfile.stages {
            self.stage_line(stage);
            stage.instructions.iter().for_each(|instruction| self.alone(instruction));
        }
        self.stage_names(&dockerfile.stages);
        self.casing(&dockerfile.stages);
    }

    fn stage_line(&self, stage: &Stage) {
        let Some((by, name)) = &stage.alias else { return };
        if *name != name.to_lowercase() {
            self.found(&rule::STAGE_NAME_CASING, stage, || {
                format!("Stage name '{name}' should be lowercase")
            });
        }
        let keyword = &stage.keyword;
        let matches = match casing_of(keyword) {
            Some(Casing::Lower) => *by == by.to_lowercase(),
            Some(Casing::Upper) => *by == by.to_uppercase(),
            // Told of by another rule.
            None => true,
        };
        if !matches {
            let detail = || format!("'{by}' and '{keyword}' keywords' casing do not match");
            self.found(&rule::FROM_AS_CASING, stage, detail);
        }
        if let Some(name) = &stage.name {
            self.description("FROM", &[name], stage.into());
        }
    }

    fn alone(&self, instruction: &Instruction) {
        match &instruction.command {
            Command::Maintainer(_) => {
                let detail = || "Maintainer instruction is deprecated in favor of using label".to_owned();
                self.found(&rule::MAINTAINER_DEPRECATED, instruction, detail);
            }
            Command::Arg(pairs) => {
                let keys: Vec<&String> = pairs.iter().map(|pair| &pair.key).collect();
                self.description("ARG", &keys, instruction.into());
            }
            _ => {}
        }
    }

    /// A comment above a definition describes it.
    fn description(&self, instruction: &str, names: &[&String], place: Place<'_>) {
        let (Some(comment), Some(first)) = (place.comments.last(), names.first()) else { return };
        let described = comment.split(' ').next().unwrap_or_default();
        if names.iter().any(|name| *name == described) {
            return;
        }
        let name = if names.len() > 1 { "<arg_key>" } else { first.as_str() };
        self.found(&rule::INVALID_DEFINITION_DESCRIPTION, place, || {
            format!("Comment for {instruction} should follow the format: `# {name} <description>`")
        });
    }

    fn stage_names(&self, stages: &[Stage]) {
        let mut seen = BTreeSet::new();
        for stage in stages {
            let Some(name) = &stage.name else { continue };
            if RESERVED.contains(&name.as_str()) {
                self.found(&rule::RESERVED_STAGE_NAME, stage, || {
                    format!("Stage name should not use the same name as reserved stage {}", quoted(name))
                });
            }
            if !seen.insert(name) {
                self.found(&rule::DUPLICATE_STAGE_NAME, stage, || {
                    format!("Duplicate stage name {}, stage names should be unique", quoted(name))
                });
            }
        }
    }

    /// All instructions are written as most of them are.
    fn casing(&self, stages: &[Stage]) {
        let keywords = || {
            stages.iter().flat_map(|stage| {
                let instructions = stage.instructions.iter();
                let own = std::iter::once((&stage.keyword, Place::from(stage)));
                own.chain(instructions.map(|instruction| (&instruction.keyword, Place::from(instruction))))
            })
        };
        let (mut lower, mut upper) = (0, 0);
        for (keyword, _) in keywords() {
            match casing_of(keyword) {
                Some(Casing::Lower) => lower += 1,
                Some(Casing::Upper) => upper += 1,
                None => {}
            }
        }
        let (majority, name) =
            if lower > upper { (Casing::Lower, "lowercase") } else { (Casing::Upper, "uppercase") };
        for (keyword, place) in keywords().filter(|(keyword, _)| casing_of(keyword) != Some(majority)) {
            self.found(&rule::CONSISTENT_INSTRUCTION_CASING, place, || {
                format!("Command '{keyword}' should match the case of the command majority ({name})")
            });
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
}

fn casing_of(word: &str) -> Option<Casing> {
    if word == word.to_lowercase() {
        Some(Casing::Lower)
    } else if word == word.to_uppercase() {
        Some(Casing::Upper)
    } else {
        None
    }
}
