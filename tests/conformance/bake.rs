//! Bake files against buildx itself: what `--print` and `--list` show of a corpus is the same, byte by byte; wrong files
//! are refused with the same words and the same lines.
//!
//! `bake/corpus/` has a folder for each: bake files, and `args` if there is more on the command line. `bake/wrong/` has
//! what both refuse. Only the order in which a matrix with several names becomes targets is not compared: buildx has
//! none.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dray_harness::{dray_binary, fixture};

fn entries(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/bake").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

/// Runs `bake` in a folder, where no daemon is needed.
fn bake(program: &Path, folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.arg("bake").args(args).current_dir(folder);
    // What corpora look at, and what must not be looked at.
    command.env("FROM_ENV", "of the environment").env("DOCKER_HOST", "unix:///nowhere");
    command.env_remove("SOURCE_DATE_EPOCH").env_remove("COMPOSE_PROJECT_NAME").env("NO_COLOR", "1");
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The groups as sorted lines, and the targets as they are.
fn parts(printed: &str) -> (Vec<String>, &str) {
    let (groups, targets) = printed.split_at(printed.find("\n  \"target\": {").unwrap_or(0));
    let mut groups: Vec<String> = groups.lines().map(|line| line.trim_end_matches(',').to_owned()).collect();
    groups.sort();
    (groups, targets)
}

fn compare(name: &str, args: &[&str], different: &mut Vec<String>, folder: &Path) {
    let reference = bake(&fixture::buildx(), folder, &[&["--progress=quiet"], args].concat());
    let own = bake(&dray_binary(), folder, args);
    let (theirs, ours) = (text(&reference.stdout), text(&own.stdout));
    assert!(reference.status.success(), "{name}: {}", text(&reference.stderr));
    if parts(&theirs) != parts(&ours) {
        different.push(format!("{name}\n--- buildx\n{theirs}\n--- dray\n{ours}{}", text(&own.stderr)));
    }
}

#[test]
fn targets_are_printed_as_buildx_does() {
    let corpus = entries("corpus");
    assert!(corpus.len() >= 20, "only {} bake files", corpus.len());
    let mut different = Vec::new();
    for folder in &corpus {
        let args = std::fs::read_to_string(folder.join("args")).unwrap_or_default();
        let args: Vec<&str> = ["--print"].into_iter().chain(args.split_whitespace()).collect();
        compare(&folder.display().to_string(), &args, &mut different, folder);
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[test]
fn lists_are_buildx_s() {
    let corpus = entries("corpus");
    let mut different = Vec::new();
    for folder in corpus.iter().filter(|folder| folder.join("docker-bake.hcl").exists()) {
        for list in ["targets", "variables", "type=targets,format=json", "type=variables,format=json"] {
            let name = format!("{}: {list}", folder.display());
            compare(&name, &[&format!("--list={list}")], &mut different, folder);
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// Without how many further mistakes there are: those are found in an order that buildx does not have.
fn words(output: &Output) -> String {
    let all = text(&output.stderr);
    let lines = all.lines().map(|line| {
        let line = line.strip_prefix("ERROR: ").or(line.strip_prefix("dray: ")).unwrap_or(line);
        line.split(", and ").next().filter(|_| line.ends_with("other diagnostic(s)")).unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn wrong_files_are_refused_with_buildx_s_words() {
    let wrong = entries("wrong");
    assert!(wrong.len() >= 30, "only {} bake files", wrong.len());
    let mut different = Vec::new();
    for path in &wrong {
        let (folder, file) = (path.parent().expect("a folder"), path.file_name().expect("a name"));
        let file = format!("--file={}", file.to_string_lossy());
        let reference = bake(&fixture::buildx(), folder, &["--progress=quiet", "--print", &file]);
        let own = bake(&dray_binary(), folder, &["--print", &file]);
        assert!(!reference.status.success(), "{file}: buildx takes it");
        let (theirs, ours) = (words(&reference), words(&own));
        if own.status.success() || theirs != ours {
            different.push(format!("{file}\n--- buildx\n{theirs}\n--- dray\n{ours}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}
