//! What went wrong between a start request and the user's program running: the step, its subject, the cause.
//!
//! The error is made inside the container's init, crosses a socket as JSON and is shown by the API, so its
//! text is what a user of Docker knows (`exec: "foo": executable file not found in $PATH`).

use serde::{Deserialize, Serialize};

/// The steps of a start, in about the order they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Start the shim process.
    Spawn,
    /// Read and check the request or the configuration.
    Config,
    /// Open the log, the control socket, the run directory.
    Shim,
    /// Make, fill or join the cgroup.
    Cgroup,
    /// Clone the init into its namespaces, or join existing ones.
    Namespace,
    /// Mount the root file system.
    Rootfs,
    /// Make one of the configured mounts.
    Mount,
    /// Make a device node.
    Device,
    /// Hide a path.
    MaskPath,
    /// Make a path read-only.
    ReadonlyPath,
    /// Switch to the new root.
    PivotRoot,
    /// Set a kernel parameter.
    Sysctl,
    /// Set the host or domain name.
    Hostname,
    /// Set up the terminal.
    Console,
    /// Run a hook.
    Hook,
    /// Set a resource limit or the OOM score.
    Rlimit,
    /// Join a session keyring.
    Keyring,
    /// Set security labels.
    Label,
    /// Drop or raise capabilities.
    Capabilities,
    /// Switch the user and groups.
    User,
    /// Change to the working directory.
    Cwd,
    /// Install the system call filter.
    Seccomp,
    /// Find and run the program.
    Exec,
}

impl Step {
    /// What the step does, as in an error text.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Spawn => "start shim",
            Step::Config => "read configuration",
            Step::Shim => "set up shim",
            Step::Cgroup => "set up cgroup",
            Step::Namespace => "set up namespace",
            Step::Rootfs => "mount root file system",
            Step::Mount => "mount",
            Step::Device => "make device",
            Step::MaskPath => "mask path",
            Step::ReadonlyPath => "make path read-only",
            Step::PivotRoot => "switch root",
            Step::Sysctl => "set sysctl",
            Step::Hostname => "set host name",
            Step::Console => "set up terminal",
            Step::Hook => "run hook",
            Step::Rlimit => "set limit",
            Step::Keyring => "join session keyring",
            Step::Label => "set security label",
            Step::Capabilities => "set capabilities",
            Step::User => "set user",
            Step::Cwd => "chdir to cwd",
            Step::Seccomp => "install seccomp filter",
            Step::Exec => "exec",
        }
    }
}

/// What a failure means for the exit code of `docker run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The program does not exist: 127.
    CommandNotFound,
    /// The program exists and cannot be run: 126.
    NotExecutable,
    /// Anything else: the engine's 128 or 125.
    Other,
}

impl ErrorKind {
    /// Exit code the container gets.
    pub fn exit_code(self) -> i32 {
        match self {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::NotExecutable => 126,
            ErrorKind::Other => 128,
        }
    }
}

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.render())]
pub struct StartError {
    /// Where.
    pub step: Step,
    /// On what: a path, a namespace, a program.
    pub subject: String,
    /// errno, where the kernel refused.
    pub errno: Option<i32>,
    /// The cause in words, where errno says too little.
    pub detail: Option<String>,
}

impl StartError {
    /// A refusal of the kernel.
    pub fn os(step: Step, subject: impl Into<String>, errno: rustix::io::Errno) -> StartError {
        StartError { step, subject: subject.into(), errno: Some(errno.raw_os_error()), detail: None }
    }

    /// An I/O error.
    pub fn io(step: Step, subject: impl Into<String>, error: &std::io::Error) -> StartError {
        let detail = error.raw_os_error().is_none().then(|| error.to_string());
        StartError { step, subject: subject.into(), errno: error.raw_os_error(), detail }
    }

    /// A cause in words.
    pub fn because(step: Step, subject: impl Into<String>, detail: impl Into<String>) -> StartError {
        StartError { step, subject: subject.into(), errno: None, detail: Some(detail.into()) }
    }

    /// Adds words to a refusal of the kernel.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> StartError {
        self.detail = Some(detail.into());
        self
    }

    /// What the failure means for the exit code.
    pub fn kind(&self) -> ErrorKind {
        use rustix::io::Errno;
        if self.step != Step::Exec {
            return ErrorKind::Other;
        }
        match self.errno.map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) => ErrorKind::CommandNotFound,
            Some(_) => ErrorKind::NotExecutable,
            None => ErrorKind::Other,
        }
    }

    /// Whether the kernel does not know how to run the program: it is for another machine, or none.
    pub fn is_format(&self) -> bool {
        self.step == Step::Exec && self.errno == Some(rustix::io::Errno::NOEXEC.raw_os_error())
    }

    fn render(&self) -> String {
        let cause = match (&self.detail, self.errno) {
            (Some(detail), _) => detail.clone(),
            (None, Some(errno)) => errno_text(errno),
            (None, None) => "failed".to_owned(),
        };
        match self.step {
            Step::Exec => format!("exec: {:?}: {cause}", self.subject),
            Step::Cwd => format!("chdir to cwd ({:?}) set in config.json failed: {cause}", self.subject),
            step if self.subject.is_empty() => format!("{}: {cause}", step.as_str()),
            step => format!("{} {}: {cause}", step.as_str(), self.subject),
        }
    }
}

/// The kernel's words for an errno, in lower case as Go programs print them.
pub fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => format!("errno {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn says_what_docker_says() {
        let missing =
            StartError::os(Step::Exec, "foo", Errno::NOENT).with_detail("executable file not found in $PATH");
        assert_eq!(missing.to_string(), "exec: \"foo\": executable file not found in $PATH");
        assert_eq!(missing.kind(), ErrorKind::CommandNotFound);
        let denied = StartError::os(Step::Exec, "/etc/passwd", Errno::ACCESS);
        assert_eq!(denied.to_string(), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(denied.kind().exit_code(), 126);
        let mount = StartError::os(Step::Mount, "/data", Errno::NOENT);
        assert_eq!(mount.to_string(), "mount /data: no such file or directory");
        assert_eq!(mount.kind(), ErrorKind::Other);
    }
}
