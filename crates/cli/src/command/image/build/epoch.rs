//! The time that a reproducible build gives to all that is new: `SOURCE_DATE_EPOCH` of this environment, or that of
//! the context's last commit.

use std::ffi::OsStr;
use std::process::Command;

use crate::command_error::Error;

/// The variable, and the build argument.
pub(super) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The time for a build of this context, in seconds since 1970; none if it shall not be reproducible.
///
/// # Errors
/// The build shall be reproducible, but there is no commit.
pub(super) fn of_build(context: &OsStr, reproducible: bool) -> Result<Option<String>, Error> {
    match std::env::var(SOURCE_DATE_EPOCH) {
        Ok(text) if !text.is_empty() => Ok(Some(text)),
        _ if reproducible => of_commit(context).map(Some),
        _ => Ok(None),
    }
}

fn of_commit(context: &OsStr) -> Result<String, Error> {
    let refused = |why: &str| {
        let text = format!(
            "--reproducible takes the time of the context's last commit: {why}; set {SOURCE_DATE_EPOCH} instead"
        );
        Error::Refused(text)
    };
    let mut git = Command::new("git");
    git.arg("-C").arg(context).args(["log", "-1", "--format=%ct"]);
    let output = git.output().map_err(|error| refused(&format!("git: {error}")))?;
    let time = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.success() && !time.is_empty() {
        true => Ok(time),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(refused(said.lines().next().unwrap_or("there is none")))
        }
    }
}
