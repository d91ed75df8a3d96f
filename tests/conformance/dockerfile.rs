//! The Dockerfile parser and the build checks against BuildKit's own, built from the Go module proxy: a corpus of
//! Dockerfiles is parsed by both to the same tree, and both find the same in it.
//!
//! `dockerfile/reference/` holds the program in Go around BuildKit's packages, `dockerfile/corpus/` what is parsed,
//! beside the builder's own corpus; `dockerfile/wrong/` what both refuse, with the same words.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dray_build::dockerfile::{
    ArgPair, Command as Kind, CommandLine, Dockerfile, Instruction, KeyValue, Security, SourceFile, Stage,
    parse,
};
use dray_build::{
    BaseImage, BaseImageError, BaseImages, BuildRequest, Builder, Cancel, DockerfileSource, ExitStatus,
    NoRemoteSource, RunError, RunStep, StepRunner, Subrequest,
};
use dray_harness::golang;
use dray_spec::{ImageConfig, Platform};
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file() && path.extension().is_none_or(|extension| extension != "tree"));
    files.sort();
    files
}

/// What BuildKit makes of each file.
fn reference(files: &[PathBuf]) -> Vec<Value> {
    let program = golang::program_of(
        &folder("conformance/dockerfile/reference"),
        "dockerfile-reference",
        "dfrundevice",
    );
    let output = Command::new(program).args(files).output().expect("the reference");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON of the reference")
}

#[test]
fn dockerfiles_are_parsed_to_the_reference_s_tree() {
    let mut corpus = files(&folder("conformance/dockerfile/corpus"));
    corpus.extend(files(&folder("../crates/build/tests/corpus")));
    assert!(corpus.len() >= 50, "only {} Dockerfiles", corpus.len());
    let mut different = Vec::new();
    for (path, expected) in corpus.iter().zip(reference(&corpus)) {
        let text = std::fs::read_to_string(path).expect("a Dockerfile");
        let parsed = parse(&text, "Dockerfile").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tree = tree(&parsed);
        for (key, ours) in tree.as_object().expect("an object") {
            if expected[key] != *ours {
                let shown = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
                let (ours, theirs) = (shown(ours), shown(&expected[key]));
                different.push(format!("{}: {key}\n{}", path.display(), difference(&ours, &theirs)));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[test]
fn wrong_dockerfiles_are_refused_with_the_reference_s_words() {
    let wrong = files(&folder("conformance/dockerfile/wrong"));
    assert!(wrong.len() >= 25, "only {} Dockerfiles", wrong.len());
    let mut different = Vec::new();
    for (path, expected) in wrong.iter().zip(reference(&wrong)) {
        let text = std::fs::read_to_string(path).expect("a Dockerfile");
        let ours = match parse(&text, "Dockerfile") {
            Ok(_) => "(parsed)".to_owned(),
            Err(error) => error.reason(),
        };
        let theirs =
            expected["error"].as_str().or(expected["checks"]["error"].as_str()).unwrap_or("(parsed)");
        if ours != theirs {
            different.push(format!("{}\n  ours:   {ours}\n  theirs: {theirs}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn checks_find_what_the_reference_finds() {
    let mut corpus = files(&folder("conformance/dockerfile/corpus"));
    corpus.extend(files(&folder("../crates/build/tests/corpus")));
    let world = World::new();
    let (mut different, mut found) = (Vec::new(), 0);
    for (path, expected) in corpus.iter().zip(reference(&corpus)) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let ours = world.checks(name, std::fs::read_to_string(path).expect("a Dockerfile"));
        let theirs = sorted(expected["checks"]["warnings"].clone());
        found += theirs.len();
        let (ours, theirs) = (
            json!({ "warnings": ours.0, "error": ours.1 }),
            json!({ "warnings": theirs, "error": in_order(expected["checks"]["error"].as_str()) }),
        );
        if ours != theirs {
            let shown = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
            different.push(format!("{}\n{}", path.display(), difference(&shown(&ours), &shown(&theirs))));
        }
    }
    assert!(found >= 60, "only {found} findings: the corpus shows little");
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// Lines of one text that are not in the other at their place.
fn difference(ours: &str, theirs: &str) -> String {
    let (ours, theirs): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), theirs.lines().collect());
    let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(6);
    let part = |lines: &[&str]| lines[from.min(lines.len())..(same + 6).min(lines.len())].join("\n    ");
    format!("  ours:\n    {}\n  theirs:\n    {}", part(&ours), part(&theirs))
}

/// Findings of one line may come in any order.
fn sorted(warnings: Value) -> Vec<Value> {
    let mut all = warnings.as_array().cloned().unwrap_or_default();
    all.sort_by_key(|warning| {
        (warning["lines"][0].as_u64(), warning["rule"].to_string(), warning["detail"].to_string())
    });
    all
}

/// An error's rules in one order: the reference has them in any.
fn in_order(error: Option<&str>) -> Value {
    let Some(rules) = error.and_then(|error| error.strip_prefix("lint violation found for rules: ")) else {
        return error.into();
    };
    let mut rules: Vec<&str> = rules.split(", ").collect();
    rules.sort_unstable();
    json!(rules)
}

/// A builder that only answers questions; it knows every image: for linux/amd64, with `HOME` in its environment.
struct World {
    builder: Builder,
    _root: tempfile::TempDir,
}

struct Nobody;

impl StepRunner for Nobody {
    fn run(&self, _: &RunStep<'_>) -> Result<ExitStatus, RunError> {
        unreachable!("nothing is built")
    }
}

impl BaseImages for Nobody {
    fn resolve(
        &self,
        _: &str,
        _: &Platform,
        _: bool,
        _: &dyn dray_image::Progress,
        _: &Cancel,
    ) -> Result<BaseImage, BaseImageError> {
        unreachable!("nothing is built")
    }

    fn config(&self, _: &str, _: &Platform, _: &Cancel) -> Result<ImageConfig, BaseImageError> {
        let mut config = ImageConfig::for_platform(&Platform::new("linux", "amd64", None));
        config.config.get_or_insert_default().env = Some(vec!["HOME=/root".to_owned()]);
        Ok(config)
    }
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().expect("a folder");
        let images = dray_image::Images::new(dray_store::Store::open(root.path()).expect("store"));
        let builder = Builder::new(images, Arc::new(Nobody), Arc::new(Nobody), Arc::new(NoRemoteSource));
        World { builder, _root: root }
    }

    /// What is found, and what ends the build.
    fn checks(&self, name: String, text: String) -> (Vec<Value>, Value) {
        let request = BuildRequest {
            dockerfile: DockerfileSource::Text { name, text },
            platform: Some("linux/amd64".into()),
            ..BuildRequest::default()
        };
        let answer = self.builder.answer(Subrequest::Lint, &request).expect("an answer");
        let results: Value = serde_json::from_slice(&answer["result.json"]).expect("JSON");
        let warning = |warning: &Value| {
            let ranges = warning["location"]["ranges"].as_array().expect("ranges");
            let line = |range: Option<&Value>| range.map(|range| range["start"]["line"].clone());
            json!({
                "rule": warning["ruleName"],
                "description": warning["description"],
                "url": warning["url"].as_str().unwrap_or_default(),
                "detail": warning["detail"],
                "lines": [line(ranges.first()), line(ranges.last())],
            })
        };
        let warnings = results["warnings"].as_array().map(|all| all.iter().map(warning).collect());
        let error = results["buildError"]["message"].as_str();
        (sorted(Value::Array(warnings.unwrap_or_default())), in_order(error))
    }
}

/// Our tree in the reference's form.
fn tree(dockerfile: &Dockerfile) -> Value {
    json!({
        "escape": dockerfile.escape.to_string(),
        "args": dockerfile.global_args.iter().map(command).collect::<Vec<_>>(),
        "stages": dockerfile.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}

fn stage(stage: &Stage) -> Value {
    json!({
        "name": stage.name.clone().unwrap_or_default(),
        "base": stage.base,
        "platform": stage.platform.clone().unwrap_or_default(),
        "description": described(&stage.comments, stage.name.as_deref().unwrap_or_default()),
        "keyword": stage.keyword,
        "lines": [stage.line, stage.last_line],
        "commands": stage.instructions.iter().map(command).collect::<Vec<_>>(),
    })
}

fn described(comments: &[String], name: &str) -> String {
    let said = comments.iter().find_map(|comment| comment.strip_prefix(&format!("{name} ")));
    said.filter(|_| !name.is_empty()).unwrap_or_default().to_owned()
}

fn command(instruction: &Instruction) -> Value {
    let mut out = fields(instruction);
    out["keyword"] = instruction.keyword.clone().into();
    out["lines"] = json!([instruction.line, instruction.last_line]);
    out
}

fn fields(instruction: &Instruction) -> Value {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match &instruction.command {
        Kind::Arg(list) => {
            let pair = |pair: &ArgPair| {
                let description = described(&instruction.comments, &pair.key);
                json!({ "key": pair.key, "value": pair.value, "description": description })
            };
            json!({ "pairs": list.iter().map(pair).collect::<Vec<_>>() })
        }
        Kind::Env(list) | Kind::Label(list) => {
            let pair = |p: &KeyValue| json!({ "key": p.key, "value": p.value, "delimited": p.delimited });
            json!({ "pairs": list.iter().map(pair).collect::<Vec<_>>() })
        }
        Kind::Maintainer(text)
        | Kind::Onbuild(text)
        | Kind::StopSignal(text)
        | Kind::User(text)
        | Kind::Workdir(text) => json!({ "text": text }),
        Kind::Expose(words) | Kind::Shell(words) | Kind::Volume(words) => {
            json!({ "words": words })
        }
        Kind::Cmd(words) | Kind::Entrypoint(words) => line(words),
        Kind::Healthcheck(check) => json!({
            "test": check.test,
            "interval": check.interval,
            "timeout": check.timeout,
            "startPeriod": check.start_period,
            "startInterval": check.start_interval,
            "retries": check.retries,
        }),
        Kind::Run(run) => {
            let mut out = line(&run.line);
            let insecure = run.security == Security::Insecure;
            out["mounts"] = json!(run.mounts);
            out["network"] = json!(run.network.clone().unwrap_or_else(|| "default".into()));
            out["security"] = json!(if insecure { "insecure" } else { "sandbox" });
            let device =
                |d: &dray_build::dockerfile::Device| json!({ "name": d.name, "required": d.required });
            out["devices"] = json!(run.devices.iter().map(device).collect::<Vec<_>>());
            out
        }
        Kind::Copy(copy) => {
            let mut out = files_of(&copy.sources, &copy.files, &copy.dest);
            out["chown"] = json!(text(&copy.chown));
            out["chmod"] = json!(text(&copy.chmod));
            out["link"] = json!(copy.link);
            out["from"] = json!(text(&copy.from));
            out["parents"] = json!(copy.parents);
            out["exclude"] = json!(copy.exclude);
            out
        }
        Kind::Add(add) => {
            let mut out = files_of(&add.sources, &add.files, &add.dest);
            out["chown"] = json!(text(&add.chown));
            out["chmod"] = json!(text(&add.chmod));
            out["link"] = json!(add.link);
            out["keepGitDir"] = json!(add.keep_git_dir);
            out["checksum"] = json!(text(&add.checksum));
            out["unpack"] = json!(add.unpack);
            out["exclude"] = json!(add.exclude);
            out
        }
    }
}

fn files_of(sources: &[String], files: &[SourceFile], dest: &str) -> Value {
    let file = |f: &SourceFile| json!({ "name": f.name, "content": f.content, "expand": f.expand });
    json!({ "sources": sources, "contents": files.iter().map(file).collect::<Vec<_>>(), "dest": dest })
}

fn line(line: &CommandLine) -> Value {
    let file = |h: &dray_build::dockerfile::Heredoc| json!({ "name": h.name, "content": h.content, "chomp": h.chomp });
    let files: Vec<Value> = line.heredocs.iter().map(file).collect();
    json!({ "words": line.words, "shell": line.shell, "files": files })
}
