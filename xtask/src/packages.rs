//! Debian packages that the tests, the bench and the quickstart need; installed when missing, and no service of
//! theirs is started.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command::run;

/// What `cargo xtask test` needs beyond Rust.
pub const TEST: &[&str] = &[
    "apache2-utils",   // htpasswd, for the registry with users
    "btrfs-progs",     // volumes on disks of each kind: btrfs,
    "busybox-static",  // the small test image
    "ca-certificates", // HTTPS to package registries
    "curl",            // an HTTP client that is not ours
    "docker-registry", // the real registry peer
    "docker.io",       // dockerd, the parity peer; its CLI where no other is
    "dropbear-bin",    // a server of SSH, without a service
    "e2fsprogs",       // … ext4,
    "git",             // build contexts that are repositories
    "iproute2",        // hosts on a test network
    "iptables",        // a host with Docker's firewall rules
    "mmdebstrap",      // the Debian test image
    "nftables",        // looking at rule sets with eyes that are not ours
    "openssh-client",  // daemons behind SSH
    "openssl",         // certificates for registries with TLS
    "postgresql",      // the metadata of several registry servers
    "procps",
    "python3-venv",     // moto, a server of S3 and Google Cloud Storage from PyPI
    "qemu-user-static", // programs of other platforms
    "skopeo",           // copies between registries by somebody else
    "xfsprogs",         // … and xfs
];

/// What `cargo xtask vm` needs beyond the tests' packages: an emulator. The kernel is fetched and not installed.
pub const VM: &[&str] = &["qemu-system-x86"];

/// What `cargo xtask quickstart` needs beyond Rust: a base image where no registry gives one.
pub const QUICKSTART: &[&str] = &["ca-certificates", "mmdebstrap"];

/// What `cargo xtask bench` needs beyond the tests' packages.
pub const BENCH: &[&str] = &[
    "containernetworking-plugins", // networks of Podman
    "iperf3",                      // throughput of a port
    "nginx-light",                 // what the registry's large blobs are held against
    "pigz",                        // with which Docker decompresses
    "podman",                      // a peer without a daemon
];

/// What `cargo xtask fuzz` needs beyond Rust: a compiler for libFuzzer.
pub const FUZZ: &[&str] = &["g++"];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs Go where there is none, for suites and peers that are written in it. An old one is enough: it fetches a
/// newer toolchain as a module.
pub fn ensure_go() -> Result<()> {
    let there = ["/usr/local/go/bin/go", "go"].iter().any(|go| {
        Command::new(go).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    if there { Ok(()) } else { ensure_installed(&["golang-go"]) }
}

/// Installs npm where there is none, and Node.js with it: Azurite, an Azure Blob Storage, comes from there.
pub fn ensure_npm() -> Result<()> {
    let there = Command::new("npm").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok() { Ok(()) } else { ensure_installed(&["npm"]) }
}

/// Installs those of `packages` that are missing.
pub fn ensure_installed(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing Debian packages: {}", missing.join(" "));
    let policy = NoServices::set()?;
    run(apt().args(["update", "-qq"])).context("apt-get update")?;
    run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing))?;
    drop(policy);
    for package in missing {
        ensure!(installed(package), "{package} is not installed, though apt-get said so");
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    command
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

/// While it lives, Debian's maintainer scripts start no service (a dockerd would change the firewall).
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn set() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).context(POLICY)?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
