//! The corpus of `config`'s tests, broken in many ways: whatever comes of it, it is a project or an error with words,
//! never a panic. The same on every run; `cargo xtask fuzz` goes further.

use std::path::Path;

use dray_compose::load::MemoryDisk;
use dray_compose::model::Form;
use dray_compose::render::{json, yaml};
use dray_compose::{Loader, Project, Request};

/// What gets put in.
const PIECES: &[&str] = &[
    "${",
    "}",
    "$",
    "${A:-",
    "*a",
    "&a ",
    "<<: ",
    "!reset ",
    "!override ",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "- ",
    "\n",
    "\t",
    "'",
    "\"",
    "|\n",
    "null",
    "~",
    "0",
    "-1",
    "1e999",
    "\u{feff}",
    "\0",
    "é",
    "extends: a\n",
    "include: [compose.yaml]\n",
    "x-a: ",
    "services:",
    "\u{85}",
    "99999999999999999999",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }
}

fn load(text: &str) -> Result<Project, String> {
    let disk = MemoryDisk([("/p/compose.yaml".to_owned(), text.to_owned())].into());
    let loader = Loader::new(&disk);
    let request = Request { current: "/p".into(), ..Request::default() };
    loader.project(&request).map_err(|e| e.to_string())
}

fn mutate(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(chars.len());
        match random.below(3) {
            0 => drop(chars.drain(at..(at + random.below(12)).min(chars.len()))),
            1 => drop(chars.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            _ => {
                let from = random.below(chars.len());
                let copied: Vec<char> = chars[from..(from + random.below(40)).min(chars.len())].to_vec();
                drop(chars.splice(at..at, copied));
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn broken_files_are_refused_with_words() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compose/corpus");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut good, mut bad) = (0, 0);
    for case in std::fs::read_dir(corpus).expect("the corpus") {
        let file = case.expect("a case").path().join("compose.yaml");
        let text = std::fs::read_to_string(file).expect("compose.yaml");
        for _ in 0..60 {
            match load(&mutate(&text, &mut random)) {
                Ok(project) => {
                    json::indented(&project.write(Form::Json));
                    yaml::document(&project.write(Form::Yaml));
                    good += 1;
                }
                Err(words) => {
                    assert!(!words.trim().is_empty());
                    bad += 1;
                }
            }
        }
    }
    assert!(good > 20 && bad > 20, "{good} good, {bad} bad: the mutations say nothing any more");
}
