//! Files in git repositories: `-f`, `include` and `extends` may name one by the address of its repository,
//! `address#ref:path`, where the path is of a file or of a folder with one of the usual names.
//!
//! ```text
//! address ─ parse ─► Source ─ ls-remote ─► commit ─ fetch ─► <cache>/docker-compose/<commit>/   kept
//! ```
//! A commit is fetched once; its folder appears when it is whole. What a repository holds may lie about where it
//! leads: a file that is outside of the checkout, through `..` or links, is refused.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dray_spec::glob::clean_path;

use super::switch::{self, NoSwitch};

/// The variable that turns repositories off.
const ENABLED: &str = "COMPOSE_EXPERIMENTAL_GIT_REMOTE";

/// A repository, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// As it was written.
    pub written: String,
    /// The repository.
    pub address: String,
    /// A branch, a tag or a commit.
    pub reference: String,
    /// A file or a folder of it.
    pub path: String,
}

/// Why a repository's file cannot be had. The words are Docker Compose's where it has words for it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The user does not want any.
    #[error("git remote resource is disabled by \"COMPOSE_EXPERIMENTAL_GIT_REMOTE\"")]
    Disabled,
    /// Neither yes nor no.
    #[error(transparent)]
    Switch(#[from] NoSwitch),
    /// The address says what nobody understands.
    #[error("{written}: {problem}")]
    Address {
        /// As it was written.
        written: String,
        /// What is wrong.
        problem: String,
    },
    /// The repository cannot be reached.
    #[error("failed to access repository at {address}:\n {said}")]
    Access {
        /// The repository.
        address: String,
        /// What git says.
        said: String,
    },
    /// It has no such branch, tag or commit.
    #[error("repository does not contain ref {0}")]
    NoReference(String),
    /// A path that leads out of the repository.
    #[error("git subdirectory path traversal detected: {0}")]
    Outside(String),
    /// There is no Compose file there.
    #[error("{written}: no configuration file in the repository at {path:?}")]
    NoFile {
        /// As it was written.
        written: String,
        /// Where it was looked for.
        path: String,
    },
    /// git does not do what it should.
    #[error("git {operation} {address}: {said}")]
    Git {
        /// What was tried.
        operation: &'static str,
        /// The repository.
        address: String,
        /// What git says.
        said: String,
    },
    /// The system does not.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// This disk fetches nothing.
    #[error("{0}: repositories are not fetched here")]
    Unsupported(String),
}

impl Source {
    /// The repository that a path names; none if it is the path of a file.
    ///
    /// # Errors
    /// It is a repository's address, and wrong.
    pub fn parse(written: &str) -> Option<Result<Source, GitError>> {
        let (rest, fragment) = written.split_once('#').unwrap_or((written, ""));
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let address = match address.strip_prefix("github.com/") {
            Some(_) => format!("https://{address}"),
            None => address.to_owned(),
        };
        if !is_repository(&address) {
            return None;
        }
        let (reference, path) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut source = Source {
            written: written.to_owned(),
            address,
            reference: reference.to_owned(),
            path: path.to_owned(),
        };
        Some(source.ask(query).and_then(|()| source.check()).map(|()| source))
    }

    /// Takes what the query says.
    fn ask(&mut self, query: &str) -> Result<(), GitError> {
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            match name {
                "ref" => value.clone_into(&mut self.reference),
                "tag" => self.reference = format!("refs/tags/{value}"),
                "branch" => self.reference = format!("refs/heads/{value}"),
                "subdir" => value.clone_into(&mut self.path),
                _ => return Err(self.wrong(format!("unexpected query {name:?}"))),
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), GitError> {
        // An option in disguise would be carried out.
        if self.address.starts_with('-') || self.reference.starts_with('-') {
            return Err(self.wrong("invalid reference".into()));
        }
        let path = clean_path(&self.path);
        if path.starts_with('/') && !self.path.is_empty() {
            return Err(self.wrong(format!("git subdirectory must be relative, got: {}", self.path)));
        }
        if path == ".." || path.starts_with("../") {
            return Err(GitError::Outside(self.path.clone()));
        }
        Ok(())
    }

    fn wrong(&self, problem: String) -> GitError {
        GitError::Address { written: self.written.clone(), problem }
    }

    fn wanted(&self) -> &str {
        if self.reference.is_empty() { "HEAD" } else { &self.reference }
    }
}

/// Over HTTP only what ends in `.git` is a repository.
fn is_repository(address: &str) -> bool {
    match address.split_once("://") {
        Some(("http" | "https", rest)) => {
            rest.trim_end_matches('/').ends_with(".git") || address.starts_with("https://github.com/")
        }
        Some(("git" | "ssh", _)) => true,
        Some(_) => false,
        None => is_scp(address),
    }
}

/// `user@host:path`
fn is_scp(address: &str) -> bool {
    let Some((user, rest)) = address.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    word(user) && word(host) && !path.is_empty()
}

/// Brings a repository's commit here; gives its folder.
///
/// # Errors
/// [`GitError`].
pub fn checkout(source: &Source, environment: &BTreeMap<String, String>) -> Result<PathBuf, GitError> {
    let git = Git { source, environment };
    git.enabled()?;
    let commit = git.commit()?;
    let folder = git.cache()?.join(&commit);
    if !folder.is_dir() {
        git.fetch(&commit, &folder)?;
    }
    Ok(folder)
}

struct Git<'a> {
    source: &'a Source,
    environment: &'a BTreeMap<String, String>,
}

impl Git<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn enabled(&self) -> Result<(), GitError> {
        if switch::is_on(self.environment, ENABLED)? { Ok(()) } else { Err(GitError::Disabled) }
    }

    fn cache(&self) -> Result<PathBuf, GitError> {
        let home = || PathBuf::from(self.variable("HOME").unwrap_or("/root")).join(".cache");
        let cache = self.variable("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("docker-compose");
        std::fs::create_dir_all(&cache).map_err(io_error("mkdir", &cache))?;
        Ok(cache)
    }

    /// The commit that the reference stands for now.
    fn commit(&self) -> Result<String, GitError> {
        let wanted = self.source.wanted();
        if is_commit(wanted) {
            return Ok(wanted.to_owned());
        }
        let address = &self.source.address;
        let Output { status, stdout, stderr } =
            self.run(Path::new("."), &["ls-remote", "--exit-code", "--", address, wanted])?;
        match status.code() {
            Some(0) => {}
            Some(2) => return Err(GitError::NoReference(self.source.written.clone())),
            _ => {
                let said = String::from_utf8_lossy(&stderr).trim().to_owned();
                return Err(GitError::Access { address: address.clone(), said });
            }
        }
        named(&String::from_utf8_lossy(&stdout), wanted)
            .ok_or_else(|| GitError::NoReference(self.source.written.clone()))
    }

    fn fetch(&self, commit: &str, folder: &Path) -> Result<(), GitError> {
        let draft = folder.with_extension(format!("draft-{}", std::process::id()));
        let fetched = self.fetch_into(commit, &draft);
        let placed = fetched.and_then(|()| match std::fs::rename(&draft, folder) {
            // Somebody else has brought the same.
            Err(_) if folder.is_dir() => Ok(()),
            other => other.map_err(io_error("rename", &draft)),
        });
        let _ = std::fs::remove_dir_all(&draft);
        placed
    }

    fn fetch_into(&self, commit: &str, draft: &Path) -> Result<(), GitError> {
        let _ = std::fs::remove_dir_all(draft);
        std::fs::create_dir_all(draft).map_err(io_error("mkdir", draft))?;
        self.done("init", draft, &["init", "--quiet"])?;
        self.done("remote add", draft, &["remote", "add", "origin", &self.source.address])?;
        self.done("fetch", draft, &["fetch", "--quiet", "--depth=1", "origin", commit])?;
        self.done("checkout", draft, &["checkout", "--quiet", commit])
    }

    fn done(&self, operation: &'static str, folder: &Path, arguments: &[&str]) -> Result<(), GitError> {
        let output = self.run(folder, arguments)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(GitError::Git { operation, address: self.source.address.clone(), said })
    }

    /// Runs git, which asks nobody for passwords unless the user wants it to.
    fn run(&self, folder: &Path, arguments: &[&str]) -> Result<Output, GitError> {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(folder).stdin(std::process::Stdio::null());
        if self.variable("GIT_TERMINAL_PROMPT").is_none() {
            command.env("GIT_TERMINAL_PROMPT", "0");
        }
        if self.variable("GIT_SSH").is_none() && self.variable("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o ControlMaster=no -o BatchMode=yes");
        }
        command.output().map_err(io_error("run", Path::new("git")))
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The commit of the reference of exactly this name, as git looks names up: the server lists all that end so.
fn named(listed: &str, wanted: &str) -> Option<String> {
    let lines: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(commit, name)| (name, commit))
        .collect();
    let names = [
        wanted.to_owned(),
        format!("refs/{wanted}"),
        format!("refs/tags/{wanted}"),
        format!("refs/heads/{wanted}"),
    ];
    let commit = names.iter().find_map(|name| lines.get(name.as_str()))?;
    is_commit(commit).then(|| (*commit).to_owned())
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GitError + use<> {
    let path = path.display().to_string();
    move |source| GitError::Io { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_files() {
        for written in [
            "compose.yaml",
            "./github.com/a",
            "/x/y.git",
            "http://host/x",
            "https://host/file.yaml",
            "oci://host/x",
            "C:\\x",
        ] {
            assert!(Source::parse(written).is_none(), "{written}");
        }
        for (written, address, reference, path) in [
            ("https://host/a.git", "https://host/a.git", "", ""),
            ("https://host/a.git#main:sub", "https://host/a.git", "main", "sub"),
            ("git://host/a#:x/y.yaml", "git://host/a", "", "x/y.yaml"),
            ("git@host:a/b.git#v1", "git@host:a/b.git", "v1", ""),
            ("ssh://git@host/a", "ssh://git@host/a", "", ""),
            ("github.com/a/b#v1", "https://github.com/a/b", "v1", ""),
            ("https://host/a.git?branch=x&subdir=y", "https://host/a.git", "refs/heads/x", "y"),
        ] {
            let source = Source::parse(written).expect(written).expect(written);
            assert_eq!(
                (&*source.address, &*source.reference, &*source.path),
                (address, reference, path),
                "{written}"
            );
        }
    }

    #[test]
    fn addresses_that_would_do_harm_are_refused() {
        let error = |written: &str| Source::parse(written).expect(written).expect_err(written).to_string();
        assert_eq!(error("git://h/a#:../x"), "git subdirectory path traversal detected: ../x");
        assert_eq!(error("git://h/a#:x/../../y"), "git subdirectory path traversal detected: x/../../y");
        assert_eq!(error("git://h/a#:/etc"), "git://h/a#:/etc: git subdirectory must be relative, got: /etc");
        assert_eq!(error("git://h/a#--upload-pack=x"), "git://h/a#--upload-pack=x: invalid reference");
        assert_eq!(error("git://h/a?what=x"), "git://h/a?what=x: unexpected query \"what\"");
    }

    #[test]
    fn a_branch_is_not_taken_for_another_that_ends_so() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let listed = format!("{one}\trefs/heads/feature/main\n{two}\trefs/heads/main\n");
        assert_eq!(named(&listed, "main").as_deref(), Some(&*two));
        assert_eq!(named(&listed, "refs/heads/main").as_deref(), Some(&*two));
        assert_eq!(named(&listed, "other"), None);
    }
}
