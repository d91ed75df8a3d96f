//! Sources of `ADD` that are git repositories: `git` is started, as BuildKit does.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Cancel;
use crate::error::CopyError;
use crate::glob::clean_path;

/// Clones the repository that `url` (`address#ref:directory`) names into `dir`; gives the path of what is to be
/// copied below it.
pub(crate) fn clone(url: &str, dir: &Path, keep_git_dir: bool, cancel: &Cancel) -> Result<String, CopyError> {
    let (address, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let failed = |message: String| CopyError::Git { url: url.to_owned(), message };
    // An option in disguise would be carried out.
    if address.starts_with('-') || reference.starts_with('-') {
        return Err(failed("invalid reference".to_owned()));
    }
    let git = |args: &[&str]| {
        run(dir, args, cancel).map_err(|error| match error {
            Failure::Cancelled => CopyError::Cancelled,
            Failure::Message(message) => failed(message),
        })
    };
    let checkout = dir.join("checkout");
    git(&["init", "--quiet", "checkout"])?;
    let inside = |args: &[&str]| {
        let mut all = vec!["-C", "checkout"];
        all.extend_from_slice(args);
        git(&all)
    };
    inside(&["remote", "add", "origin", address])?;
    let wanted = if reference.is_empty() { "HEAD" } else { reference };
    if inside(&["fetch", "--quiet", "--depth=1", "origin", wanted]).is_err() {
        // Not every server gives a commit by its id.
        inside(&["fetch", "--quiet", "--tags", "origin"])?;
        inside(&["checkout", "--quiet", wanted])?;
    } else {
        inside(&["checkout", "--quiet", "FETCH_HEAD"])?;
    }
    inside(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
    if !keep_git_dir {
        std::fs::remove_dir_all(checkout.join(".git")).map_err(|error| failed(error.to_string()))?;
    }
    let subdir = clean_path(&format!("/{subdir}"));
    Ok(format!("checkout{}", subdir.trim_end_matches('/')))
}

enum Failure {
    Cancelled,
    Message(String),
}

fn run(dir: &Path, args: &[&str], cancel: &Cancel) -> Result<(), Failure> {
    let spawned = Command::new("git")
        .args(args)
        .current_dir(dir)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::Message("exec: \"git\": executable file not found in $PATH".to_owned())
        }
        _ => Failure::Message(error.to_string()),
    })?;
    let mut stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = &mut stderr {
            let _ = io::Read::read_to_string(stderr, &mut text);
        }
        text
    });
    let status = loop {
        match child.try_wait().map_err(|error| Failure::Message(error.to_string()))? {
            Some(status) => break status,
            None if cancel.is_cancelled() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::Cancelled);
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let message = reader.join().unwrap_or_default();
    if status.success() { Ok(()) } else { Err(Failure::Message(message.trim().to_owned())) }
}
