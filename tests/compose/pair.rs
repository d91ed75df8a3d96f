//! A folder in which both programs are asked the same: what `dray compose` says, and that Docker Compose says it too,
//! where it is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dray_harness::client::Finished;
use dray_harness::{compose, dray_binary};
use tempfile::TempDir;

/// The folder, and words of files and command lines that stand for something else, in what is said, too.
pub struct Pair {
    folder: TempDir,
    words: Vec<(&'static str, String)>,
}

impl Pair {
    /// An empty folder.
    pub fn new(words: &[(&'static str, String)]) -> Pair {
        Pair { folder: TempDir::with_prefix("dray-compose-").expect("a folder"), words: words.to_vec() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, with what its words stand for.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, self.filled(text)).expect("a file");
    }

    /// A text with what its words stand for.
    pub fn filled(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, meaning)| text.replace(word, meaning))
    }

    /// The cache of one of the programs.
    fn cache(&self, program: &str) -> PathBuf {
        self.folder().join(format!("cache-{program}"))
    }

    /// What `dray compose` has kept of files from elsewhere.
    pub fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache("ours").join("docker-compose")).expect("the cache");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    fn ask(&self, program: &str, command: &mut Command, line: &str, variables: &[(&str, &str)]) -> Finished {
        let (cache, line) = (self.cache(program), self.filled(line));
        let output = command
            .args(line.split_whitespace())
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder())
            .env("PWD", self.folder())
            .env("XDG_CACHE_HOME", &cache)
            // Docker Compose speaks HTTP with a registry in its own tests only.
            .env("__TEST__INSECURE__REGISTRY__", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("compose");
        let text = |bytes: &[u8]| {
            let said = String::from_utf8_lossy(bytes).replace(&*cache.to_string_lossy(), "CACHE");
            self.words.iter().fold(said, |text, (word, meaning)| text.replace(meaning, word))
        };
        Finished {
            line,
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Asks `dray compose`.
    pub fn ours(&self, line: &str, variables: &[(&str, &str)]) -> Finished {
        self.ask("ours", Command::new(dray_binary()).arg("compose"), line, variables)
    }

    /// Asks Docker Compose, where it is built.
    pub fn theirs(&self, line: &str, variables: &[(&str, &str)]) -> Option<Finished> {
        let program = compose::reference_if_built()?;
        Some(self.ask("theirs", &mut Command::new(program), line, variables))
    }

    /// What `config` prints, which is what Docker Compose prints.
    pub fn config(&self, line: &str) -> String {
        let line = format!("{line} config");
        let mine = self.ours(&line, &[]).expect_success().stdout;
        if let Some(theirs) = self.theirs(&line, &[]) {
            assert_eq!(theirs.stdout, mine, "{line}");
        }
        mine
    }

    /// What is said of a project that cannot be had.
    pub fn refused(&self, line: &str, variables: &[(&str, &str)]) -> String {
        let said = self.ours(&format!("{line} config"), variables);
        assert_eq!(said.code, 1, "{line}: {}", said.stdout);
        said.stderr
    }
}
