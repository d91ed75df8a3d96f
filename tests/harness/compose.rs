//! Docker Compose itself, as the reference: built once from the Go module proxy and kept in the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache_dir;

/// The version that is built.
pub const VERSION: &str = "v2.40.3";

/// Docker Compose, if it has been built or `DRAY_COMPOSE_REFERENCE` names one.
pub fn reference_if_built() -> Option<PathBuf> {
    let named = std::env::var_os("DRAY_COMPOSE_REFERENCE").map(PathBuf::from);
    named.or_else(|| Some(path())).filter(|p| p.exists())
}

/// Docker Compose, built if it is not there; none where there is no Go to build it with.
pub fn reference() -> Option<PathBuf> {
    if let Some(found) = reference_if_built() {
        return Some(found);
    }
    let go = ["/usr/local/go/bin/go", "/usr/bin/go"].into_iter().find(|p| Path::new(p).exists())?;
    let lock = File::create(cache_dir().join("docker-compose.lock")).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    if !path().exists() {
        build(go);
    }
    Some(path())
}

fn path() -> PathBuf {
    cache_dir().join(format!("docker-compose-{VERSION}"))
}

/// The module's own folder is read-only and has its own `go.mod`, so it is built where it lies.
fn build(go: &str) {
    let module = format!("github.com/docker/compose/v2@{VERSION}");
    let found = Command::new(go).args(["mod", "download", "-json", &module]).output().expect("go");
    assert!(found.status.success(), "go mod download {module}: {}", String::from_utf8_lossy(&found.stderr));
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).expect("go's JSON");
    let draft = path().with_extension("draft");
    let built = Command::new(go)
        .args(["build", "-trimpath", "-o"])
        .arg(&draft)
        .arg("./cmd")
        .current_dir(found["Dir"].as_str().expect("the module's folder"))
        .output()
        .expect("go");
    assert!(built.status.success(), "go build {module}: {}", String::from_utf8_lossy(&built.stderr));
    fs::rename(draft, path()).expect("docker-compose");
}
