//! Running other programs: cargo above all.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap_or(root)
}

/// A cargo command in the workspace. It does not see what the cargo that runs this program says of this package:
/// build scripts that look at it (ring's) would make everything above them anew each time.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    let of_this_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_this_package)) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end; an error names it when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}");
    let status = command.status().with_context(|| line.clone())?;
    ensure!(status.success(), "{line} ended with {status}");
    Ok(())
}

/// Builds the `dray` binary and gives its path.
pub fn build_dray(release: bool) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--package", "dray", "--bin", "dray"];
    if release {
        arguments.push("--release");
    }
    run(&mut cargo(&arguments))?;
    let profile = if release { "release" } else { "debug" };
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let path = target.join(triple).join(profile).join("dray");
    ensure!(path.exists(), "{} is not there after the build", path.display());
    Ok(path)
}
