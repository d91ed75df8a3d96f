//! ufw and firewalld themselves, from Debian's packages: what they let in reaches a port of a firewall-aware network, what
//! they do not does not, and neither their reloads nor their rules for what is forwarded are in the way.
//!
//! They run in the lab's network namespace and in a mount and process namespace of their own, where their files lie over
//! the host's: nothing is installed, and the host's own firewall is not touched.

mod lab;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dray_network::NetworkConfig;
use dray_network::Proto::Tcp;
use lab::*;

const PACKAGES: &str = "ufw firewalld python3-firewall python3-dbus python3-gi python3-nftables gir1.2-glib-2.0 \
                        libgirepository-1.0-1 dbus-daemon dbus-bin dbus-system-bus-common python3-cap-ng libcap-ng0 \
                        polkitd libpolkit-gobject-1-0 libpolkit-agent-1-0 libduktape207";

/// The files of the packages, unpacked once.
fn files() -> &'static Path {
    static FILES: OnceLock<PathBuf> = OnceLock::new();
    FILES.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firewalls");
        if !place.join("root").exists() {
            let draft = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
            sh(&format!(
                "cd {} && apt-get -qq download {PACKAGES} && for p in *.deb; do dpkg -x $p root; done && rm *.deb",
                draft.path().display()
            ));
            let _ = std::fs::create_dir_all(&place);
            // Another process may have been quicker.
            let _ = std::fs::rename(draft.path().join("root"), place.join("root"));
        }
        place.join("root")
    })
}

/// What the packages' own scripts would do, over the host's files.
const SETUP: &str = r#"
set -e
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
cp /usr/share/ufw/*.rules /usr/share/ufw/ufw.conf /usr/share/ufw/*.init /etc/ufw/
ln -sf org.fedoraproject.FirewallD1.server.policy.choice /usr/share/polkit-1/actions/org.fedoraproject.FirewallD1.policy
for n in iptables ip6tables; do for s in '' -restore -save; do ln -sf /usr/sbin/xtables-nft-multi /usr/sbin/$n$s; done; done
echo ready
exec sleep 3600
"#;

/// Where the programs run.
struct Place {
    holder: Child,
}

impl Place {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SETUP])
            .env("FILES", files())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let out = holder.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("its output");
        assert_eq!(line, "ready\n");
        Place { holder }
    }

    fn command(&self, command: &str) -> Command {
        let id = self.holder.id();
        let inner = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("its child");
        let mut enter = Command::new("nsenter");
        enter
            .args(["--mount", "--pid", "--target", inner.trim(), "bash", "-ec", command])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        enter
    }

    fn sh(&self, command: &str) -> String {
        let output = self.command(command).output().expect("nsenter");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn ufw(&self, words: &str) {
        self.sh(&format!("/usr/bin/python3 /usr/sbin/ufw {words}"));
    }

    fn firewall_cmd(&self, words: &str) {
        self.sh(&format!("/usr/bin/python3 /usr/bin/firewall-cmd {words}"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // All that runs there ends with it.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn answers(from: &OwnedFd, address: &str) -> Option<String> {
    within(from, || {
        let address = address.parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(400)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    })
}

/// Firewalls are read anew in many steps.
#[track_caller]
fn comes_to(what: &str, check: impl Fn() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}\n{}", sh("nft list ruleset"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn aware() -> NetworkConfig {
    let mut front = network("front", "10.10.0.0/24");
    front.options.insert("dray.network.publish_mode".into(), "firewall-aware".into());
    front
}

/// One container behind 8080, and what everybody must be able to do whatever the firewall says.
fn with_container(test: impl FnOnce(&Lab, &Place, &dyn Fn(bool)) + Send) {
    // A lab has no way out.
    files();
    lab(|lab| {
        let place = Place::new();
        let net = lab.open();
        let front = aware();
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        let _web = serve_tcp(&web.namespace, 80, "web");
        let _world = serve_tcp(&lab.outside, 99, "world");
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let open = |wanted: bool| {
            let expected = wanted.then(|| "web 192.0.2.2".to_owned());
            let what = if wanted { "it is let in" } else { "it is kept out" };
            comes_to(what, || answers(&lab.outside, "192.0.2.1:8080") == expected);
            // Its own host and its own ways out are not the firewall's concern.
            comes_to("localhost", || answers(&lab.host, "127.0.0.1:8080").is_some());
            comes_to("the container reaches the world", || {
                answers(&web.namespace, "192.0.2.2:99").as_deref() == Some("world 192.0.2.1")
            });
        };
        open(true);
        test(lab, &place, &open);
        net.purge().expect("purge");
    });
}

#[test]
fn ufw_has_its_word() {
    with_container(|_, place, open| {
        place.ufw("--force enable");
        open(false);
        place.ufw("allow 8080/tcp");
        open(true);
        place.ufw("reload");
        open(true);
        place.ufw("delete allow 8080/tcp");
        open(false);
        place.ufw("allow from 192.0.2.2 to any port 8080 proto tcp");
        open(true);
        place.ufw("--force reset");
        place.ufw("--force disable");
        open(true);
    });
}

#[test]
fn firewalld_has_its_word() {
    with_container(|_, place, open| {
        place.sh("dbus-daemon --system --fork --nopidfile");
        let mut daemon = place
            .command("exec /usr/bin/python3 /usr/sbin/firewalld --nofork --nopid")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("firewalld");
        comes_to("firewalld runs", || {
            place
                .command("/usr/bin/python3 /usr/bin/firewall-cmd --state")
                .output()
                .is_ok_and(|o| o.status.success())
        });
        open(false);
        place.firewall_cmd("--add-port=8080/tcp");
        open(true);
        // What was not said for good is gone.
        place.firewall_cmd("--reload");
        open(false);
        place.firewall_cmd("--permanent --add-port=8080/tcp");
        place.firewall_cmd("--reload");
        open(true);
        place.firewall_cmd("--complete-reload");
        open(true);
        let _ = daemon.kill();
        let _ = daemon.wait();
    });
}
