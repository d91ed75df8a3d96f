//! Daemons behind SSH: `-H ssh://…` with the real `ssh` and a real server (dropbear, in a mount namespace of its own).

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use dray_harness::client::{Finished, eventually, finish};
use dray_harness::{Daemon, docker_binary, dray_binary};

/// A machine that lets us in by a key. There are `dray` and the daemon there, or not.
struct There {
    folder: PathBuf,
    server: Child,
}

impl Drop for There {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl There {
    fn new(daemon: &Daemon, programs: &[(&str, PathBuf)]) -> Self {
        let folder = daemon.scratch("ssh");
        let at = |name: &str| folder.join(name);
        for name in ["bin", "home", "home/.ssh", "near"] {
            fs::create_dir(at(name)).expect("a folder");
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).expect("its mode");
        }
        // Nothing else is found there.
        let shell = [("sh", PathBuf::from("/bin/sh"))];
        for (name, program) in programs.iter().chain(&shell) {
            std::os::unix::fs::symlink(program, at("bin").join(name)).expect("a link");
        }
        run(Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(at("host-key")));
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at("key")));
        fs::copy(at("key.pub"), at("home/.ssh/authorized_keys")).expect("the key is let in");
        let shell = at("shell");
        script(
            &shell,
            &format!(
                "export PATH={} DOCKER_HOST={} DRAY_RUN_ROOT=/nowhere\nexec /bin/sh \"$@\"",
                at("bin").display(),
                daemon.host()
            ),
        );
        let (home, shell) = (at("home"), shell.display().to_string());
        fs::write(at("passwd"), format!("root:x:0:0::{}:{shell}\n", home.display())).expect("a file");
        fs::write(at("shells"), format!("{shell}\n")).expect("a file");
        let here = folder.display();
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let serve = format!(
            "mount --bind {here}/passwd /etc/passwd; mount --bind {here}/shells /etc/shells
             exec dropbear -F -E -s -p 127.0.0.1:{port} -r {here}/host-key -P {here}/pid 2>{here}/log"
        );
        let server = Command::new("unshare").args(["--mount", "sh", "-ec", &serve]).spawn().expect("unshare");
        script(
            &at("near/ssh"),
            &format!(
                "exec /usr/bin/ssh -F none -i {here}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
                 -o LogLevel=ERROR -o BatchMode=yes -o HostName=127.0.0.1 -p {port} \"$@\""
            ),
        );
        eventually("the server of SSH listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { folder, server }
    }

    fn run(&self, program: &Path, host: &str, args: &[&str], input: &[u8]) -> Finished {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(["-H", host]).args(args);
        command.env("PATH", format!("{}:{path}", self.folder.join("near").display()));
        command.env("DOCKER_CONFIG", self.folder.join("config"));
        finish(command, input)
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn commands_reach_a_daemon_behind_ssh() {
    let daemon = Daemon::start();
    let there = There::new(&daemon, &[("dray", dray_binary())]);
    let dray = |args: &[&str], input: &[u8]| there.run(&dray_binary(), "ssh://root@there", args, input);
    assert_eq!(dray(&["images", "-q"], b"").expect_success().stdout.lines().count(), 1);
    // Streams of both directions, the end of input, exit codes.
    let cat = dray(&["run", "-i", "--rm", "busybox", "sh", "-c", "cat; exit 3"], b"through and back");
    assert_eq!(cat.expect_code(3).stdout, "through and back");
    // Files go through the connection: nothing can be handed over.
    let saved = there.folder.join("saved.tar");
    dray(&["save", "-o", &saved.to_string_lossy(), "busybox"], b"").expect_success();
    dray(&["rmi", "busybox"], b"").expect_success();
    dray(&["load", "-i", &saved.to_string_lossy()], b"").expect_success();
    // Several connections at once, and a build.
    fs::write(there.folder.join("Dockerfile"), "FROM busybox\nRUN echo built > /f\n").expect("a file");
    let context = there.folder.join("context");
    fs::create_dir(&context).expect("a folder");
    fs::rename(there.folder.join("Dockerfile"), context.join("Dockerfile")).expect("moved");
    dray(&["build", "-q", "-t", "remote", &context.to_string_lossy()], b"").expect_success();
    assert_eq!(dray(&["run", "--rm", "remote", "cat", "/f"], b"").expect_success().stdout, "built\n");
    // A socket that is named in the address.
    let named = format!("ssh://root@there{}", daemon.socket().display());
    there.run(&dray_binary(), &named, &["ps", "-q"], b"").expect_success();
}

#[test]
fn docker_and_dray_reach_each_other_s_daemon_behind_ssh() {
    let daemon = Daemon::start();
    // Docker's client asks for `docker` there, and finds Dray under that name.
    let there = There::new(&daemon, &[("docker", dray_binary())]);
    let host = "ssh://root@there";
    there.run(&docker_binary(), host, &["run", "--rm", "busybox", "true"], b"").expect_success();
    there.run(&dray_binary(), host, &["run", "--rm", "busybox", "true"], b"").expect_success();
    // And Dray's asks for Docker's where Dray is not.
    let bin = there.folder.join("bin/docker");
    fs::remove_file(&bin).expect("gone");
    std::os::unix::fs::symlink(docker_binary(), &bin).expect("a link");
    there.run(&dray_binary(), host, &["run", "--rm", "busybox", "true"], b"").expect_success();
}

#[test]
fn what_fails_on_the_way_is_told_in_ssh_s_words() {
    let daemon = Daemon::start();
    let there = There::new(&daemon, &[]);
    let failed = there.run(&dray_binary(), "ssh://root@there", &["ps"], b"").expect_code(1);
    let failed = failed
        .expect_error("system dial-stdio'] has exited with exit status: 127, make sure the URL is valid");
    assert!(failed.stderr.contains("not found"), "{}", failed.stderr);
    fs::write(there.folder.join("home/.ssh/authorized_keys"), "").expect("no key is let in");
    there
        .run(&dray_binary(), "ssh://root@there", &["ps"], b"")
        .expect_code(1)
        .expect_error("Permission denied");
    let refused = there.run(&dray_binary(), "ssh://root:secret@there", &["ps"], b"").expect_code(1);
    refused.expect_error("plain-text password is not supported");
}
