//! A private daemon: its own roots, socket, bridge, address pools and firewall table, so that any number run
//! side by side on one machine. Dropping it stops the daemon and everything that it started.
//!
//! It lives in the test's own process ([`Daemon::start`]), or, for tests that kill it or look at its process, in
//! one of its own ([`Daemon::spawn`]).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::client::{Client, wait_within};
use crate::machine::Machine;
use crate::{docker_binary, dray_binary, fixture};

/// How long a daemon may take to answer at its socket.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A running daemon and the folder that holds all of its roots.
pub struct Daemon {
    root: TempDir,
    slot: Slot,
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    home: Home,
    /// Where it runs, if not on this one.
    machine: Option<Arc<Machine>>,
    running: Option<Running>,
}

/// Where a daemon lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// In the process of the test.
    #[cfg(feature = "hosted")]
    Here,
    /// In a process of its own.
    Process,
}

impl Home {
    #[cfg(feature = "hosted")]
    const USUAL: Self = Self::Here;
    #[cfg(not(feature = "hosted"))]
    const USUAL: Self = Self::Process;
}

enum Running {
    #[cfg(feature = "hosted")]
    Here(dray_daemon::Hosted),
    Process(Child),
}

impl Running {
    /// How it ended, if it has.
    fn ended(&mut self) -> Option<String> {
        match self {
            #[cfg(feature = "hosted")]
            Self::Here(daemon) => daemon.has_ended().then(|| "by itself".to_owned()),
            Self::Process(child) => child.try_wait().expect("wait for the daemon").map(|s| s.to_string()),
        }
    }

    /// Asks it to stop and waits for its end; says why it did not.
    fn stop(self) -> Result<(), String> {
        match self {
            #[cfg(feature = "hosted")]
            Self::Here(daemon) => daemon.stop().map_err(|error| error.to_string()),
            Self::Process(mut child) => {
                terminate(&child);
                let ended = wait_within(&mut child, Duration::from_secs(20));
                ended.map(drop).ok_or_else(|| "SIGTERM did not end the daemon".to_owned())
            }
        }
    }
}

impl Daemon {
    /// Starts a daemon without any image.
    pub fn empty() -> Self {
        Self::with_flags(&[])
    }

    /// Starts a daemon that has `busybox:latest`.
    pub fn start() -> Self {
        let daemon = Self::empty();
        daemon.load(&fixture::busybox());
        daemon
    }

    /// Starts a daemon with further flags and no image.
    pub fn with_flags(flags: &[&str]) -> Self {
        Self::prepare(Home::USUAL, None, flags, &[])
    }

    /// Starts a daemon that has `busybox:latest`, in a process of its own, which can be killed.
    pub fn spawn() -> Self {
        let daemon = Self::spawn_with_flags(&[]);
        daemon.load(&fixture::busybox());
        daemon
    }

    /// Starts a daemon with further flags and no image, in a process of its own.
    pub fn spawn_with_flags(flags: &[&str]) -> Self {
        Self::prepare(Home::Process, None, flags, &[])
    }

    /// Starts a daemon that has `busybox:latest` on a machine of the test's own: its bridges, its ports and its rules
    /// are there.
    pub fn spawn_on(machine: &Arc<Machine>, flags: &[&str]) -> Self {
        let daemon = Self::prepare(Home::Process, Some(Arc::clone(machine)), flags, &[]);
        daemon.load(&fixture::busybox());
        daemon
    }

    /// Starts a daemon with further environment variables and no image, in a process of its own.
    pub fn with_environment(variables: &[(&str, &str)]) -> Self {
        Self::prepare(Home::Process, None, &[], variables)
    }

    fn prepare(
        home: Home,
        machine: Option<Arc<Machine>>,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let root = tempfile::Builder::new().prefix("dray-test-").tempdir().expect("a folder for the daemon");
        std::fs::create_dir(root.path().join("client")).expect("client folder");
        // Named by a flag, it must be there; without the flag the host's own would be read.
        std::fs::write(root.path().join("daemon.json"), "{}").expect("daemon configuration");
        let extra = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut daemon = Self { root, slot: Slot::take(), extra, environment, home, machine, running: None };
        daemon.launch();
        daemon
    }

    /// Starts the daemon on its roots: first, or again after [`Daemon::kill`] or [`Daemon::stop`].
    pub fn launch(&mut self) {
        assert!(self.running.is_none(), "the daemon runs already");
        let mut running = self.begin();
        let started = Instant::now();
        while !self.answers() {
            if let Some(how) = running.ended() {
                let why = running.stop().err().unwrap_or(how);
                panic!("the daemon did not come up ({why}):\n{}", self.log());
            }
            assert!(started.elapsed() < READY_LIMIT, "the daemon does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.running = Some(running);
    }

    fn begin(&self) -> Running {
        let log = File::create(self.log_path()).expect("daemon log");
        match self.home {
            #[cfg(feature = "hosted")]
            Home::Here => {
                let command = self.command();
                let words = std::iter::once(command.get_program()).chain(command.get_args());
                let words: Vec<_> = words.map(ToOwned::to_owned).collect();
                let daemon = dray_daemon::Hosted::start(&words, dray_binary(), log);
                Running::Here(daemon.unwrap_or_else(|error| panic!("the daemon did not start: {error}")))
            }
            Home::Process => {
                let mut command = self.command();
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
                Running::Process(command.spawn().expect("dray: built by `cargo xtask test`"))
            }
        }
    }

    /// The command that starts this daemon.
    pub fn command(&self) -> Command {
        let mut command = match &self.machine {
            Some(machine) => machine.command(dray_binary()),
            None => Command::new(dray_binary()),
        };
        let n = self.slot.number;
        command
            .arg("daemon")
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--run-root")
            .arg(self.run_root())
            .arg("--config-file")
            .arg(self.root.path().join("daemon.json"))
            .arg("-H")
            .arg(self.host())
            .args(["--bridge", &self.bridge()])
            .args(["--bip", &format!("10.213.{n}.1/24")])
            .args(["--default-address-pool", &format!("base=10.214.{}.0/22,size=26", n * 4)])
            .args(&self.extra)
            .envs(self.environment.iter().cloned())
            .env("DRAY_TEST_DAEMON", "1");
        command
    }

    fn answers(&self) -> bool {
        crate::http::unix_get(&self.socket(), "/_ping").is_ok_and(|answer| answer.status == 200)
    }

    /// Sends SIGKILL to the daemon alone: its containers and their shims go on.
    pub fn kill(&mut self) {
        match self.running.take() {
            Some(Running::Process(mut child)) => {
                child.kill().expect("kill the daemon");
                child.wait().expect("wait for the daemon");
            }
            None => {}
            #[cfg(feature = "hosted")]
            Some(Running::Here(_)) => panic!("only a daemon of Daemon::spawn can be killed"),
        }
    }

    /// Stops the daemon as its process is stopped by SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// Kills the daemon and starts it again on the same roots.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.launch();
    }

    /// The process id of a daemon of [`Daemon::spawn`].
    pub fn pid(&self) -> u32 {
        match &self.running {
            Some(Running::Process(child)) => child.id(),
            _ => panic!("no daemon with a process of its own"),
        }
    }

    /// Loads an archive with Dray's own client.
    pub fn load(&self, archive: &Path) {
        self.dray().run([Path::new("load"), Path::new("-qi"), archive]).expect_success();
    }

    /// Dray's command line at this daemon.
    pub fn dray(&self) -> Client {
        Client::new(dray_binary(), self.host(), &self.client_config())
    }

    /// Docker's command line at this daemon.
    pub fn docker(&self) -> Client {
        Client::new(docker_binary(), self.host(), &self.client_config())
    }

    /// Both command lines: what each command must work with.
    pub fn clients(&self) -> [Client; 2] {
        [self.dray(), self.docker()]
    }

    /// The address that clients use.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.root.path().join("dray.sock")
    }

    /// The data root.
    pub fn data_root(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The run root.
    pub fn run_root(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// A folder of the test's own, removed with the daemon.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.root.path().join("scratch").join(name);
        std::fs::create_dir_all(&path).expect("scratch folder");
        path
    }

    /// The name of the default bridge's interface.
    pub fn bridge(&self) -> String {
        format!("drayt{}", self.slot.number)
    }

    /// What the daemon printed since its last launch.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The folder of the configuration of both clients.
    pub fn client_config(&self) -> PathBuf {
        self.root.path().join("client")
    }

    fn log_path(&self) -> PathBuf {
        self.root.path().join("daemon.log")
    }

    /// Ids of processes whose command line names this daemon's roots: shims, and the daemon's own if it has one.
    pub fn processes(&self) -> Vec<u32> {
        crate::host::processes_naming(&self.root.path().to_string_lossy())
    }

    fn remove_containers(&self) {
        let client = self.dray();
        let ids = client.sh("ps -aq").stdout;
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if !ids.is_empty() {
            client.run(["rm", "-fv"].into_iter().chain(ids));
        }
        let networks = client.run(["network", "ls", "-q", "--filter", "type=custom"]).stdout;
        for id in networks.split_whitespace() {
            client.run(["network", "rm", id]);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if failing {
            eprintln!("--- log of the daemon at {}\n{}", self.root.path().display(), tail(&self.log(), 60));
        }
        if self.running.is_none() {
            // A test that left it stopped: bring it up once more, so that it takes down what it owns.
            let running = self.begin();
            let started = Instant::now();
            while !self.answers() && started.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(10));
            }
            self.running = Some(running);
        }
        self.remove_containers();
        if let Some(Err(why)) = self.running.take().map(Running::stop)
            && !failing
        {
            panic!("{why}");
        }
        for pid in self.processes() {
            if failing {
                crate::host::kill(pid);
            } else {
                panic!("process {pid} outlived its daemon: {}", crate::host::command_line(pid));
            }
        }
    }
}

/// A number that no other test daemon on this machine has now, by a lock that dies with the process.
struct Slot {
    number: u32,
    _lock: File,
}

impl Slot {
    fn take() -> Self {
        // One place for the whole machine, wherever temporary files of this run go.
        let folder = Path::new("/tmp/dray-test-slots");
        std::fs::create_dir_all(folder).expect("slot folder");
        for number in 0..64 {
            let file = File::create(folder.join(number.to_string())).expect("slot file");
            if rustix::fs::flock(file.as_fd(), rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Self { number, _lock: file };
            }
        }
        panic!("64 test daemons run already");
    }
}

fn terminate(child: &Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Reads a child's standard output until a line holds `needle`, or its end.
pub fn read_until(reader: &mut BufReader<impl std::io::Read>, needle: &str) -> String {
    let mut seen = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or(0) > 0 {
        seen.push_str(&line);
        if line.contains(needle) {
            break;
        }
        line.clear();
    }
    seen
}
