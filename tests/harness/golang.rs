//! Programs in Go that the tests measure Dray with, built through the Go module proxy and kept between runs.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::cache_dir;

/// What the programs need at least.
const NEEDED: (u32, u32) = (1, 24);
/// The toolchain that is fetched where the machine's is older, as a module like any other.
const TOOLCHAIN: &str = "v0.0.1-go1.24.11";

/// Builds the program of a module at a version (`module@version`), once, and gives its path.
pub fn program(module: &str) -> PathBuf {
    let (path, version) = module.split_once('@').expect("module@version");
    let name = path.rsplit('/').next().expect("a name");
    let folder = cache_dir().join("go").join(version);
    let built = folder.join(name);
    if !built.exists() {
        let partial = folder.join(format!("partial-{}", std::process::id()));
        let go = toolchain();
        let mut command = Command::new(&go);
        command
            .args(["install", module])
            .env("GOBIN", &partial)
            .env("GOFLAGS", "-modcacherw")
            .env("CGO_ENABLED", "0");
        run(&mut command);
        fs::rename(partial.join(name), &built).expect("a program by the module's last name");
        let _ = fs::remove_dir_all(partial);
    }
    built
}

/// Builds a package of a module (`module@version`) in the module's own folder, once, and gives the program's path
/// in the cache. For modules whose `go.mod` replaces others: they cannot be installed by name.
pub fn program_in_place(module: &str, package: &str, name: &str) -> PathBuf {
    linked_in_place(module, package, name, "-s -w")
}

/// The same, with the linker's flags: what tells its version has to be told it.
pub fn linked_in_place(module: &str, package: &str, name: &str, flags: &str) -> PathBuf {
    let built = cache_dir().join(name);
    let lock = File::create(cache_dir().join(format!("{name}.lock"))).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    if !built.exists() {
        let go = toolchain();
        let found: serde_json::Value = serde_json::from_str(&run(Command::new(&go)
            .args(["mod", "download", "-json", module])
            .current_dir("/")))
        .expect("JSON of go mod download");
        let draft = built.with_extension("draft");
        let mut command = Command::new(&go);
        command
            .args(["build", "-mod=readonly", "-trimpath", &format!("-ldflags={flags}"), "-o"])
            .arg(&draft)
            .arg(package)
            .env("CGO_ENABLED", "0")
            .current_dir(found["Dir"].as_str().expect("the module's folder"));
        run(&mut command);
        fs::rename(draft, &built).expect("a program");
    }
    built
}

/// Builds the program of a folder of this repository, once for what it holds, and gives its path in the cache.
pub fn program_of(folder: &Path, name: &str, tags: &str) -> PathBuf {
    let mut hash = Sha256::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("the program's folder").flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().for_each(|file| hash.update(fs::read(file).expect("a file of the program")));
    let built = cache_dir().join(format!("{name}-{}", &hex::encode(hash.finalize())[..16]));
    let lock = File::create(cache_dir().join(format!("{name}.lock"))).expect("a lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    if !built.exists() {
        let draft = built.with_extension("draft");
        let mut command = Command::new(toolchain());
        command
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-tags", tags, "-o"])
            .arg(&draft)
            .arg(".")
            .env("GOFLAGS", "-modcacherw")
            .env("CGO_ENABLED", "0")
            .current_dir(folder);
        run(&mut command);
        fs::rename(draft, &built).expect("a program");
    }
    built
}

/// A `go` that is new enough.
fn toolchain() -> PathBuf {
    let here = ["/usr/local/go/bin/go", "go"].into_iter().find(|go| version(go.as_ref()).is_some());
    let here = PathBuf::from(here.expect("Go: `cargo xtask test` installs it"));
    if version(&here).is_some_and(|version| version >= NEEDED) {
        return here;
    }
    let root = cache_dir().join("go").join(TOOLCHAIN);
    let go = root.join("bin/go");
    if !go.exists() {
        fetch_toolchain(&here, &root);
    }
    go
}

fn fetch_toolchain(go: &Path, root: &Path) {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let module = format!("golang.org/toolchain@{TOOLCHAIN}.linux-{arch}");
    let text =
        run(Command::new(go).args(["mod", "download", "-json", &module]).env("GOFLAGS", "-modcacherw"));
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON of go mod download");
    let source = PathBuf::from(answer["Dir"].as_str().expect("a folder"));
    let partial = root.with_extension(format!("partial-{}", std::process::id()));
    fs::create_dir_all(root.parent().expect("a folder")).expect("cache folder");
    run(Command::new("cp").arg("-r").arg(&source).arg(&partial));
    // Modules have no executable files.
    for folder in ["bin", &format!("pkg/tool/linux_{arch}")] {
        for file in fs::read_dir(partial.join(folder)).expect("the toolchain's programs").flatten() {
            let _ = fs::set_permissions(file.path(), fs::Permissions::from_mode(0o755));
        }
    }
    fs::rename(&partial, root).expect("the toolchain in its place");
}

fn version(go: &Path) -> Option<(u32, u32)> {
    let output = Command::new(go).arg("version").env("GOTOOLCHAIN", "local").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor = number.split(|letter: char| !letter.is_ascii_digit()).next()?;
    minor.parse().ok().map(|minor| (1, minor))
}

fn run(command: &mut Command) -> String {
    let line = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
