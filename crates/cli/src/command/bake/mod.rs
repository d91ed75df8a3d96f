//! `bake`: builds the targets of bake files, as `docker buildx bake` does.
//!
//! ```text
//! source.rs   which files, and what is in them       list.rs    --list
//! words.rs    a target → the words of `build`        consent.rs what is asked for beyond the folder
//! run.rs      all targets at once, each after those that it is built upon      screen.rs   their progress
//! call.rs     --call, --check                        remote.rs  files of an address
//! ```
//! What files mean is `dray-bake`'s.

mod call;
mod consent;
mod list;
mod remote;
mod run;
mod screen;
mod source;
mod words;

use std::collections::BTreeMap;

use dray_bake::entitlement::Allowed;
use dray_bake::target::print::Json;
use dray_bake::{Around, Plan};
use dray_spec::Platform;

use super::image::build;
use super::image::build_call::Question;
use crate::app::App;
use crate::builder;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list as many, switch, text};
use crate::spec::{Args, Command, Done};
use screen::Screen;

const FLAGS: &[Flag] = &[
    many("allow", NONE, "Let the build have something of this machine (fs.read=path, network.host, ssh)")
        .shown("stringArray"),
    text("builder", NONE, "Where to build: a builder of buildx that is a daemon (BUILDX_BUILDER)"),
    text("call", NONE, "What to do: build, check, outline or targets").default("build").check(check_call),
    switch("check", NONE, "Check the Dockerfiles, build nothing; the same as --call=check"),
    switch("debug", 'D', "Kept for scripts of buildx").hidden(),
    many("file", 'f', "Bake files (HCL, JSON, Compose); - for standard input").shown("stringArray"),
    text("list", NONE, "List targets or variables"),
    switch("list-targets", NONE, "Old form of --list=targets").hidden(),
    switch("list-variables", NONE, "Old form of --list=variables").hidden(),
    switch("load", NONE, "Keep the images in the store; short for --set=*.output=type=docker"),
    text("metadata-file", NONE, "Write what is known of the results to this file"),
    switch("no-cache", NONE, "Carry out all steps anew"),
    switch("print", NONE, "Print the targets as JSON, build nothing"),
    text("progress", NONE, "How to show progress: auto, none, plain, tty, quiet or rawjson")
        .default("auto")
        .check(build::check_progress),
    text("provenance", NONE, "How the images were made; short for --set=*.attest=type=provenance"),
    switch("pull", NONE, "Look for newer base images"),
    switch("push", NONE, "Push the images; short for --set=*.output=type=registry"),
    text("sbom", NONE, "What the images are made of; short for --set=*.attest=type=sbom"),
    many("set", NONE, "Change something of targets (pattern.key=value)").shown("stringArray"),
];

/// `bake`
pub static COMMAND: Command =
    Command::new("bake", &["[OPTIONS] [TARGET...]"], Args::Any, "Build from a file", |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS])
        .aliases(&["f"])
        .also(&["builder bake", "bake"])
        .details(
            "Builds the targets of docker-bake.hcl, docker-bake.json and Compose files; without names those of the\n\
             group \"default\". A target that others are built upon (contexts = { base = \"target:base\" }) is built\n\
             before them. If the first word is the address of a repository, an archive or a bake file, that is read;\n\
             cwd://path is then a path of this machine. A second address is what BAKE_CMD_CONTEXT says.",
        );

fn check_call(value: &str) -> Result<(), String> {
    Question::parse(value).map(|_| ())
}

/// The changes that flags are short for.
fn changes(p: &Parsed, question: Option<&Question>) -> Vec<String> {
    let mut changes = p.all("set");
    for flag in ["push", "load"] {
        if p.is(flag) {
            changes.push(format!("*.{flag}=true"));
        }
    }
    changes.extend(question.map(|question| format!("*.call={}", question.name)));
    for flag in ["no-cache", "pull"] {
        if p.given(flag) {
            changes.push(format!("*.{flag}={}", p.is(flag)));
        }
    }
    for kind in ["sbom", "provenance"] {
        changes.extend(dray_bake::attest_text(kind, p.get(kind)).map(|text| format!("*.attest={text}")));
    }
    changes
}

fn around(command_context: String) -> Result<Around, Error> {
    let folder = std::env::current_dir().map_err(Error::io("find the current folder"))?;
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    let builtin = [
        ("BAKE_CMD_CONTEXT".to_owned(), command_context),
        ("BAKE_LOCAL_PLATFORM".to_owned(), Platform::host().to_string()),
    ];
    Ok(Around {
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        builtin: builtin.into(),
        folder: folder.display().to_string(),
    })
}

async fn run(app: &App, p: Parsed) -> Done {
    builder::choose(app, p.get("builder"))?;
    let question = Question::read(&p);
    let mut allowed = Allowed::parse(&p.all("allow")).map_err(Error::Refused)?;
    let wanted_list = match (p.get("list"), p.is("list-targets"), p.is("list-variables")) {
        ("", true, _) => "targets",
        ("", _, true) => "variables",
        (list, ..) => list,
    };
    if p.is("print") && !wanted_list.is_empty() {
        return Err(Error::Refused("--print and --list are mutually exclusive".into()));
    }
    let words = source::Words::of(&p.args);
    let around = around(words.command_context)?;
    for paths in [&mut allowed.read, &mut allowed.write] {
        paths.push(around.folder.clone());
    }
    let (files, remote) = source::read(app, &p.all("file"), words.address.as_deref()).await?;
    if !wanted_list.is_empty() {
        let config = dray_bake::read(&files, &around)?;
        return list::show(app, wanted_list, &config);
    }
    let names = if words.targets.is_empty() { vec!["default".to_owned()] } else { words.targets };
    let changes = changes(&p, question.as_ref());
    let mut plan = dray_bake::plan(&files, &around, &names, &changes, &mut allowed)?;
    words::complete(&mut plan, &around, remote.as_ref())?;
    if p.is("print") {
        return app.print(format!("{}\n", json(&plan).indented())).map(|()| 0);
    }
    let progress = build::progress_of(&p)?;
    let asking = consent::Asking { is_remote: words.address.is_some(), silently: progress == "rawjson" };
    consent::ask(app, &allowed, &plan, &around.folder, asking).await?;
    let ended = run::all(app, &plan, Screen::new(&progress)).await?;
    if !p.get("metadata-file").is_empty() {
        let path = p.get("metadata-file");
        let all: BTreeMap<&String, _> =
            ended.built.iter().map(|(name, done)| (name, done.metadata())).collect();
        std::fs::write(path, build::json_lines(&all)?).map_err(Error::file("write", path))?;
    }
    call::show(app, &plan, question.as_ref(), &ended.answers)
}

/// Groups and targets, as a bake file in JSON.
fn json(plan: &Plan) -> Json {
    let mut all = Vec::new();
    if !plan.groups.is_empty() {
        let groups = plan.groups.iter().map(|(name, group)| (name.clone(), group.json()));
        all.push(("group".to_owned(), Json::Object(groups.collect())));
    }
    let targets = plan.targets.iter().map(|(name, target)| (name.clone(), target.json()));
    all.push(("target".to_owned(), Json::Object(targets.collect())));
    Json::Object(all)
}

impl From<dray_bake::Error> for Error {
    fn from(error: dray_bake::Error) -> Error {
        // The lines come first, as buildx shows them; the message has its own beginning.
        let excerpt = error.excerpt();
        if !excerpt.is_empty() {
            eprint!("{excerpt}");
        }
        Error::Refused(error.message().to_owned())
    }
}
