//! `config` on a corpus of files: each line of a case's `runs` is a command line, and `golden/N` what Docker Compose
//! printed for it, with its exit code first and the corpus's folder as `<corpus>`.
//!
//! Where Docker Compose is built (`target/test-fixtures/docker-compose`, or `DRAY_COMPOSE_REFERENCE`), it is asked
//! again and the golden files are held against it; with `DRAY_BLESS=1` they are written anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dray_harness::client::Finished;
use dray_harness::compose;

use super::{compose as ours, run};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/corpus")
}

/// Command lines whose lines have no order with Docker Compose.
fn is_unordered(line: &str) -> bool {
    ["--volumes", "--networks", "--images", "--services", "--variables"].iter().any(|f| line.contains(f))
        && !line.contains("--format")
}

fn shown(finished: &Finished, line: &str) -> String {
    let folder = corpus().display().to_string();
    let mut text = finished.stdout.replace(&folder, "<corpus>");
    if is_unordered(line) {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        text = lines.join("\n") + "\n";
    }
    format!("exit {}\n{text}", finished.code)
}

#[test]
fn config_is_docker_composes() {
    let reference = compose::reference_if_built();
    let bless = std::env::var_os("DRAY_BLESS").is_some();
    let mut differ = Vec::new();
    let mut count = 0;
    for case in fs::read_dir(corpus()).expect("the corpus") {
        let folder = case.expect("a case").path();
        let runs = fs::read_to_string(folder.join("runs")).expect("runs");
        for (i, line) in runs.lines().enumerate() {
            let args: Vec<&str> = line.split(' ').collect();
            let golden = folder.join("golden").join(i.to_string());
            if let Some(program) = &reference {
                let theirs = shown(&run(Command::new(program).args(&args), &folder), line);
                if bless {
                    fs::create_dir_all(folder.join("golden")).expect("golden folder");
                    fs::write(&golden, &theirs).expect("golden file");
                }
                let kept = fs::read_to_string(&golden).unwrap_or_default();
                assert_eq!(
                    theirs,
                    kept,
                    "Docker Compose says something else now: {} {line}",
                    folder.display()
                );
            }
            let kept = fs::read_to_string(&golden).unwrap_or_else(|e| panic!("{}: {e}", golden.display()));
            let mine = ours(&folder, &args);
            count += 1;
            if shown(&mine, line) != kept {
                differ.push(format!("{}: {line}\n{}{}", folder.display(), shown(&mine, line), mine.stderr));
            }
        }
    }
    assert!(count > 60, "the corpus has shrunk to {count} runs");
    assert!(differ.is_empty(), "{} runs differ:\n{}", differ.len(), differ.join("\n"));
}
