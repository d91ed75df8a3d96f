//! `builder history explain`: why steps of a build were carried out and not taken from the cache.

use dray_client::api::build::{BuildDetail, BuildReason, ExplainedStep};

use super::wanted;
use crate::app::App;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    format_flag("Format of the output: pretty or json").default("pretty"),
    switch("no-trunc", NONE, "Show values in full and all files that are known"),
];

/// `builder history explain`
pub static COMMAND: Command = Command::new(
    "explain",
    &["[OPTIONS] [BUILD]"],
    Args::AtMost(1),
    "Tell why steps of a build were carried out: what had changed since the last build",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

/// So many files of a step are shown.
const SHOWN_FILES: usize = 10;
/// So much of a value is shown.
const SHOWN: usize = 72;

async fn run(app: &App, p: Parsed) -> Done {
    let build = app.client()?.build_inspect(wanted(&p)).await?;
    match p.get("format") {
        "json" => {
            let text = serde_json::to_string_pretty(&build.explanation)
                .map_err(|source| Error::Json { what: "an explanation".into(), source })?;
            app.print(text + "\n")?;
        }
        "pretty" => app.print(text(&build, p.is("no-trunc")))?,
        other => return Err(Error::Refused(format!("invalid format {other:?}: must be pretty or json"))),
    }
    Ok(0)
}

/// The explanation of a build as people read it.
pub fn text(build: &BuildDetail, whole: bool) -> String {
    let id = &build.summary.r#ref;
    let Some(explanation) = &build.explanation else { return format!("build {id} is still running\n") };
    if explanation.steps.is_empty() {
        return format!("build {id}: every step was in the cache\n");
    }
    let mut text = match explanation.against.as_str() {
        "" => format!("build {id}, the first of its kind\n"),
        against => format!("build {id}, held against {against}\n"),
    };
    for step in &explanation.steps {
        text.push_str(&format!("\n{}\n", title(step, whole)));
        for reason in &step.reasons {
            text.push_str(&format!("    {}\n", line(reason, whole)));
            let shown = if whole { usize::MAX } else { SHOWN_FILES };
            for file in reason.files.iter().take(shown) {
                text.push_str(&format!("        {:<8} {}\n", file.change, printable(&file.path)));
            }
            let more = reason.files.len().saturating_sub(shown) as i64 + reason.more;
            if more > 0 {
                text.push_str(&format!("        and {more} more\n"));
            }
        }
    }
    text
}

fn title(step: &ExplainedStep, whole: bool) -> String {
    let platform = if step.platform.is_empty() { String::new() } else { format!("{} ", step.platform) };
    let stage = match step.stage.bytes().all(|byte| byte.is_ascii_digit()) {
        true => String::new(),
        false => format!("{} ", step.stage),
    };
    format!("[{platform}{stage}{}] {}", step.step, value(&step.instruction, whole))
}

fn line(reason: &BuildReason, whole: bool) -> String {
    let what = match reason.kind.as_str() {
        "no-cache" => return "--no-cache: all steps are carried out".to_owned(),
        "no-cache-filter" => return "--no-cache-filter: all steps of its stage are carried out".to_owned(),
        "first" => return "no build of this is known that it could be held against".to_owned(),
        "new" => return "the instruction is new".to_owned(),
        "not-done" => return "the builds before did not come to its end".to_owned(),
        "gone" => {
            return "nothing has changed: its result is no longer in the cache (pruned, or collected)"
                .to_owned();
        }
        "earlier" if reason.step > 0 => {
            return format!("an earlier step: [{}] {}", reason.step, value(&reason.instruction, whole));
        }
        "earlier" => return "an earlier step".to_owned(),
        "files" => match reason.files.len() as i64 + reason.more {
            0 => return "the files that it reads".to_owned(),
            1 => return "1 of the files that it reads:".to_owned(),
            n => return format!("{n} of the files that it reads:"),
        },
        "from" => return format!("what {:?} gives", reason.name),
        "instruction" => "the instruction".to_owned(),
        "argument" => format!("build argument {}", reason.name),
        "variable" => format!("variable {}", reason.name),
        "user" => "the user".to_owned(),
        "directory" => "the working directory".to_owned(),
        "network" => "the network".to_owned(),
        "privilege" => "its privileges".to_owned(),
        "script" => "the script".to_owned(),
        "mount" => format!("the mount at {}", reason.name),
        "image" => format!("the image {}", reason.name),
        "option" => format!("--{}", reason.name),
        _ => return "something that is not recorded".to_owned(),
    };
    let of = |side: &Option<String>| side.as_ref().map(|text| format!("{:?}", value(text, whole)));
    match (of(&reason.old), of(&reason.new)) {
        (Some(old), Some(new)) => format!("{what}: {old} → {new}"),
        (None, Some(new)) => format!("{what}: {new} is new"),
        (Some(old), None) => format!("{what}: {old} is gone"),
        (None, None) => what,
    }
}

/// A value on one line.
fn value(text: &str, whole: bool) -> String {
    let line = printable(text);
    if whole || line.chars().count() <= SHOWN {
        return line;
    }
    line.chars().take(SHOWN - 1).chain(['…']).collect()
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    let spaced = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    spaced.collect()
}

#[cfg(test)]
mod tests {
    use dray_client::api::build::{BuildExplanation, BuildFileChange, BuildSummary};

    use super::*;

    fn reason(kind: &str) -> BuildReason {
        BuildReason { kind: kind.into(), ..BuildReason::default() }
    }

    fn step(n: i64, instruction: &str, reasons: Vec<BuildReason>) -> ExplainedStep {
        let (stage, instruction) = ("0".to_owned(), instruction.to_owned());
        ExplainedStep { step: n, stage, instruction, reasons, ..ExplainedStep::default() }
    }

    fn build(steps: Vec<ExplainedStep>) -> BuildDetail {
        BuildDetail {
            explanation: Some(BuildExplanation { against: "before".into(), steps }),
            summary: BuildSummary { r#ref: "now".into(), ..BuildSummary::default() },
            ..BuildDetail::default()
        }
    }

    #[test]
    fn reasons_are_sentences() {
        let argument = BuildReason {
            name: "V".into(),
            old: Some("1".into()),
            new: Some("2".into()),
            ..reason("argument")
        };
        let file = |n: usize| BuildFileChange { path: format!("src/{n}.rs"), change: "content".into() };
        let files = BuildReason { files: (0..12).map(file).collect(), more: 3, ..reason("files") };
        let earlier = BuildReason { step: 2, instruction: "RUN a\n b".into(), ..reason("earlier") };
        let of = build(vec![step(2, "RUN a", vec![argument]), step(3, "COPY . .", vec![files, earlier])]);
        let text = text(&of, false);
        assert!(text.starts_with("build now, held against before\n\n[2] RUN a\n"), "{text}");
        assert!(text.contains("    build argument V: \"1\" → \"2\"\n"), "{text}");
        assert!(text.contains("    15 of the files that it reads:\n        content  src/0.rs\n"), "{text}");
        assert!(text.contains("        and 5 more\n    an earlier step: [2] RUN a  b\n"), "{text}");
        assert!(super::text(&of, true).contains("src/11.rs\n        and 3 more\n"));
    }

    #[test]
    fn what_was_all_cached_or_still_runs_says_so() {
        assert_eq!(text(&build(Vec::new()), false), "build now: every step was in the cache\n");
        let running = BuildDetail { explanation: None, ..build(Vec::new()) };
        assert_eq!(text(&running, false), "build now is still running\n");
    }
}
