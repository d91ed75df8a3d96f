//! What to build: the stages that the target needs, what each begins with, and the numbers of the steps.

use std::collections::{BTreeMap, BTreeSet};

use dray_spec::Platform;

use crate::args::BuildArgs;
use crate::dockerfile::{Command, Dockerfile, Instruction, KeyValue, Mount, Stage};
use crate::error::BuildError;
use crate::event::{BuildEvent, PlannedStage};
use crate::expand::Expander;
use crate::request::BuildRequest;

/// The plan of a build.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Global arguments and those given.
    pub(crate) args: BuildArgs,
    pub(crate) escape: char,
    /// Texts of the global `ARG`s: the first steps.
    pub(crate) global_steps: Vec<String>,
    /// The stages of the Dockerfile up to the target, by index.
    pub(crate) stages: Vec<StagePlan>,
    pub(crate) target: usize,
    pub(crate) total: usize,
    /// `--build-arg`s that no `ARG` declares.
    pub(crate) unused_args: Vec<String>,
}

/// A stage and where it begins.
#[derive(Debug)]
pub(crate) struct StagePlan {
    pub(crate) index: usize,
    /// Name, or the index.
    pub(crate) name: String,
    pub(crate) stage: Stage,
    pub(crate) base: Base,
    pub(crate) platform: Platform,
    /// Stages that it reads from.
    pub(crate) needs: BTreeSet<usize>,
    /// Whether the target needs it.
    pub(crate) needed: bool,
    /// Whether its layers are part of the target image.
    pub(crate) in_target: bool,
    /// Number of the `FROM` step.
    pub(crate) first_step: usize,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

impl Plan {
    pub(crate) fn new(dockerfile: Dockerfile, request: &BuildRequest) -> Result<Plan, BuildError> {
        let platform = match request.platform.as_deref() {
            None | Some("") => Platform::host(),
            Some(text) => parse_platform(text)?,
        };
        let expander = Expander::new(dockerfile.escape);
        let mut args = BuildArgs::new(request.build_args.clone(), &platform, &request.target);
        let mut declared = BTreeSet::new();
        for instruction in &dockerfile.global_args {
            declare_global(&mut args, instruction, &expander, &mut declared)?;
        }
        let target = match request.target.as_str() {
            "" => dockerfile.stages.len() - 1,
            name => dockerfile.stage_index(name).ok_or_else(|| BuildError::Target(name.to_owned()))?,
        };
        let names: Vec<Option<String>> = dockerfile.stages.iter().map(|s| s.name.clone()).collect();
        let from_env = args.for_from();
        let mut stages = Vec::new();
        for (index, mut stage) in dockerfile.stages.into_iter().take(target + 1).enumerate() {
            if index == target {
                stage.instructions.extend(label_instructions(&request.labels));
            }
            declared.extend(declared_in(&stage));
            let base = base_of(&stage, &names[..index], &expander, &from_env)?;
            let stage_platform = match &stage.platform {
                Some(text) => parse_platform(&expander.word(text, &from_env)?)?,
                None => platform.clone(),
            };
            stages.push(StagePlan {
                index,
                name: stage.name.clone().unwrap_or_else(|| index.to_string()),
                needs: needs(&stage, &base, &names[..index]),
                stage,
                base,
                platform: stage_platform,
                needed: false,
                in_target: false,
                first_step: 0,
            });
        }
        mark_needed(&mut stages, target);
        let global_steps: Vec<String> = dockerfile.global_args.into_iter().map(|arg| arg.text).collect();
        let mut next = global_steps.len() + 1;
        for stage in stages.iter_mut().filter(|stage| stage.needed) {
            stage.first_step = next;
            next += 1 + stage.stage.instructions.len();
        }
        let unused_args = args.unused(&declared);
        Ok(Plan {
            args,
            escape: dockerfile.escape,
            global_steps,
            stages,
            target,
            total: next - 1,
            unused_args,
        })
    }

    /// The plan as an event.
    pub(crate) fn event(&self) -> BuildEvent {
        let planned = |stage: &StagePlan| PlannedStage {
            index: stage.index,
            name: stage.name.clone(),
            steps: (stage.first_step, stage.first_step + 1 + stage.stage.instructions.len()),
        };
        let stages = self.stages.iter().filter(|stage| stage.needed).map(planned).collect();
        BuildEvent::Plan { total: self.total, stages }
    }

    /// The stage that `--from` of a stage means, if it means one.
    pub(crate) fn find_stage(&self, name: &str, before: usize) -> Option<usize> {
        let names: Vec<Option<String>> = self.stages.iter().map(|s| s.stage.name.clone()).collect();
        find_stage(name, &names[..before.min(names.len())])
    }
}

pub(crate) fn parse_platform(text: &str) -> Result<Platform, BuildError> {
    Platform::parse(text).map_err(|source| BuildError::Platform { platform: text.to_owned(), source })
}

fn declare_global(
    args: &mut BuildArgs,
    instruction: &Instruction,
    expander: &Expander,
    declared: &mut BTreeSet<String>,
) -> Result<(), BuildError> {
    let Command::Arg(pairs) = &instruction.command else { return Ok(()) };
    let env = args.for_from();
    for pair in pairs {
        let key = expander.word(&pair.key, &env)?;
        let value = pair.value.as_ref().map(|value| expander.word(value, &env)).transpose()?;
        args.declare_global(&key, value);
        declared.insert(key);
    }
    Ok(())
}

fn declared_in(stage: &Stage) -> impl Iterator<Item = String> {
    stage.instructions.iter().flat_map(|instruction| match &instruction.command {
        Command::Arg(pairs) => pairs.iter().map(|pair| pair.key.clone()).collect(),
        _ => Vec::new(),
    })
}

fn base_of(
    stage: &Stage,
    before: &[Option<String>],
    expander: &Expander,
    env: &BTreeMap<String, String>,
) -> Result<Base, BuildError> {
    let name = expander.word(&stage.base, env)?;
    if name.is_empty() {
        return Err(BuildError::BlankBase(stage.base.clone()));
    }
    // An index does not name a base: `FROM 0` is an image.
    let named = before.iter().position(|n| n.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(&name)));
    Ok(match named {
        Some(index) => Base::Stage(index),
        None if name == "scratch" => Base::Scratch,
        None => Base::Image(name),
    })
}

fn find_stage(name: &str, before: &[Option<String>]) -> Option<usize> {
    let named = before.iter().position(|n| n.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name)));
    named.or_else(|| name.parse().ok().filter(|index| *index < before.len()))
}

fn needs(stage: &Stage, base: &Base, before: &[Option<String>]) -> BTreeSet<usize> {
    let mut needs = BTreeSet::new();
    if let Base::Stage(index) = base {
        needs.insert(*index);
    }
    for instruction in &stage.instructions {
        match &instruction.command {
            Command::Copy(copy) => {
                needs.extend(copy.from.as_ref().and_then(|from| find_stage(from, before)));
            }
            Command::Run(run) => {
                let from = |text: &String| Mount::parse(text, &|value| Ok(value.to_owned())).ok()?.from;
                let stages = run.mounts.iter().filter_map(from);
                needs.extend(stages.filter_map(|from| find_stage(&from, before)));
            }
            _ => {}
        }
    }
    needs
}

/// `--label` as instructions of the target stage, taken as they are.
fn label_instructions(labels: &BTreeMap<String, String>) -> Vec<Instruction> {
    let instruction = |(key, value): (&String, &String)| Instruction {
        // Expansion takes quotes off and leaves what is in single ones.
        command: Command::Label(vec![KeyValue { key: literal(key), value: literal(value), delimited: true }]),
        text: format!("LABEL {key}={value}"),
        line: 0,
        last_line: 0,
    };
    labels.iter().map(instruction).collect()
}

/// Quotes a text so that expansion gives it back.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

fn mark_needed(stages: &mut [StagePlan], target: usize) {
    let mut pending = vec![target];
    while let Some(index) = pending.pop() {
        if !std::mem::replace(&mut stages[index].needed, true) {
            pending.extend(stages[index].needs.iter().copied());
        }
    }
    let mut at = Some(target);
    while let Some(index) = at {
        stages[index].in_target = true;
        at = match stages[index].base {
            Base::Stage(index) => Some(index),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    fn plan(text: &str, request: &BuildRequest) -> Result<Plan, BuildError> {
        Plan::new(parse(text, "Dockerfile").expect("parses"), request)
    }

    fn needed(plan: &Plan) -> Vec<&str> {
        plan.stages.iter().filter(|s| s.needed).map(|s| s.name.as_str()).collect()
    }

    const STAGES: &str = "ARG V=1\nARG W=$V.2\nFROM base:$V AS one\nRUN a\nFROM scratch AS two\nCOPY --from=one /x /\n\
                          FROM other:${W} AS unused\nFROM two\nRUN --mount=from=one,target=/m b\nCOPY --from=0 /y /\n";

    #[test]
    fn only_what_the_target_needs_is_built() {
        let plan = plan(STAGES, &BuildRequest::default()).expect("planned");
        assert_eq!(needed(&plan), ["one", "two", "3"]);
        assert_eq!(plan.stages[0].base, Base::Image("base:1".to_owned()));
        assert_eq!(plan.stages[1].base, Base::Scratch);
        assert_eq!(plan.stages[2].base, Base::Image("other:1.2".to_owned()));
        assert_eq!(plan.stages[3].base, Base::Stage(1));
        assert_eq!(plan.total, 2 + 2 + 2 + 3);
        let firsts: Vec<usize> = plan.stages.iter().map(|s| s.first_step).collect();
        assert_eq!(firsts, [3, 5, 0, 7]);
        let in_target: Vec<bool> = plan.stages.iter().map(|s| s.in_target).collect();
        assert_eq!(in_target, [false, true, false, true]);
    }

    #[test]
    fn the_target_is_a_name_or_an_index() {
        for target in ["one", "ONE", "0"] {
            let request = BuildRequest { target: target.to_owned(), ..BuildRequest::default() };
            assert_eq!(needed(&plan(STAGES, &request).expect("planned")), ["one"]);
        }
        let request = BuildRequest { target: "three".to_owned(), ..BuildRequest::default() };
        let message = plan(STAGES, &request).expect_err("no stage").to_string();
        assert_eq!(message, "target stage \"three\" could not be found");
    }

    #[test]
    fn arguments_that_nobody_declares_are_told() {
        let given = |key: &str| (key.to_owned(), Some("9".to_owned()));
        let request = BuildRequest {
            build_args: BTreeMap::from([given("V"), given("NOPE"), given("no_proxy")]),
            ..BuildRequest::default()
        };
        let plan = plan(STAGES, &request).expect("planned");
        assert_eq!(plan.unused_args, ["NOPE"]);
        assert_eq!(plan.stages[0].base, Base::Image("base:9".to_owned()));
    }

    #[test]
    fn labels_of_the_request_are_last_and_not_expanded() {
        let request = BuildRequest {
            labels: BTreeMap::from([("k".to_owned(), "$V 'q'".to_owned())]),
            ..BuildRequest::default()
        };
        let plan = plan("FROM x\nENV V=1", &request).expect("planned");
        let last = plan.stages[0].stage.instructions.last().expect("label");
        assert_eq!(last.text, "LABEL k=$V 'q'");
        let Command::Label(pairs) = &last.command else { panic!("a label") };
        let env = BTreeMap::from([("V".to_owned(), "1".to_owned())]);
        assert_eq!(Expander::new('\\').word(&pairs[0].value, &env).expect("valid"), "$V 'q'");
    }

    #[test]
    fn a_blank_base_is_an_error() {
        let message = plan("ARG X\nFROM $X", &BuildRequest::default()).expect_err("blank").to_string();
        assert_eq!(message, "base name ($X) should not be blank");
    }
}
