//! What to build: the stages that the target needs, what each begins with, and the numbers of the steps.

use std::collections::{BTreeMap, BTreeSet};

use dray_spec::Platform;

use crate::args::BuildArgs;
use crate::dockerfile::{Command, Dockerfile, Instruction, KeyValue, Mount, Stage, closest};
use crate::error::BuildError;
use crate::event::{BuildEvent, PlannedStage};
use crate::expand::{Expander, NoEnv};
use crate::named::Contexts;
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
    /// A named context that is no image, by its name.
    Context(String),
}

/// The arguments before the first `FROM`.
#[derive(Debug)]
pub(crate) struct GlobalArgs {
    args: BuildArgs,
    declared: BTreeSet<String>,
}

impl GlobalArgs {
    /// Reads them, with what the build was given.
    pub(crate) fn new(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<GlobalArgs, BuildError> {
        let last = dockerfile.stages.last().and_then(|stage| stage.name.as_deref()).unwrap_or_default();
        let target = if request.target.is_empty() { last } else { &request.target };
        let args = BuildArgs::new(request.build_args.clone(), &target_platform(request)?, target);
        Self::declare(dockerfile, args)
    }

    fn declare(dockerfile: &Dockerfile, args: BuildArgs) -> Result<GlobalArgs, BuildError> {
        let expander = Expander::new(dockerfile.escape);
        let mut global = GlobalArgs { args, declared: BTreeSet::new() };
        for instruction in &dockerfile.global_args {
            let at = |error: BuildError| error.at((instruction.line, instruction.last_line));
            declare_global(&mut global.args, instruction, &expander, &mut global.declared).map_err(at)?;
        }
        Ok(global)
    }

    /// What `FROM` would see if the build was given nothing; `None` if a default cannot be expanded.
    pub(crate) fn defaults(&self, dockerfile: &Dockerfile) -> Option<BTreeMap<String, String>> {
        Self::declare(dockerfile, self.args.defaults()).ok().map(|global| global.values())
    }

    /// What `FROM` sees.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        self.args.for_from()
    }

    /// The names that are declared, with or without value.
    pub(crate) fn declared(&self) -> impl Iterator<Item = &String> {
        self.declared.iter()
    }
}

fn target_platform(request: &BuildRequest) -> Result<Platform, BuildError> {
    match request.platform.as_deref() {
        None | Some("") => Ok(Platform::host()),
        Some(text) => parse_platform(text),
    }
}

impl Plan {
    pub(crate) fn new(dockerfile: &Dockerfile, request: &BuildRequest) -> Result<Plan, BuildError> {
        let platform = target_platform(request)?;
        let expander = Expander::new(dockerfile.escape);
        let GlobalArgs { args, mut declared } = GlobalArgs::new(dockerfile, request)?;
        let target = target(dockerfile, &request.target)?;
        let names: Vec<Option<String>> = dockerfile.stages.iter().map(|s| s.name.clone()).collect();
        let references = References::find(dockerfile, &names, &request.contexts)?;
        references.check_cycles(dockerfile)?;
        let from_env = args.for_from();
        let mut stages = Vec::new();
        for (index, stage) in dockerfile.stages.iter().take(target + 1).enumerate() {
            let at = |error: BuildError| error.at((stage.line, stage.last_line));
            let mut stage = stage.clone();
            let stage_platform = stage_platform(&stage, &expander, &from_env).map_err(at)?;
            let platform = stage_platform.unwrap_or_else(|| platform.clone());
            let base = match replaced(&stage, &request.contexts, &platform) {
                Some(base) => {
                    // The context is what the stage would come to.
                    stage.instructions.clear();
                    base
                }
                None => base_of(&stage, &names[..index], &expander, &from_env, &request.contexts, &platform)
                    .map_err(at)?,
            };
            if index == target {
                stage.instructions.extend(label_instructions(&request.labels));
            }
            declared.extend(declared_in(&stage));
            let mut needs = references.of(index);
            if let Base::Stage(index) = base {
                needs.insert(index);
            }
            stages.push(StagePlan {
                index,
                name: stage.name.clone().unwrap_or_else(|| index.to_string()),
                needs,
                stage,
                base,
                platform,
                needed: false,
                in_target: false,
                first_step: 0,
            });
        }
        mark_needed(&mut stages, target);
        references.check_order(dockerfile, &stages)?;
        let global_steps: Vec<String> = dockerfile.global_args.iter().map(|arg| arg.text.clone()).collect();
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
        BuildEvent::Plan { total: self.total, stages: self.planned().collect() }
    }

    /// The stages that are needed.
    pub(crate) fn planned(&self) -> impl Iterator<Item = PlannedStage> {
        self.stages.iter().filter(|stage| stage.needed).map(|stage| PlannedStage {
            index: stage.index,
            name: stage.name.clone(),
            steps: (stage.first_step, stage.first_step + 1 + stage.stage.instructions.len()),
            platforms: Vec::new(),
        })
    }

    /// Moves the numbers of the stages' steps up, beside those of other platforms.
    pub(crate) fn renumber(&mut self, by: usize, total: usize) {
        for stage in self.stages.iter_mut().filter(|stage| stage.needed) {
            stage.first_step += by;
        }
        self.total = total;
    }

    /// The platform of each step of a stage, and behind an arrow the one that is built for, from where the stage
    /// declares it.
    pub(crate) fn shown_platforms(&self, index: usize, target: &Platform) -> Vec<String> {
        let Some(stage) = self.stages.get(index) else { return Vec::new() };
        let own = stage.platform.to_string();
        let mut knows = matches!(stage.base, Base::Stage(base) if self.knows_target(base));
        let mut shown = vec![own.clone()];
        for instruction in &stage.stage.instructions {
            knows |= declares_target(instruction);
            shown.push(if knows { crossing(&stage.platform, target) } else { own.clone() });
        }
        shown
    }

    /// Whether a stage knows at its end which platform is built for. A base comes before what begins with it.
    fn knows_target(&self, index: usize) -> bool {
        let Some(stage) = self.stages.get(index) else { return false };
        stage.stage.instructions.iter().any(declares_target)
            || matches!(stage.base, Base::Stage(base) if self.knows_target(base))
    }

    /// The stage that `--from` of a stage means, if it means one.
    pub(crate) fn find_stage(&self, name: &str, before: usize) -> Option<usize> {
        let earlier = &self.stages[..before.min(self.stages.len())];
        let is = |stage: &StagePlan| stage.stage.name.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name));
        let named = earlier.iter().rposition(is);
        named.or_else(|| name.parse().ok().filter(|index| *index < earlier.len()))
    }
}

fn declares_target(instruction: &Instruction) -> bool {
    let Command::Arg(pairs) = &instruction.command else { return false };
    pairs.iter().any(|pair| matches!(pair.key.as_str(), "TARGETPLATFORM" | "TARGETARCH"))
}

/// A platform whose steps work for another one.
fn crossing(own: &Platform, target: &Platform) -> String {
    if own.os != target.os {
        return format!("{own}->{target}");
    }
    if own.architecture == target.architecture {
        return own.to_string();
    }
    let variant = target.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    format!("{own}->{}{variant}", target.architecture)
}

fn target(dockerfile: &Dockerfile, name: &str) -> Result<usize, BuildError> {
    if name.is_empty() {
        return Ok(dockerfile.stages.len() - 1);
    }
    dockerfile.stage_index(name).ok_or_else(|| {
        let names: Vec<String> = (0..dockerfile.stages.len()).map(|i| shown(dockerfile, i)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        BuildError::Target { target: name.to_owned(), suggestion: closest(name, &names, false) }
    })
}

/// A stage's name as messages have it.
fn shown(dockerfile: &Dockerfile, index: usize) -> String {
    let name = dockerfile.stages.get(index).and_then(|stage| stage.name.clone());
    name.unwrap_or_else(|| format!("stage-{index}"))
}

/// Which instruction reads from which stage, earlier or not.
#[derive(Debug)]
struct References {
    found: Vec<Reference>,
}

#[derive(Debug)]
struct Reference {
    stage: usize,
    /// Index of the instruction in its stage.
    instruction: usize,
    /// What it reads from.
    from: usize,
    /// As written.
    name: String,
    /// Where a mount shall be seen; `None` for `COPY`.
    target: Option<String>,
}

impl References {
    fn find(
        dockerfile: &Dockerfile,
        names: &[Option<String>],
        contexts: &Contexts,
    ) -> Result<References, BuildError> {
        let mut found = Vec::new();
        for (stage, of) in dockerfile.stages.iter().enumerate() {
            // What has a context in its place is not looked at.
            if of.name.as_ref().is_some_and(|name| contexts.has(name)) {
                continue;
            }
            for (instruction, written) in of.instructions.iter().enumerate() {
                let at = |error: BuildError| error.at((written.line, written.last_line));
                let mut add = |from: Option<usize>, name: &str, target: Option<String>| {
                    let name = name.to_owned();
                    found.extend(from.map(|from| Reference { stage, instruction, from, name, target }));
                };
                match &written.command {
                    Command::Copy(copy) => {
                        let Some(name) = &copy.from else { continue };
                        add(copied_stage(name, names, stage, dockerfile.escape).map_err(at)?, name, None);
                    }
                    Command::Run(run) => {
                        let mounts = run.mounts.iter();
                        for mount in mounts.filter_map(|text| Mount::parse(text, &|v| Ok(v.to_owned())).ok())
                        {
                            let Some(name) = &mount.from else { continue };
                            add(stage_named(name, names, stage), name, Some(mount.target));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(References { found })
    }

    /// The earlier stages that a stage reads from.
    fn of(&self, stage: usize) -> BTreeSet<usize> {
        let earlier = self.found.iter().filter(|r| r.stage == stage && r.from < stage);
        earlier.map(|reference| reference.from).collect()
    }

    /// Stages that read from each other, or from themselves.
    fn check_cycles(&self, dockerfile: &Dockerfile) -> Result<(), BuildError> {
        let mut reads: Vec<Vec<usize>> = vec![Vec::new(); dockerfile.stages.len()];
        for reference in &self.found {
            reads[reference.stage].push(reference.from);
        }
        // There is no circle without one that reads from a later stage or itself.
        for reference in self.found.iter().filter(|reference| reference.from >= reference.stage) {
            let mut reached = BTreeSet::from([reference.from]);
            let mut pending = vec![reference.from];
            while let Some(stage) = pending.pop() {
                pending.extend(reads[stage].iter().copied().filter(|from| reached.insert(*from)));
            }
            if reached.contains(&reference.stage) {
                let error = BuildError::Circular(shown(dockerfile, reference.stage));
                return Err(error.at(reference.lines(dockerfile)));
            }
        }
        Ok(())
    }

    /// Stages that are needed and read from a later one.
    fn check_order(&self, dockerfile: &Dockerfile, stages: &[StagePlan]) -> Result<(), BuildError> {
        let needed = |index: usize| stages.get(index).is_some_and(|stage| stage.needed);
        let wrong = self.found.iter().find(|r| r.from >= r.stage && needed(r.stage));
        let Some(reference) = wrong else { return Ok(()) };
        let from = reference.name.clone();
        let error = match reference.target.clone() {
            Some(target) => BuildError::MountFromLater { from, target },
            None => BuildError::CopyFromLater { from, stage: shown(dockerfile, reference.stage) },
        };
        Err(error.at(reference.lines(dockerfile)))
    }
}

impl Reference {
    fn lines(&self, dockerfile: &Dockerfile) -> (usize, usize) {
        let stage = dockerfile.stages.get(self.stage);
        let written = stage.and_then(|stage| stage.instructions.get(self.instruction));
        written.map_or((0, 0), |written| (written.line, written.last_line))
    }
}

/// The stage that `COPY --from` of a stage means: an earlier one, or else a later one or itself.
fn copied_stage(
    name: &str,
    names: &[Option<String>],
    stage: usize,
    escape: char,
) -> Result<Option<usize>, BuildError> {
    if Expander::new(escape).word(name, &NoEnv)? != name {
        return Err(BuildError::FromVariable);
    }
    match name.parse::<i64>() {
        Ok(index) => match usize::try_from(index) {
            Ok(known) if known < names.len() => Ok(Some(known)),
            _ => Err(BuildError::StageIndex(index)),
        },
        Err(_) => Ok(stage_named(name, names, stage)),
    }
}

fn stage_named(name: &str, names: &[Option<String>], stage: usize) -> Option<usize> {
    let is = |n: &Option<String>| n.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(name));
    let earlier = names[..stage].iter().rposition(is);
    earlier.or_else(|| names[stage..].iter().position(is).map(|at| at + stage))
}

/// What stands in a stage's place: the context of its name.
fn replaced(stage: &Stage, contexts: &Contexts, platform: &Platform) -> Option<Base> {
    contexts.base(stage.name.as_deref()?, platform)
}

fn stage_platform(
    stage: &Stage,
    expander: &Expander,
    env: &BTreeMap<String, String>,
) -> Result<Option<Platform>, BuildError> {
    let Some(text) = &stage.platform else { return Ok(None) };
    match expander.word(text, env)?.as_str() {
        "" => Err(BuildError::BlankPlatform(text.clone())),
        platform => parse_platform(platform).map(Some),
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
    contexts: &Contexts,
    platform: &Platform,
) -> Result<Base, BuildError> {
    let name = expander.word(&stage.base, env)?;
    if name.is_empty() {
        return Err(BuildError::BlankBase(stage.base.clone()));
    }
    // An index does not name a base: `FROM 0` is an image.
    let named = before.iter().rposition(|n| n.as_ref().is_some_and(|n| n.eq_ignore_ascii_case(&name)));
    Ok(match named {
        Some(index) => Base::Stage(index),
        None if name == "scratch" => Base::Scratch,
        None => contexts.base(&name, platform).unwrap_or(Base::Image(name)),
    })
}

/// `--label` as instructions of the target stage, taken as they are.
fn label_instructions(labels: &BTreeMap<String, String>) -> Vec<Instruction> {
    let instruction = |(key, value): (&String, &String)| Instruction {
        // Expansion takes quotes off and leaves what is in single ones.
        command: Command::Label(vec![KeyValue { key: literal(key), value: literal(value), delimited: true }]),
        text: format!("LABEL {key}={value}"),
        keyword: "LABEL".to_owned(),
        comments: Vec::new(),
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
        Plan::new(&parse(text, "Dockerfile").expect("parses"), request)
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
        let request = BuildRequest { target: "tow".to_owned(), ..BuildRequest::default() };
        let message = plan(STAGES, &request).expect_err("no stage").to_string();
        assert_eq!(message, "target stage \"tow\" could not be found (did you mean two?)");
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
    fn stages_that_need_each_other_are_told_with_their_lines() {
        let failed = |text: &str| plan(text, &BuildRequest::default()).expect_err(text);
        let error =
            failed("FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nRUN --mount=from=a,target=/m true\n");
        assert_eq!(error.to_string(), "circular dependency detected on stage: a");
        assert_eq!(error.lines(), Some((2, 2)));
        let error = failed("FROM x AS a\nCOPY --from=a \\\n / /\n");
        assert_eq!(error.to_string(), "circular dependency detected on stage: a");
        assert_eq!(error.lines(), Some((2, 3)));
        let later = "FROM x AS a\nCOPY --from=b / /\nFROM x AS b\nFROM a";
        let error = failed(later).to_string();
        assert_eq!(error, "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"");
        assert!(
            plan(&later.replace("FROM a", "FROM b"), &BuildRequest::default()).is_ok(),
            "it is not needed"
        );
        let error = failed("FROM x AS a\nRUN --mount=from=b,target=/m true\nFROM x AS b\nFROM a").to_string();
        assert_eq!(
            error,
            "cannot mount from stage \"b\" to \"/m\", stage needs to be defined before current command"
        );
        assert_eq!(failed("FROM x\nCOPY --from=3 / /").to_string(), "invalid stage index 3");
        assert!(failed("FROM x\nCOPY --from=$a / /").to_string().starts_with("variable expansion is not"));
    }

    #[test]
    fn the_last_stage_of_a_name_counts() {
        let plan = plan("FROM x AS a\nFROM y AS a\nFROM a", &BuildRequest::default()).expect("planned");
        assert_eq!(needed(&plan), ["a", "2"]);
        assert_eq!(plan.stages[2].base, Base::Stage(1));
    }

    #[test]
    fn a_blank_base_is_an_error() {
        let message = plan("ARG X\nFROM $X", &BuildRequest::default()).expect_err("blank").to_string();
        assert_eq!(message, "base name ($X) should not be blank");
    }
}
