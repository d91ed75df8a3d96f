//! Test images, made once from Debian's packages and kept in the target folder: `busybox:latest` from
//! busybox-static, others by `examples/base-image.sh`, as a person makes them where no registry answers.
//!
//! Each is a docker-archive of one layer, written here by hand so that no image tool, ours or another's, stands
//! between the tests and their input.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{cache_dir, client, golang};

/// The archive of `busybox:latest`.
pub fn busybox() -> PathBuf {
    make("busybox.tar", |out| {
        let layer = busybox_layer("busybox.layer", Path::new("/bin/busybox"))?;
        archive(out, &layer, "busybox:latest", &["sh"])
    })
}

/// The architecture of [`foreign_busybox`]: one that this machine does not have.
pub const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
/// This machine's architecture.
pub const OWN: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// The archive of `busybox:foreign`, the same of another architecture.
pub fn foreign_busybox() -> PathBuf {
    make("busybox-foreign.tar", |out| {
        let folder = cache_dir().join("busybox-foreign");
        let binary = foreign_package(&folder, "busybox-static")?.join("bin/busybox");
        let layer = busybox_layer("busybox-foreign.layer", &binary)?;
        let made = archive_for(out, &layer, FOREIGN, "busybox:foreign", &["sh"]);
        let _ = fs::remove_dir_all(&folder);
        made
    })
}

/// The archive of `debian:bookworm-slim`: a minimal Debian with apt, of the release that the host runs.
pub fn debian() -> PathBuf {
    base_image("debian", "debian:bookworm-slim", "bash")
}

/// The archive of `node:18-bookworm`: Node.js and npm.
pub fn node() -> PathBuf {
    base_image("node", "node:18-bookworm", "node")
}

/// The archive of `node:18-bookworm-slim`: Node.js alone.
pub fn node_slim() -> PathBuf {
    base_image("node-slim", "node:18-bookworm-slim", "node")
}

/// The archive of `python:3.11-slim-bookworm`: Python with venv.
pub fn python() -> PathBuf {
    base_image("python", "python:3.11-slim-bookworm", "python3")
}

fn base_image(name: &str, tag: &str, cmd: &str) -> PathBuf {
    make(&format!("{name}.tar"), |out| {
        let layer = out.with_extension("layer");
        let made = base_layer(name, &layer).and_then(|()| archive(out, &layer, tag, &[cmd]));
        let _ = fs::remove_file(&layer);
        made
    })
}

/// A folder with the files of Debian's ufw and firewalld, and of what they need that is not installed: downloaded and
/// unpacked, so that no script of theirs runs and nothing of them is on the host.
pub fn firewalls() -> PathBuf {
    make("firewalls", |root| {
        let folder = root.with_extension("packages");
        fs::create_dir_all(folder.join("partial"))?;
        let cache = format!("Dir::Cache::archives={}", folder.display());
        let apt = |words: &[&str]| {
            let mut apt = Command::new("apt-get");
            apt.args(["-qq", "-o", &cache, "-o", "APT::Sandbox::User=root"]).args(words);
            client::finish_within(apt, b"", FETCH_LIMIT)
        };
        let download = ["install", "--download-only", "--no-install-recommends", "-y", "--reinstall"];
        let download = || apt(&[&download[..], &["ufw", "firewalld"]].concat());
        // A machine whose lists are old, or not there.
        if download().code != 0 {
            apt(&["update"]).expect_success();
            download().expect_success();
        }
        for package in fs::read_dir(&folder)?.flatten().map(|entry| entry.path()) {
            if package.extension().is_some_and(|extension| extension == "deb") {
                let status = Command::new("dpkg-deb").arg("-x").arg(&package).arg(root).status()?;
                ensure!(status.success(), "dpkg-deb of {} ended with {status}", package.display());
            }
        }
        Ok(fs::remove_dir_all(&folder)?)
    })
}

/// How long packages may take to come.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// Docker's buildx, of the version that the Go module proxy gives, built once; as a program and as a plugin of
/// Docker's CLI.
pub fn buildx() -> PathBuf {
    const VERSION: &str = "v0.29.1";
    let module = format!("github.com/docker/buildx@{VERSION}");
    // Compose asks for it.
    let flags = format!("-s -w -X github.com/docker/buildx/version.Version={VERSION}");
    golang::linked_in_place(&module, "./cmd/buildx", &format!("docker-buildx-{VERSION}"), &flags)
}

/// BuildKit's own client, built once.
pub fn buildctl() -> PathBuf {
    golang::program_in_place("github.com/moby/buildkit@v0.25.1", "./cmd/buildctl", "buildctl")
}

/// Makes a file of the cache once, however many test processes ask for it at the same time.
pub fn make(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> PathBuf {
    let path = cache_dir().join(name);
    let lock = File::create(cache_dir().join(format!("{name}.lock"))).expect("fixture lock");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("fixture lock");
    if !path.exists() {
        let draft = cache_dir().join(format!("{name}.draft"));
        build(&draft).unwrap_or_else(|error| panic!("making {name}: {error:#}"));
        fs::rename(&draft, &path).expect("fixture");
    }
    path
}

/// A package of another architecture, unpacked below `folder`. apt has folders of its own for it: the host knows
/// nothing of that architecture afterwards.
fn foreign_package(folder: &Path, package: &str) -> Result<PathBuf> {
    let (lists, archives) = (folder.join("lists"), folder.join("cache/archives"));
    for path in [&lists, &archives] {
        fs::create_dir_all(path.join("partial"))?;
    }
    let sources = folder.join("sources");
    fs::create_dir_all(&sources)?;
    for file in debian_sources()? {
        fs::copy(&file, sources.join(file.file_name().context("a file")?))?;
    }
    let options = [
        format!("APT::Architecture={FOREIGN}"),
        format!("APT::Architectures={FOREIGN}"),
        "APT::Sandbox::User=root".to_owned(),
        format!("Dir::State::Lists={}", lists.display()),
        "Dir::State::status=/dev/null".to_owned(),
        format!("Dir::Cache={}", folder.join("cache").display()),
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", sources.display()),
        "Acquire::Languages=none".to_owned(),
        "Acquire::http::Pipeline-Depth=0".to_owned(),
        "Acquire::Retries=3".to_owned(),
    ];
    for words in [&["update", "-qq"][..], &["download", "-qq", package][..]] {
        let mut apt = Command::new("apt-get");
        apt.args(options.iter().flat_map(|option| ["-o", option])).args(words).current_dir(folder);
        let status = apt.status().context("apt-get")?;
        ensure!(status.success(), "apt-get {} ended with {status}", words.join(" "));
    }
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let found = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).find(is_package);
    let root = folder.join("root");
    let status =
        Command::new("dpkg-deb").arg("-x").arg(found.context("no package came")?).arg(&root).status()?;
    ensure!(status.success(), "dpkg-deb ended with {status}");
    Ok(root)
}

/// The host's own apt sources of Debian proper (those signed by Debian's archive keys).
fn debian_sources() -> Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.retain(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let classic = file.ends_with("debian.sources") || file.ends_with("sources.list");
        !text.is_empty() && (classic || text.contains("debian-archive-keyring"))
    });
    ensure!(!files.is_empty(), "no apt sources of Debian under /etc/apt");
    Ok(files)
}

fn busybox_layer(name: &str, binary: &Path) -> Result<PathBuf> {
    let path = cache_dir().join(name);
    let mut tar = tar::Builder::new(File::create(&path)?);
    for folder in
        ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var", "var/www"]
    {
        let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
        append(&mut tar, folder, tar::EntryType::Directory, mode, b"", None)?;
    }
    let binary = fs::read(binary).context("busybox-static is installed by `cargo xtask test`")?;
    append(&mut tar, "bin/busybox", tar::EntryType::Regular, 0o755, &binary, None)?;
    let applets = Command::new("/bin/busybox").arg("--list").output()?.stdout;
    for applet in String::from_utf8(applets)?.lines().filter(|applet| *applet != "busybox") {
        append(&mut tar, &format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, b"", Some("busybox"))?;
    }
    append(&mut tar, "usr/bin/env", tar::EntryType::Symlink, 0o777, b"", Some("../../bin/busybox"))?;
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    append(&mut tar, "etc/passwd", tar::EntryType::Regular, 0o644, passwd, None)?;
    let group = b"root:x:0:\nwww-data:x:33:\nstaff:x:50:\nnogroup:x:65534:\n";
    append(&mut tar, "etc/group", tar::EntryType::Regular, 0o644, group, None)?;
    tar.into_inner()?.flush()?;
    Ok(path)
}

fn append(
    tar: &mut tar::Builder<File>,
    name: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
    link: Option<&str>,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(bytes.len() as u64);
    match link {
        Some(link) => tar.append_link(&mut header, name, link)?,
        None => tar.append_data(&mut header, name, bytes)?,
    }
    Ok(())
}

fn base_layer(name: &str, layer: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/base-image.sh");
    let status = Command::new(&script)
        .arg(name)
        .stdout(File::create(layer)?)
        .status()
        .with_context(|| script.display().to_string())?;
    ensure!(status.success(), "{} {name} ended with {status}", script.display());
    Ok(())
}

fn archive(out: &Path, layer: &Path, tag: &str, cmd: &[&str]) -> Result<()> {
    archive_for(out, layer, OWN, tag, cmd)
}

fn archive_for(out: &Path, layer: &Path, architecture: &str, tag: &str, cmd: &[&str]) -> Result<()> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(layer)?, &mut HashWriter(&mut hasher))?;
    let diff = hex::encode(hasher.finalize());
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let config = serde_json::to_vec(&json!({
        "architecture": architecture,
        "os": "linux",
        "created": "2023-11-14T22:13:20Z",
        "config": { "Env": [path], "Cmd": cmd },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff}")] },
        "history": [{ "created": "2023-11-14T22:13:20Z", "created_by": format!("ADD rootfs of {tag} in /") }],
    }))?;
    let id = hex::encode(Sha256::digest(&config));
    let manifest = serde_json::to_vec(&json!([{
        "Config": format!("{id}.json"), "RepoTags": [tag], "Layers": [format!("{diff}/layer.tar")],
    }]))?;
    let mut tar = tar::Builder::new(File::create(out)?);
    append(&mut tar, &format!("{id}.json"), tar::EntryType::Regular, 0o644, &config, None)?;
    tar.append_file(format!("{diff}/layer.tar"), &mut File::open(layer)?)?;
    append(&mut tar, "manifest.json", tar::EntryType::Regular, 0o644, &manifest, None)?;
    tar.into_inner()?.sync_all()?;
    Ok(())
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
