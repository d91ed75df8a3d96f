//! Where a context's files come from: the repository around it, its commit and its origin, as buildx tells a build of them
//! (`vcs:source`, `vcs:revision`, `vcs:localdir:context`).
//!
//! Git's own files are read, since starting `git` takes longer than a build that is all cached. Of the configuration only
//! what is in the repository itself is looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dray_bake::target::change::boolean;

/// The longest chain of references that is followed.
const MAX_LINKS: usize = 5;

/// What is known of a context that is a folder; nothing of any other, or if the user wants none of it told.
pub(super) fn of_context(context: &Path, dockerfile: &str) -> BTreeMap<String, String> {
    let switched_off = std::env::var("BUILDX_GIT_INFO").is_ok_and(|text| boolean(&text) == Some(false));
    let folder = std::fs::canonicalize(context).ok().filter(|folder| folder.is_dir());
    let Some(folder) = folder.filter(|_| !switched_off) else { return BTreeMap::new() };
    let Some(repository) = Repository::around(&folder) else { return BTreeMap::new() };
    let mut told = BTreeMap::new();
    let mut tell =
        |name: &str, value: Option<String>| told.extend(value.map(|value| (name.to_owned(), value)));
    tell("revision", repository.revision());
    tell("source", repository.origin());
    tell("localdir:context", repository.place(&folder));
    let file = Some(dockerfile).filter(|file| !file.is_empty() && *file != "-").map(Path::new);
    let beside =
        file.map_or(Some(folder.clone()), |file| std::fs::canonicalize(file.parent()?.join(".")).ok());
    tell("localdir:dockerfile", beside.and_then(|folder| repository.place(&folder)));
    told
}

/// The origin of the repository around the working directory.
///
/// # Errors
/// Why there is none.
pub(in crate::command) fn origin() -> Result<String, String> {
    let here = std::env::current_dir().and_then(std::fs::canonicalize).map_err(|error| error.to_string())?;
    let repository = Repository::around(&here).ok_or("could not find git repository for local filter")?;
    let missing =
        "could not get remote URL for local filter: no remote URL found for either origin or upstream";
    repository.origin().ok_or_else(|| missing.to_owned())
}

/// A repository with a working tree.
struct Repository {
    /// The top of the working tree.
    root: PathBuf,
    /// What belongs to this working tree.
    own: PathBuf,
    /// What all working trees share.
    common: PathBuf,
}

impl Repository {
    fn around(folder: &Path) -> Option<Repository> {
        let root = folder.ancestors().find(|folder| folder.join(".git").exists())?;
        let own = match std::fs::read_to_string(root.join(".git")) {
            // Of a further working tree, or a submodule.
            Ok(text) => root.join(text.strip_prefix("gitdir:")?.trim()),
            Err(_) => root.join(".git"),
        };
        let common = match std::fs::read_to_string(own.join("commondir")) {
            Ok(text) => own.join(text.trim()),
            Err(_) => own.clone(),
        };
        Some(Repository { root: root.to_owned(), own, common })
    }

    fn place(&self, folder: &Path) -> Option<String> {
        let inside = folder.strip_prefix(&self.root).ok()?;
        let text = inside.to_str()?;
        Some(if text.is_empty() { ".".to_owned() } else { text.to_owned() })
    }

    /// The commit that is checked out; with a mark if the user wants to know of changes and there are some.
    fn revision(&self) -> Option<String> {
        let mut commit = self.commit()?;
        let wants_changes =
            std::env::var("BUILDX_GIT_CHECK_DIRTY").is_ok_and(|text| boolean(&text) == Some(true));
        if wants_changes && self.is_changed() {
            commit.push_str("-dirty");
        }
        Some(commit)
    }

    fn commit(&self) -> Option<String> {
        let mut text = std::fs::read_to_string(self.own.join("HEAD")).ok()?;
        for _ in 0..MAX_LINKS {
            let Some(name) = text.trim().strip_prefix("ref:") else {
                let commit = text.trim().to_owned();
                let is_commit =
                    matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
                return Some(commit).filter(|_| is_commit);
            };
            let name = name.trim().to_owned();
            if !name.starts_with("refs/") || name.split('/').any(|part| part == "..") {
                return None;
            }
            let files = [&self.own, &self.common].into_iter();
            let loose = files.filter_map(|folder| std::fs::read_to_string(folder.join(&name)).ok()).next();
            text = loose.or_else(|| self.packed(&name))?;
        }
        None
    }

    fn packed(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.common.join("packed-refs")).ok()?;
        text.lines().find_map(|line| Some(line.strip_suffix(name)?.strip_suffix(' ')?.to_owned()))
    }

    fn is_changed(&self) -> bool {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(&self.root).args(["status", "--porcelain", "--ignored"]);
        git.output().is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
    }

    /// Where it was cloned from: what the branch follows, else `origin`, else `upstream`.
    fn origin(&self) -> Option<String> {
        let config = std::fs::read_to_string(self.common.join("config")).ok()?;
        let head = std::fs::read_to_string(self.own.join("HEAD")).ok().unwrap_or_default();
        let branch = head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned);
        let followed = branch.and_then(|branch| setting(&config, "branch", &branch, "remote"));
        let names = followed.into_iter().chain(["origin".to_owned(), "upstream".to_owned()]);
        let url = names.filter_map(|name| setting(&config, "remote", &name, "url")).next()?;
        Some(without_credentials(&url))
    }
}

/// A value of a section with a name, `[section "name"]`; the last one counts.
fn setting(config: &str, section: &str, name: &str, key: &str) -> Option<String> {
    let mut inside = false;
    let mut found = None;
    for line in config.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix('[') {
            let title = title.split(']').next().unwrap_or_default();
            let (kind, of) = title.split_once(' ').unwrap_or((title, ""));
            inside = kind.eq_ignore_ascii_case(section) && of.trim().trim_matches('"') == name;
        } else if let Some((left, right)) = line.split_once('=').filter(|_| inside)
            && left.trim().eq_ignore_ascii_case(key)
        {
            found = Some(right.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty());
        }
    }
    found
}

fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) if scheme.starts_with("http") => format!("{scheme}://{host}{}", &rest[end..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, args: &[&str]) -> String {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(folder).args(args);
        let output = git.output().expect("git");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn a_context_tells_of_its_repository() {
        let dir = tempfile::tempdir().expect("a folder");
        let top = dir.path().canonicalize().expect("a path");
        std::fs::create_dir_all(top.join("app/docker")).expect("folders");
        std::fs::write(top.join("app/docker/Dockerfile"), "FROM scratch\n").expect("a file");
        assert!(of_context(&top, "").is_empty());
        git(&top, &["init", "-q", "-b", "main"]);
        git(&top, &["add", "."]);
        git(&top, &["commit", "-qm", "x"]);
        let commit = git(&top, &["rev-parse", "HEAD"]);
        let told = of_context(&top, "");
        assert_eq!(told.get("revision"), Some(&commit));
        assert_eq!((told.get("source"), told["localdir:context"].as_str()), (None, "."));
        git(&top, &["remote", "add", "upstream", "git@example.org:up.git"]);
        git(&top, &["remote", "add", "origin", "https://user:pw@example.org/app.git"]);
        // Packed, it is found too; and from a further working tree.
        git(&top, &["pack-refs", "--all"]);
        let file = top.join("app/docker/Dockerfile").display().to_string();
        let told = of_context(&top.join("app"), &file);
        assert_eq!(told["revision"], commit);
        assert_eq!(told["source"], "https://example.org/app.git");
        assert_eq!(
            (told["localdir:context"].as_str(), told["localdir:dockerfile"].as_str()),
            ("app", "app/docker")
        );
        git(&top, &["worktree", "add", "-q", "tree", "-b", "other"]);
        let told = of_context(&top.join("tree/app"), "");
        assert_eq!((told["revision"].as_str(), told["localdir:context"].as_str()), (commit.as_str(), "app"));
        git(&top, &["config", "branch.main.remote", "upstream"]);
        assert_eq!(of_context(&top, "")["source"], "git@example.org:up.git");
    }
}
