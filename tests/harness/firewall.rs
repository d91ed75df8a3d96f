//! ufw and firewalld themselves, from Debian's packages, on a machine of the test's own.
//!
//! Nothing is installed and no script of the packages runs: their files lie over the host's in a mount namespace, whose
//! `/run` and `/var/lib` are empty, and what the scripts would do is done there. The processes (firewalld, its own D-Bus)
//! are in a process namespace that ends with the value.

use std::process::{Child, Command, Stdio};

use crate::client::eventually;
use crate::fixture;
use crate::machine::{Machine, said, wait_until_ready};

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What the packages' own scripts would do, and what a machine has that runs them.
const SETUP: &str = r#"
mount --make-rprivate /
mount -t tmpfs none /mnt
for d in etc usr; do
    mkdir /mnt/$d.up /mnt/$d.work
    mount -t overlay overlay -o lowerdir=$FILES/$d:/$d,upperdir=/mnt/$d.up,workdir=/mnt/$d.work /$d
done
if [ -d $FILES/lib ]; then cp -a $FILES/lib/. /usr/lib/; fi
mount -t tmpfs none /run
mkdir -p /run/dbus /run/lock
mount -t tmpfs none /var/lib
mkdir -p /var/lib/polkit-1
mount -t tmpfs none /var/log
cp /usr/share/ufw/*.rules /usr/share/ufw/ufw.conf /usr/share/ufw/*.init /etc/ufw/
ln -sf org.fedoraproject.FirewallD1.server.policy.choice /usr/share/polkit-1/actions/org.fedoraproject.FirewallD1.policy
for n in iptables ip6tables; do for s in '' -restore -save; do ln -sf /usr/sbin/xtables-nft-multi /usr/sbin/$n$s; done; done
echo ready
exec sleep infinity
"#;

/// Where the programs of a machine run.
pub struct Firewalls {
    holder: Child,
    inner: String,
}

impl Firewalls {
    /// On a machine; none of them runs yet.
    pub fn on(machine: &Machine) -> Self {
        let mut holder = machine
            .command("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-ec", SETUP])
            .env("FILES", fixture::firewalls())
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter");
        wait_until_ready(&mut holder, "a place for the firewalls' programs");
        let id = holder.id();
        let inner = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("its child");
        Self { holder, inner: inner.trim().to_owned() }
    }

    fn command(&self, line: &str) -> Command {
        let mut enter = Command::new("nsenter");
        enter
            .args(["--net", "--mount", "--pid", "--target", &self.inner, "bash", "-ec", line])
            .env("PATH", PATH)
            .stdin(Stdio::null());
        enter
    }

    /// Runs a shell command among the programs' files; its output.
    #[track_caller]
    pub fn sh(&self, line: &str) -> String {
        said(&mut self.command(line), line)
    }

    /// `ufw …`.
    #[track_caller]
    pub fn ufw(&self, words: &str) -> String {
        self.sh(&format!("/usr/bin/python3 /usr/sbin/ufw {words}"))
    }

    /// `firewall-cmd …`.
    #[track_caller]
    pub fn firewall_cmd(&self, words: &str) -> String {
        self.sh(&format!("/usr/bin/python3 /usr/bin/firewall-cmd {words}"))
    }

    /// Starts firewalld, with this back end (`nftables`, `iptables`).
    pub fn firewalld(&self, backend: &str) -> Firewalld {
        self.sh(&format!(
            "sed -i 's/^FirewallBackend=.*/FirewallBackend={backend}/' /etc/firewalld/firewalld.conf"
        ));
        self.sh("test -S /run/dbus/system_bus_socket || dbus-daemon --system --fork --nopidfile");
        let daemon = self
            .command("exec /usr/bin/python3 /usr/sbin/firewalld --nofork --nopid")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter");
        let state = || self.command("/usr/bin/python3 /usr/bin/firewall-cmd --state").output();
        eventually("firewalld runs", || state().is_ok_and(|said| said.status.success()));
        Firewalld { daemon }
    }
}

impl Drop for Firewalls {
    fn drop(&mut self) {
        // All that runs there ends with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A running firewalld.
pub struct Firewalld {
    daemon: Child,
}

impl Firewalld {
    /// Stops it as its service is stopped; it takes its rules away.
    pub fn stop(mut self) {
        // nsenter waits for its child in the process namespace, and hands no signal on.
        let id = self.daemon.id();
        let child = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let child = child.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let child = child.expect("firewalld runs");
        rustix::process::kill_process(child, rustix::process::Signal::TERM).expect("end firewalld");
        self.daemon.wait().expect("the end of firewalld");
    }
}

impl Drop for Firewalld {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
