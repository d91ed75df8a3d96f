//! A container made of busybox in a folder of its own, and Docker's default configuration for it.
#![allow(dead_code)]

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dray_runtime::{
    AttachStreams, ExecRequest, ExitStatus, FRAME_HEADER, Frame, LogTarget, Rootfs, Shim, ShimRequest,
    StartError, Started, StreamKind, exit_status, start,
};
use dray_spec::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceKind, Process, Resources, Root, Spec, User,
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Docker's default capabilities.
pub const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The runtime under test.
pub fn runtime() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_dray-runtime"))
}

/// Folder, request and, once started, the container.
pub struct Box {
    pub dir: PathBuf,
    pub id: String,
    pub request: ShimRequest,
    pub started: Option<Started>,
}

/// Unpacks a root file system of busybox.
pub fn busybox(root: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home/web"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:1000:\nlog:x:4:web\n").unwrap();
}

/// Docker's configuration of `docker run busybox <args>`.
pub fn spec(args: &[&str]) -> Spec {
    let caps: Vec<String> = CAPS.iter().map(|&cap| cap.to_owned()).collect();
    let namespaces = [
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Uts,
        NamespaceKind::Ipc,
        NamespaceKind::Network,
        NamespaceKind::Cgroup,
    ];
    Spec {
        process: Some(Process {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned(), "TERM=xterm".to_owned()],
            cwd: "/".into(),
            user: User::default(),
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        hostname: Some("box".to_owned()),
        mounts: vec![
            Mount::new("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            Mount::new(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            Mount::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            Mount::new("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
            Mount::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            Mount::new(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            ),
        ],
        linux: Some(Linux {
            namespaces: namespaces.into_iter().map(Namespace::new).collect(),
            resources: Some(Resources::default()),
            masked_paths: [
                "/proc/asound",
                "/proc/acpi",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/proc/scsi",
                "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ]
            .map(str::to_owned)
            .to_vec(),
            readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
                .map(str::to_owned)
                .to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

impl Box {
    /// A container that is not started.
    pub fn new(args: &[&str]) -> Box {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("rt{}x{number}", std::process::id());
        let dir = std::env::temp_dir().join(format!("dray-runtime-{id}"));
        let _ = fs::remove_dir_all(&dir);
        for part in ["layer", "upper", "work"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        busybox(&dir.join("layer"));
        let mut spec = spec(args);
        if let Some(linux) = &mut spec.linux {
            linux.cgroups_path = Some(format!("/dray-test/{id}"));
        }
        let request = ShimRequest {
            id: id.clone(),
            run_dir: dir.join("run"),
            spec,
            rootfs: Rootfs::Overlay {
                lower: vec![dir.join("layer")],
                upper: dir.join("upper"),
                work: dir.join("work"),
            },
            log: LogTarget::JsonFile {
                path: dir.join("json.log"),
                max_size: None,
                max_file: 1,
                compress: false,
                buffer: None,
                attrs: Default::default(),
            },
            ..ShimRequest::default()
        };
        Box { dir, id, request, started: None }
    }

    /// `sh -c script`.
    pub fn sh(script: &str) -> Box {
        Box::new(&["sh", "-c", script])
    }

    pub fn process(&mut self) -> &mut Process {
        self.request.spec.process.as_mut().unwrap()
    }

    pub fn linux(&mut self) -> &mut Linux {
        self.request.spec.linux.as_mut().unwrap()
    }

    pub fn resources(&mut self) -> &mut Resources {
        self.linux().resources.as_mut().unwrap()
    }

    /// Starts it; a second time works too.
    pub fn start(&mut self) -> Result<Started, StartError> {
        let request = ShimRequest {
            id: self.request.id.clone(),
            run_dir: self.request.run_dir.clone(),
            spec: self.request.spec.clone(),
            rootfs: self.request.rootfs.clone(),
            seccomp: self.request.seccomp.clone(),
            log: self.request.log.clone(),
            attach: std::mem::take(&mut self.request.attach),
            ..self.request
        };
        let started = start(&runtime(), request)?;
        self.started = Some(started.clone());
        Ok(started)
    }

    pub fn shim(&self) -> Shim {
        Shim::open(&self.request.run_dir).expect("the shim answers")
    }

    /// Waits for the end.
    pub fn wait(&self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        if let Some(shim) = Shim::open(&self.request.run_dir)
            && let Ok(wait) = shim.wait()
            && let Ok(status) = wait.recv()
        {
            return status;
        }
        loop {
            if let Some(status) = exit_status(&self.request.run_dir) {
                return status;
            }
            assert!(Instant::now() < deadline, "no exit status");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it, waits, and gives its code and what it said.
    pub fn run(&mut self) -> (i32, String) {
        self.start().unwrap_or_else(|error| panic!("{error}"));
        let status = self.wait();
        (status.code, self.said())
    }

    /// What the log holds, stdout and stderr as they came.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(self.dir.join("json.log")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["log"].as_str().unwrap_or_default().to_owned()
            })
            .collect()
    }

    /// Both ends of an attachment: the shim's is put into the request.
    pub fn attach_at_start(&mut self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.request.attach.push(OwnedFd::from(theirs));
        ours
    }

    /// What the shim answers to a bad signal, if there is a shim.
    pub fn shim_error(&self, signal: i32) -> dray_runtime::ShimError {
        match Shim::open(&self.request.run_dir) {
            Some(shim) => shim.kill(signal).unwrap_err(),
            None => dray_runtime::ShimError::Gone { run_dir: self.request.run_dir.clone() },
        }
    }

    pub fn exec(&self, args: &[&str]) -> ExecRequest {
        let mut process = self.request.spec.process.clone().unwrap();
        process.args = args.iter().map(|&arg| arg.to_owned()).collect();
        ExecRequest {
            exec_id: format!("exec{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            process,
            streams: AttachStreams::ALL,
            ..ExecRequest::default()
        }
    }

    /// Runs a program inside and gives code, stdout and stderr.
    pub fn exec_run(&self, args: &[&str]) -> (i32, String, String) {
        let started = self.shim().exec(self.exec(args)).unwrap_or_else(|error| panic!("{error}"));
        read_frames(&mut started.stream.unwrap())
    }

    /// Cgroup directories of the container that exist.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let path = format!("dray-test/{}", self.id);
        let mut found = Vec::new();
        for entry in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let dir = entry.path().join(&path);
            if dir.is_dir() {
                found.push(dir);
            }
        }
        let unified = Path::new("/sys/fs/cgroup").join(&path);
        found.extend(unified.is_dir().then_some(unified));
        found
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        if let Some(shim) = Shim::open(&self.request.run_dir) {
            let _ = shim.kill(9);
            if let Ok(wait) = shim.wait() {
                let _ = wait.recv();
            }
        }
        let _ = dray_runtime::reap_lost(&self.request.run_dir);
        let _ = fs::remove_dir_all(&self.dir);
        if let Ok(parent) = dray_runtime::cgroup::Cgroup::open("/dray-test") {
            parent.remove_if_empty();
        }
    }
}

/// One frame; `None` at the end of the stream.
pub fn read_frame(stream: &mut UnixStream) -> Option<(StreamKind, Vec<u8>)> {
    let mut header = [0; FRAME_HEADER];
    stream.read_exact(&mut header).ok()?;
    let frame = Frame::decode(header).expect("a frame");
    let mut payload = vec![0; frame.len];
    stream.read_exact(&mut payload).ok()?;
    Some((frame.stream, payload))
}

/// All frames up to the exit: code, stdout, stderr.
pub fn read_frames(stream: &mut UnixStream) -> (i32, String, String) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some((kind, payload)) = read_frame(stream) {
        match kind {
            StreamKind::Stdout => out.extend(payload),
            StreamKind::Stderr => err.extend(payload),
            StreamKind::Control => {
                let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                let code = value["exit"].as_i64().unwrap() as i32;
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                return (code, text(out), text(err));
            }
            StreamKind::Stdin => panic!("stdin from the shim"),
        }
    }
    panic!("the stream ended before the exit; stdout {:?}", String::from_utf8_lossy(&out));
}

/// A stdin frame.
pub fn stdin_frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = Frame { stream: StreamKind::Stdin, len: bytes.len() }.encode().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
