//! Why steps were carried out: what came in, held against the last builds of the same thing.
//!
//! Pure: traces come in, newest first, and what lists of files hold is asked for.

use std::collections::{BTreeMap, HashMap};

use dray_build::{InputFile, InputKind, StepInput};
use serde::{Deserialize, Serialize};

use super::files::{self, FileChange};
use super::record::{Run, StepEnd, Trace, TracedStep};

/// So many files of a step are named.
const NAMED_FILES: usize = 100;
/// Stages of more steps than this, multiplied with those of the other build, are compared place by place.
const MOST_PAIRS: usize = 4_000_000;

/// Why steps were carried out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The build that this one was held against; none for the first of its kind.
    pub against: Option<String>,
    /// Its steps that the cache did not have, in their order.
    pub steps: Vec<Explained>,
}

/// A step that the cache did not have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explained {
    /// The platform, where there are several.
    pub platform: String,
    /// Its number.
    pub n: usize,
    /// The name of its stage, or its index.
    pub stage: String,
    /// The instruction.
    pub text: String,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// Why a step was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// `--no-cache`.
    NoCache,
    /// `--no-cache-filter` names its stage.
    NoCacheOfStage,
    /// There was no build of this before.
    First,
    /// No build before had the instruction.
    New,
    /// Builds before did not come to its end.
    NotDone,
    /// A value that is not what it was.
    Value {
        /// What it is.
        input: InputKind,
        /// Its name, where there are several of the kind.
        name: String,
        /// What it was; none if it was not there.
        old: Option<String>,
        /// What it is; none if it is no longer there.
        new: Option<String>,
    },
    /// Files that are not what they were.
    Files {
        /// Some of them.
        changes: Vec<FileChange>,
        /// How many more there are.
        more: usize,
    },
    /// It works on what an earlier step gives.
    Earlier {
        /// Number of that step; 0 if it is not known.
        n: usize,
        /// The instruction.
        text: String,
    },
    /// Nothing differs: its result was there and is no longer in the cache.
    Gone,
    /// Something that is not recorded.
    Other,
}

/// Explains the steps of a build. `earlier` are builds of the same thing, the newest first.
pub(super) fn explain(
    trace: &Trace,
    earlier: &[(String, Trace)],
    list: impl Fn(&str) -> Option<Vec<InputFile>>,
) -> Explanation {
    let mut explanation =
        Explanation { against: earlier.first().map(|(id, _)| id.clone()), steps: Vec::new() };
    for run in &trace.runs {
        let earlier: Vec<&Run> = earlier.iter().filter_map(|(_, trace)| run_like(trace, run)).collect();
        explanation.steps.extend(of_run(run, &earlier, trace, &list));
    }
    explanation
}

fn run_like<'a>(trace: &'a Trace, run: &Run) -> Option<&'a Run> {
    let same = trace.runs.iter().find(|other| other.platform == run.platform);
    same.or_else(|| trace.runs.first().filter(|_| trace.runs.len() == 1))
}

fn of_run(
    run: &Run,
    earlier: &[&Run],
    trace: &Trace,
    list: &impl Fn(&str) -> Option<Vec<InputFile>>,
) -> Vec<Explained> {
    let pairs: Vec<HashMap<usize, &TracedStep>> = earlier.iter().map(|other| pairs(run, other)).collect();
    // The last step of a stage whose files are not what they were.
    let mut changed: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut explained = Vec::new();
    for step in &run.steps {
        let word = keyword(&step.text);
        if word == "FROM"
            && let Some(found) = base(&step.text).and_then(|base| changed.get(base)).copied()
        {
            changed.insert(&step.stage, found);
        }
        let carried_out = matches!(step.end, StepEnd::Done | StepEnd::Failed);
        if !carried_out || (step.inputs.key.is_empty() && word != "FROM") {
            continue;
        }
        let before = compared(step, &pairs);
        let mut reasons = match before {
            Compared::With(old) => differences(step, old, list),
            _ if word == "FROM" => Vec::new(),
            Compared::Open => vec![Reason::NotDone],
            Compared::New => vec![Reason::New],
            Compared::Nothing => vec![Reason::First],
        };
        let makes_files = matches!(word.as_str(), "RUN" | "COPY" | "ADD" | "WORKDIR");
        if let Compared::With(old) = before {
            if makes_files && old.inputs.before != step.inputs.before {
                let (n, text) = changed.get(step.stage.as_str()).copied().unwrap_or_default();
                reasons.push(Reason::Earlier { n, text: text.to_owned() });
            }
            if makes_files && reasons.is_empty() {
                // Keys do not tell what a stage that was carried out anew has given.
                let upon = changed.get(step.stage.as_str()).filter(|_| !trace.no_cache_stages.is_empty());
                reasons.push(match upon {
                    Some((n, text)) => Reason::Earlier { n: *n, text: (*text).to_owned() },
                    None if old.inputs.key == step.inputs.key => Reason::Gone,
                    None => Reason::Other,
                });
            }
        }
        let filtered = trace.no_cache_stages.iter().any(|name| name.eq_ignore_ascii_case(&step.stage));
        if (trace.no_cache || filtered) && makes_files {
            reasons.retain(|reason| matches!(reason, Reason::Value { .. } | Reason::Files { .. }));
            reasons.insert(0, if trace.no_cache { Reason::NoCache } else { Reason::NoCacheOfStage });
        }
        if reasons.is_empty() {
            continue;
        }
        let own = |reason: &Reason| !matches!(reason, Reason::Earlier { .. });
        if (makes_files || word == "FROM") && reasons.iter().any(own) {
            changed.insert(&step.stage, (step.n, &step.text));
        }
        explained.push(Explained {
            platform: run.platform.clone(),
            n: step.n,
            stage: step.stage.clone(),
            text: step.text.clone(),
            reasons,
        });
    }
    explained
}

/// What a step can be held against.
#[derive(Clone, Copy)]
enum Compared<'a> {
    With(&'a TracedStep),
    /// Steps that did not come to their end.
    Open,
    /// There are builds, but none has the step.
    New,
    /// There are no builds.
    Nothing,
}

fn compared<'a>(step: &TracedStep, pairs: &[HashMap<usize, &'a TracedStep>]) -> Compared<'a> {
    let mut found = pairs.iter().filter_map(|pairs| pairs.get(&step.n)).peekable();
    match (pairs.is_empty(), found.peek().is_some()) {
        (true, _) => return Compared::Nothing,
        (_, false) => return Compared::New,
        _ => {}
    }
    let done = found.find(|old| matches!(old.end, StepEnd::Done | StepEnd::Cached));
    done.map_or(Compared::Open, |old| Compared::With(old))
}

/// What came in that was not the same.
fn differences(
    step: &TracedStep,
    old: &TracedStep,
    list: &impl Fn(&str) -> Option<Vec<InputFile>>,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if step.text != old.text {
        reasons.push(value(InputKind::Instruction, "", Some(&old.text), Some(&step.text)));
    }
    let (before, now) = (by_name(&old.inputs.values), by_name(&step.inputs.values));
    let mut names: Vec<_> = before.keys().chain(now.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for (kind, name) in names {
        let (old_value, new_value) = (before.get(&(kind, name)), now.get(&(kind, name)));
        let said = kind == InputKind::Instruction && !reasons.is_empty();
        if old_value != new_value && !said {
            reasons.push(value(kind, name, old_value.copied(), new_value.copied()));
        }
    }
    if step.list != old.list && !step.list.is_empty() && !old.list.is_empty() {
        let changes = match (list(&old.list), list(&step.list)) {
            (Some(before), Some(now)) => files::changes(&before, &now),
            _ => Vec::new(),
        };
        let more = changes.len().saturating_sub(NAMED_FILES);
        // What a stage gives is said better by its files.
        reasons.retain(|reason| !matches!(reason, Reason::Value { input: InputKind::From, .. }));
        reasons.push(Reason::Files { changes: changes.into_iter().take(NAMED_FILES).collect(), more });
    }
    reasons
}

fn value(input: InputKind, name: &str, old: Option<&str>, new: Option<&str>) -> Reason {
    let text = |value: Option<&str>| value.map(str::to_owned);
    Reason::Value { input, name: name.to_owned(), old: text(old), new: text(new) }
}

fn by_name(values: &[StepInput]) -> BTreeMap<(InputKind, &str), &str> {
    values.iter().map(|input| ((input.kind, input.name.as_str()), input.value.as_str())).collect()
}

/// Which steps of two builds are the same, by the numbers of the first.
fn pairs<'a>(run: &Run, other: &'a Run) -> HashMap<usize, &'a TracedStep> {
    let mut pairs = HashMap::new();
    let mut stages: Vec<&str> = run.steps.iter().map(|step| step.stage.as_str()).collect();
    stages.dedup();
    stages.sort_unstable();
    stages.dedup();
    for stage in stages {
        let new: Vec<&TracedStep> = run.steps.iter().filter(|step| step.stage == stage).collect();
        let old: Vec<&TracedStep> = other.steps.iter().filter(|step| step.stage == stage).collect();
        for (new, old) in aligned(&new, &old) {
            pairs.insert(new, old);
        }
    }
    pairs
}

fn aligned<'a>(new: &[&TracedStep], old: &[&'a TracedStep]) -> Vec<(usize, &'a TracedStep)> {
    let same = common(new, old);
    let mut pairs = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (to_i, to_j) in same.into_iter().chain([(new.len(), old.len())]) {
        // Between two instructions that stayed, those with the same keyword are the same, changed.
        let mut rest = old[j..to_j].iter();
        for step in &new[i..to_i] {
            let mut ahead = rest.clone();
            if let Some(found) = ahead.find(|old| keyword(&old.text) == keyword(&step.text)) {
                pairs.push((step.n, *found));
                rest = ahead;
            }
        }
        if let (Some(step), Some(found)) = (new.get(to_i), old.get(to_j)) {
            pairs.push((step.n, *found));
        }
        (i, j) = (to_i + 1, to_j + 1);
    }
    pairs
}

/// The places of the longest sequence of instructions that both have.
fn common(new: &[&TracedStep], old: &[&TracedStep]) -> Vec<(usize, usize)> {
    let equal = |i: usize, j: usize| new[i].text == old[j].text;
    let begin = (0..new.len().min(old.len())).take_while(|i| equal(*i, *i)).count();
    let mut places: Vec<(usize, usize)> = (0..begin).map(|i| (i, i)).collect();
    let (n, m) = (new.len() - begin, old.len() - begin);
    if n * m > MOST_PAIRS {
        places.extend((begin..new.len().min(old.len())).filter(|i| equal(*i, *i)).map(|i| (i, i)));
        return places;
    }
    let mut longest = vec![0_u32; (n + 1) * (m + 1)];
    let at = |i: usize, j: usize| i * (m + 1) + j;
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            longest[at(i, j)] = match equal(begin + i, begin + j) {
                true => longest[at(i + 1, j + 1)] + 1,
                false => longest[at(i + 1, j)].max(longest[at(i, j + 1)]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < n && j < m {
        if equal(begin + i, begin + j) {
            places.push((begin + i, begin + j));
            (i, j) = (i + 1, j + 1);
        } else if longest[at(i + 1, j)] >= longest[at(i, j + 1)] {
            i += 1;
        } else {
            j += 1;
        }
    }
    places
}

/// How many of the instructions two builds have in common, in hundredths.
pub(super) fn likeness(one: &Trace, other: &Trace) -> usize {
    let texts = |trace: &Trace| -> Vec<String> {
        let runs = trace.runs.first().into_iter();
        runs.flat_map(|run| &run.steps).map(|step| step.text.clone()).collect()
    };
    let (one, other) = (texts(one), texts(other));
    let most = one.len().max(other.len());
    if most == 0 {
        return 0;
    }
    let known: std::collections::HashSet<&String> = other.iter().collect();
    one.iter().filter(|text| known.contains(text)).count() * 100 / most
}

fn keyword(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_uppercase()
}

/// What a `FROM` begins with.
fn base(text: &str) -> Option<&str> {
    text.split_whitespace().skip(1).find(|word| !word.starts_with("--"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::history::files::Change;

    fn step(n: usize, text: &str, end: StepEnd) -> TracedStep {
        let mut step = TracedStep { n, stage: "0".into(), text: text.into(), end, ..TracedStep::default() };
        step.inputs.key = format!("key of {text}");
        step.inputs.before = "base".into();
        step
    }

    fn with(mut step: TracedStep, kind: InputKind, name: &str, value: &str) -> TracedStep {
        step.inputs.values.push(StepInput { kind, name: name.into(), value: value.into() });
        step.inputs.key.push_str(value);
        step
    }

    fn trace(steps: Vec<TracedStep>) -> Trace {
        Trace { runs: vec![Run { steps, ..Run::default() }], ..Trace::default() }
    }

    fn reasons(now: &Trace, before: &[Trace]) -> Vec<(usize, Vec<Reason>)> {
        let before: Vec<_> = before.iter().map(|trace| ("b".to_owned(), trace.clone())).collect();
        let lists = |name: &str| -> Option<Vec<InputFile>> {
            let content = name.parse().ok()?;
            Some(vec![InputFile { path: b"f".to_vec(), mode: 0o100_644, owner: (0, 0), content }])
        };
        let explained = explain(now, &before, lists).steps;
        explained.into_iter().map(|step| (step.n, step.reasons)).collect()
    }

    fn from(image: &str) -> TracedStep {
        let mut from = with(step(1, "FROM x", StepEnd::Done), InputKind::Image, "x", image);
        from.inputs.key.clear();
        from
    }

    #[test]
    fn what_came_in_is_held_against_the_last_build() {
        use StepEnd::Done;
        let run = |version: &str| with(step(2, "RUN make", Done), InputKind::Argument, "V", version);
        let copy = |list: &str| {
            let mut copy = step(3, "COPY . .", Done);
            copy.list = list.into();
            copy.inputs.key = list.into();
            copy
        };
        let build =
            |image: &str, version: &str, list: &str| trace(vec![from(image), run(version), copy(list)]);
        let before = build("i1", "1", "7");
        assert_eq!(reasons(&before, &[]), [(2, vec![Reason::First]), (3, vec![Reason::First])]);
        let same = reasons(&before, std::slice::from_ref(&before));
        assert_eq!(same, [(2, vec![Reason::Gone]), (3, vec![Reason::Gone])]);
        let mut now = build("i2", "2", "8");
        now.runs[0].steps[2].inputs.before = "other".into();
        let image = value(InputKind::Image, "x", Some("i1"), Some("i2"));
        let argument = value(InputKind::Argument, "V", Some("1"), Some("2"));
        let changes = vec![FileChange { path: "f".into(), change: Change::Content }];
        let earlier = Reason::Earlier { n: 2, text: "RUN make".into() };
        let files = Reason::Files { changes, more: 0 };
        let expected = [(1, vec![image]), (2, vec![argument]), (3, vec![files, earlier])];
        assert_eq!(reasons(&now, &[before]), expected);
    }

    #[test]
    fn instructions_are_found_again_where_they_moved_to() {
        use StepEnd::Done;
        let old =
            trace(vec![from("i"), step(2, "RUN a", Done), step(3, "RUN c", Done), step(4, "RUN d", Done)]);
        let now = trace(vec![
            from("i"),
            step(2, "RUN b", Done),
            step(3, "WORKDIR /w", Done),
            step(4, "RUN c", Done),
            step(5, "RUN d", Done),
        ]);
        let changed = value(InputKind::Instruction, "", Some("RUN a"), Some("RUN b"));
        let expected =
            [(2, vec![changed]), (3, vec![Reason::New]), (4, vec![Reason::Gone]), (5, vec![Reason::Gone])];
        assert_eq!(reasons(&now, &[old]), expected);
    }

    #[test]
    fn a_step_that_failed_last_time_is_held_against_the_time_before() {
        use StepEnd::{Done, Failed};
        let now = trace(vec![step(1, "RUN a", Done), step(2, "RUN b", Done)]);
        let failed = trace(vec![step(1, "RUN a", Done), step(2, "RUN b", Failed)]);
        let told = reasons(&now, std::slice::from_ref(&failed));
        assert_eq!(told, [(1, vec![Reason::Gone]), (2, vec![Reason::NotDone])]);
        let before =
            trace(vec![step(1, "RUN a", Done), with(step(2, "RUN b", Done), InputKind::User, "", "u")]);
        let user = value(InputKind::User, "", Some("u"), None);
        assert_eq!(reasons(&now, &[failed, before])[1], (2, vec![user]));
    }

    #[test]
    fn steps_without_cache_and_instructions_without_files_say_what_they_can() {
        use StepEnd::{Cached, Done};
        let mut now =
            trace(vec![step(1, "RUN a", Done), step(2, "RUN b", Cached), step(3, "LABEL a=b", Done)]);
        let before = now.clone();
        assert_eq!(reasons(&now, std::slice::from_ref(&before)), [(1, vec![Reason::Gone])]);
        now.no_cache = true;
        assert_eq!(reasons(&now, &[before]), [(1, vec![Reason::NoCache])]);
    }

    #[test]
    fn a_stage_without_cache_is_why_what_is_upon_it_was_carried_out() {
        use StepEnd::{Cached, Done};
        let mut from_one = step(2, "FROM one AS two", Done);
        let mut of_two = step(3, "RUN b", Done);
        for step in [&mut from_one, &mut of_two] {
            step.stage = "two".into();
        }
        from_one.inputs.key.clear();
        let mut now = trace(vec![step(1, "RUN a", Done), from_one, of_two, step(4, "RUN c", Cached)]);
        now.runs[0].steps[0].stage = "one".into();
        let before = now.clone();
        now.no_cache_stages = vec!["ONE".into()];
        let earlier = Reason::Earlier { n: 1, text: "RUN a".into() };
        assert_eq!(reasons(&now, &[before]), [(1, vec![Reason::NoCacheOfStage]), (3, vec![earlier])]);
    }

    #[test]
    fn a_stage_begins_with_what_another_gives() {
        use StepEnd::Done;
        let mut of_two = step(4, "RUN b", Done);
        of_two.stage = "two".into();
        let mut from_one = step(3, "FROM --platform=x one AS two", Done);
        from_one.stage = "two".into();
        from_one.inputs.key.clear();
        let mut first = with(step(2, "RUN a", Done), InputKind::Variable, "A", "1");
        first.stage = "one".into();
        let before = trace(vec![first.clone(), from_one.clone(), of_two.clone()]);
        first.inputs.values[0].value = "2".into();
        of_two.inputs.before = "other".into();
        let now = trace(vec![first, from_one, of_two]);
        let told = reasons(&now, &[before]);
        assert_eq!(told[1], (4, vec![Reason::Earlier { n: 2, text: "RUN a".into() }]));
    }
}
