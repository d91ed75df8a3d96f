//! The command line as containerd, Podman and Docker call it.

mod support;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use dray_spec::runtime::{Hook, Hooks, Spec};
use support::{busybox, eventually, runtime, spec};

struct Bundle {
    dir: PathBuf,
    id: String,
}

impl Bundle {
    fn new(name: &str, args: &[&str], change: impl FnOnce(&mut Spec)) -> Bundle {
        let id = format!("oci-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("dray-runtime-{id}"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("rootfs")).unwrap();
        busybox(&dir.join("rootfs"));
        let mut spec = spec(args);
        spec.linux.as_mut().unwrap().cgroups_path = Some(format!("/dray-test/{id}"));
        change(&mut spec);
        fs::write(dir.join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
        Bundle { dir, id }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(runtime());
        command.arg("--root").arg(self.dir.join("root")).args(words).stdin(Stdio::null());
        command
    }

    fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn good(&self, words: &[&str]) -> String {
        let output = self.call(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn bad(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(!output.status.success(), "{words:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// `create` with stdout in a file: whoever holds a pipe open would be waited for.
    fn create(&self) {
        let out = fs::File::create(self.dir.join("out")).unwrap();
        let error = out.try_clone().unwrap();
        let bundle = self.dir.display().to_string();
        let status = self
            .command(&["create", "--bundle", &bundle, "--pid-file", &format!("{bundle}/pid"), &self.id])
            .stdout(out)
            .stderr(error)
            .status()
            .unwrap();
        assert!(status.success(), "{}", self.out());
    }

    fn out(&self) -> String {
        fs::read_to_string(self.dir.join("out")).unwrap()
    }

    fn status(&self) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.good(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
        let _ = fs::remove_dir_all(&self.dir);
        if let Ok(parent) = dray_runtime::cgroup::Cgroup::open("/dray-test") {
            parent.remove_if_empty();
        }
    }
}

#[test]
fn the_life_of_a_container() {
    let bundle = Bundle::new("life", &["sh", "-c", "echo running; sleep 60"], |_| ());
    bundle.create();
    assert_eq!(bundle.status(), "created");
    assert_eq!(bundle.out(), "");
    let state: serde_json::Value = serde_json::from_str(&bundle.good(&["state", &bundle.id])).unwrap();
    assert_eq!(state["pid"].to_string(), fs::read_to_string(bundle.dir.join("pid")).unwrap());
    assert_eq!(state["bundle"].as_str().unwrap(), bundle.dir.display().to_string());
    bundle.good(&["start", &bundle.id]);
    assert_eq!(bundle.status(), "running");
    eventually("output", || bundle.out() == "running\n");
    assert!(bundle.bad(&["start", &bundle.id]).contains("cannot start an already running container"));
    assert!(bundle.bad(&["delete", &bundle.id]).contains("that is not stopped: running"));
    assert_eq!(bundle.good(&["exec", &bundle.id, "hostname"]), "box\n");
    assert_eq!(bundle.call(&["exec", &bundle.id, "sh", "-c", "exit 6"]).status.code(), Some(6));
    let pids: Vec<i32> = serde_json::from_str(&bundle.good(&["ps", "--format", "json", &bundle.id])).unwrap();
    assert!(!pids.is_empty());
    bundle.good(&["pause", &bundle.id]);
    assert_eq!(bundle.status(), "paused");
    bundle.good(&["resume", &bundle.id]);
    bundle.good(&["update", "--pids-limit", "33", &bundle.id]);
    assert!(bundle.good(&["events", "--stats", &bundle.id]).contains("\"limit\":33"));
    assert!(bundle.good(&["list"]).contains(&bundle.id));
    bundle.good(&["kill", &bundle.id, "KILL"]);
    eventually("stopped", || bundle.status() == "stopped");
    assert!(bundle.bad(&["kill", &bundle.id, "TERM"]).contains("container not running"));
    bundle.good(&["delete", &bundle.id]);
    assert!(bundle.bad(&["state", &bundle.id]).contains("does not exist"));
    bundle.good(&["delete", "--force", &bundle.id]);
}

#[test]
fn run_stays_to_the_end() {
    let bundle = Bundle::new("run", &["sh", "-c", "echo $0 in; exit 12"], |_| ());
    let output =
        bundle.command(&["run", "--bundle", &bundle.dir.display().to_string(), &bundle.id]).output().unwrap();
    assert_eq!(output.status.code(), Some(12));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "sh in\n");
    assert!(bundle.bad(&["state", &bundle.id]).contains("does not exist"));
}

#[test]
fn failures_are_logged_for_containerd() {
    let bundle = Bundle::new("log", &["nosuch"], |_| ());
    let log = bundle.dir.join("log.json").display().to_string();
    let place = bundle.dir.display().to_string();
    bundle.bad(&["--log", &log, "--log-format", "json", "create", "--bundle", &place, &bundle.id]);
    let line: serde_json::Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(
        line["msg"],
        "unable to start container process: exec: \"nosuch\": executable file not found in $PATH"
    );
    assert!(bundle.bad(&["state", &bundle.id]).contains("does not exist"));
    assert!(bundle.bad(&["--systemd-cgroup", "state", "x"]).contains("not supported"));
    assert!(bundle.bad(&["state", "../x"]).contains("invalid container ID"));
}

#[test]
fn a_terminal_goes_over_the_console_socket() {
    let bundle = Bundle::new("tty", &["sh", "-c", "stty size; tty"], |spec| {
        let process = spec.process.as_mut().unwrap();
        process.terminal = true;
        process.console_size = Some(dray_spec::runtime::ConsoleSize { height: 33, width: 99 });
    });
    let socket = bundle.dir.join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let place = bundle.dir.display().to_string();
    let status = bundle
        .command(&[
            "create",
            "--bundle",
            &place,
            "--console-socket",
            &socket.display().to_string(),
            &bundle.id,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let (connection, _) = listener.accept().unwrap();
    let master = receive_fd(&connection);
    bundle.good(&["start", &bundle.id]);
    let mut seen = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(len) = rustix::io::read(&master, &mut buffer) {
        if len == 0 {
            break;
        }
        seen.extend_from_slice(&buffer[..len]);
    }
    assert_eq!(String::from_utf8_lossy(&seen), "33 99\r\n/dev/pts/0\r\n");
}

fn receive_fd(socket: &std::os::unix::net::UnixStream) -> OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    let mut parts = [std::io::IoSliceMut::new(&mut name)];
    recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::empty()).unwrap();
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .expect("a descriptor")
}

#[test]
fn hooks_run_in_order_with_the_state() {
    let bundle = Bundle::new("hooks", &["sh", "-c", "cat /from-create"], |_| ());
    let note = |what: &str| Hook {
        path: "/bin/sh".into(),
        args: vec![
            "sh".into(),
            "-c".into(),
            format!("echo {what} $(grep -o '\"status\":\"[a-z]*\"') >> {}/hooks", bundle.dir.display()),
        ],
        ..Hook::default()
    };
    let inside = Hook {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), "echo made > /from-create".into()],
        env: vec!["PATH=/bin".into()],
        ..Hook::default()
    };
    let mut spec: Spec = serde_json::from_slice(&fs::read(bundle.dir.join("config.json")).unwrap()).unwrap();
    spec.hooks = Some(Hooks {
        prestart: vec![note("prestart")],
        create_runtime: vec![note("createRuntime")],
        create_container: vec![note("createContainer")],
        start_container: vec![inside],
        poststart: vec![note("poststart")],
        poststop: vec![note("poststop")],
    });
    fs::write(bundle.dir.join("config.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
    bundle.create();
    bundle.good(&["start", &bundle.id]);
    eventually("stopped", || bundle.status() == "stopped");
    assert_eq!(bundle.out(), "made\n");
    bundle.good(&["delete", &bundle.id]);
    assert_eq!(
        fs::read_to_string(bundle.dir.join("hooks")).unwrap(),
        "prestart \"status\":\"creating\"\ncreateRuntime \"status\":\"creating\"\n\
         createContainer \"status\":\"creating\"\npoststart \"status\":\"running\"\n\
         poststop \"status\":\"stopped\"\n"
    );
}

#[test]
fn it_describes_itself() {
    let bundle = Bundle::new("describe", &["true"], |_| ());
    assert!(bundle.good(&["--version"]).starts_with("dray-runtime version "));
    let features: serde_json::Value = serde_json::from_str(&bundle.good(&["features"])).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    let fresh = bundle.dir.join("fresh");
    fs::create_dir(&fresh).unwrap();
    bundle.good(&["spec", "--bundle", &fresh.display().to_string()]);
    let text = fs::read_to_string(fresh.join("config.json")).unwrap();
    assert!(serde_json::from_str::<Spec>(&text).unwrap().linux.is_some());
}

/// Runs a script where /sys/fs/cgroup is the v2 tree of this hybrid machine, which has few controllers but
/// the core: cloning into a cgroup, freezing, killing, device programs. On a v2 machine it is what it is.
fn on_v2(bundle: &Bundle, script: &str) -> Output {
    let unified =
        "mountpoint -q /sys/fs/cgroup/unified && mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup;";
    let run = format!("{} --root {}/root", runtime().display(), bundle.dir.display());
    Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{unified} {script}")])
        .env("RUN", run)
        .env("BUNDLE", &bundle.dir)
        .env("ID", &bundle.id)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_container_on_cgroup_v2() {
    // mem is denied although its node can be made; zero is allowed.
    let inside = "cat /proc/self/cgroup | grep 0::; ls /sys/fs/cgroup/cgroup.procs
        mknod /tmp/mem c 1 1 && cat /tmp/mem 2>&1 | grep -o 'not permitted'; head -c 3 /dev/zero | wc -c";
    let bundle = Bundle::new("v2", &["sh", "-c", inside], |_| ());
    let output = on_v2(&bundle, "$RUN run --bundle $BUNDLE $ID");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0::/\n/sys/fs/cgroup/cgroup.procs\nnot permitted\n3\n",
        "{error}"
    );
    assert!(!std::path::Path::new("/sys/fs/cgroup/unified/dray-test").join(&bundle.id).exists());
}

#[test]
fn freezing_and_killing_on_cgroup_v2() {
    let bundle = Bundle::new("v2-freeze", &["sleep", "60"], |_| ());
    let script = "$RUN create --bundle $BUNDLE $ID >/dev/null 2>&1 && $RUN start $ID && $RUN pause $ID
        $RUN state $ID | grep -o paused; $RUN resume $ID; $RUN exec $ID grep 0:: /proc/self/cgroup
        $RUN ps --format json $ID | grep -c '^\\[[0-9]'; $RUN delete --force $ID; $RUN state $ID 2>&1 | grep -o 'does not exist'";
    let output = on_v2(&bundle, script);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "paused\n0::/\n1\ndoes not exist\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_bundle_with_a_user_namespace_lives_and_takes_execs() {
    let bundle = Bundle::new("userns", &["sh", "-c", "id -u; sleep 60"], |spec| {
        let mapping = dray_spec::runtime::IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
        let linux = spec.linux.as_mut().unwrap();
        linux.namespaces.push(dray_spec::runtime::Namespace::new(dray_spec::runtime::NamespaceKind::User));
        linux.uid_mappings = vec![mapping];
        linux.gid_mappings = vec![mapping];
    });
    let status = Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.dir.join("rootfs")).status();
    assert!(status.unwrap().success());
    bundle.create();
    bundle.good(&["start", &bundle.id]);
    eventually("it is root inside", || bundle.out() == "0\n");
    let pid = fs::read_to_string(bundle.dir.join("pid")).unwrap();
    let outside = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(outside.contains("Uid:\t100000\t100000\t100000\t100000"), "{outside}");
    let inside = bundle.good(&["exec", &bundle.id, "sh", "-c", "id -u; touch /made; stat -c %u /made"]);
    assert_eq!(inside, "0\n0\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(bundle.dir.join("rootfs/made")).unwrap().uid(), 100_000);
    bundle.good(&["kill", &bundle.id, "KILL"]);
    eventually("it ends", || bundle.status() == "stopped");
    bundle.good(&["delete", &bundle.id]);
}
