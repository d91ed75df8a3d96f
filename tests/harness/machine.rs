//! Machines of a network of the test's own: each is a network namespace that lives as long as its value. What is
//! started in one sees its interfaces, its firewall and its settings under `/proc/sys/net`, and none of the host's.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace.
pub struct Machine {
    holder: Child,
}

impl Machine {
    /// A machine without a wire.
    pub fn new() -> Self {
        let script = "ip link set lo up && echo ready && exec sleep infinity";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-ec", script])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        wait_until_ready(&mut holder, "a network namespace (tests run as root)");
        Self { holder }
    }

    /// A wire from here to another machine, called `wire` on both, with these addresses (`192.0.2.1/24`).
    pub fn wire(&self, own: &[&str], other: &Self, theirs: &[&str]) {
        self.sh(&format!("ip link add wire type veth peer name wire netns {}", other.holder.id()));
        self.settle(own);
        other.settle(theirs);
        for machine in [self, other] {
            // A wire takes its time to come up where the machine is busy.
            machine.sh(
                "for i in $(seq 500); do ip -o link show wire | grep -q 'state UP' && exit; sleep 0.02; done; exit 1",
            );
        }
    }

    fn settle(&self, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            self.sh(&format!("ip addr add {address} dev wire {nodad}"));
        }
        self.sh("ip link set wire up");
    }

    /// Does something with the calling thread's stand-in here: sockets that it makes are this machine's.
    pub fn within<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let path = self.network();
        let run = || {
            let namespace = File::open(&path).expect("the machine's namespace");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
            task()
        };
        std::thread::scope(|scope| match scope.spawn(run).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A program that will run here.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.network())).arg("--").arg(program);
        command
    }

    /// Runs a shell command here; its output.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        said(self.command("sh").args(["-ec", line]), line)
    }

    /// The whole rule set.
    pub fn ruleset(&self) -> String {
        self.sh("nft list ruleset")
    }

    fn network(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Waits until a process that keeps namespaces has made them: it prints `ready` then.
pub(crate) fn wait_until_ready(holder: &mut Child, what: &str) {
    let mut line = String::new();
    let out = holder.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut line).expect("its output");
    assert_eq!(line, "ready\n", "{what}");
}

/// What a shell command has printed; it has to succeed.
#[track_caller]
pub(crate) fn said(command: &mut Command, line: &str) -> String {
    let output = command.output().expect("nsenter");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
