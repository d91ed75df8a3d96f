//! The last steps before the user's program, the same for a container's own and for an exec: limits, rights,
//! user, directory, filter, exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use dray_spec::runtime::{Capabilities, Process, Rlimit};
use dray_sys::caps::{self, CapSet};
use dray_sys::process as proc;
use rustix::fs::{Access, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::At;
use super::identity::{self, Identity};
use super::tree::Tree;
use crate::error::{StartError, Step};

/// How a program is to be run.
#[derive(Debug)]
pub struct Program<'a> {
    /// What and as whom.
    pub process: &'a Process,
    /// Compiled system call filter; empty for none.
    pub filter: &'a [u8],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub filter_flags: u32,
    /// Make the working directory if it is missing.
    pub make_cwd: bool,
    /// Descriptors above the standard ones that the program keeps.
    pub preserve_fds: u32,
    /// Kill the program when its parent dies.
    pub dies_with_parent: bool,
    /// Opened before the root was switched, to be written just before exec: where security modules take the
    /// label of the next program.
    pub label: Option<(std::os::fd::OwnedFd, String)>,
    /// Whether the standard streams get the user as their owner.
    pub own_streams: bool,
}

impl Program<'_> {
    /// Drops what the program must not have and becomes it. `ready` is called when only the exec is left.
    pub fn run(
        mut self,
        root: &Tree,
        ready: impl FnOnce() -> Result<(), StartError>,
    ) -> Result<Infallible, StartError> {
        let process = self.process;
        let identity = identity::find(root, &process.user)?;
        let env = environment(process, &identity)?;
        set_limits(&process.rlimits)?;
        proc::close_on_exec_from(3 + self.preserve_fds as i32).at(Step::Exec, "close descriptors")?;
        if let Some((file, label)) = self.label.take() {
            rustix::io::write(&file, format!("exec {label}").as_bytes()).at(Step::Label, label)?;
        }
        if self.own_streams {
            own_standard_streams(&identity);
        }
        rustix::process::umask(Mode::from_raw_mode(process.user.umask.unwrap_or(0o022)));
        // As much as possible before the filter, which need not allow what only a runtime calls.
        let entered = self.enter_cwd(&identity, false)?;
        let found = if entered { Some(find_program(process)?) } else { None };
        proc::reset_signals();
        if process.no_new_privileges {
            proc::no_new_privileges().at(Step::Capabilities, "no_new_privs")?;
        } else {
            self.install_filter()?;
        }
        drop_rights(process.capabilities.as_ref(), &identity)?;
        let path = match found {
            Some(path) => path,
            None => {
                self.enter_cwd(&identity, true)?;
                find_program(process)?
            }
        };
        if self.dies_with_parent {
            // After the change of user, which takes it back. A parent that is gone already does not hear of
            // `ready`.
            proc::parent_death_signal(SIGKILL).at(Step::Exec, "parent death signal")?;
        }
        if process.no_new_privileges {
            self.install_filter()?;
        }
        ready()?;
        Err(execute(&path, process, &env))
    }

    fn install_filter(&self) -> Result<(), StartError> {
        if self.filter.is_empty() {
            return Ok(());
        }
        let filter = dray_sys::seccomp::from_bytes(self.filter);
        dray_sys::seccomp::install(&filter, self.filter_flags).at(Step::Seccomp, "")?;
        Ok(())
    }

    /// CVE-2024-21626: a descriptor of the host may have been meant by the directory.
    fn check_cwd(&self) -> Result<(), StartError> {
        let subject = || self.process.cwd.display().to_string();
        let cwd = rustix::process::getcwd(Vec::new()).at(Step::Cwd, subject())?;
        if cwd.to_bytes().starts_with(b"/") {
            return Ok(());
        }
        let detail = "current working directory is outside of container mount namespace root";
        Err(StartError::because(Step::Cwd, subject(), detail))
    }

    /// Enters the working directory; `false` if that has to be tried again as the user.
    fn enter_cwd(&self, identity: &Identity, last: bool) -> Result<bool, StartError> {
        let cwd = &self.process.cwd;
        let subject = || cwd.display().to_string();
        match rustix::process::chdir(cwd) {
            Ok(()) => self.check_cwd().map(|()| true),
            Err(Errno::NOENT) if self.make_cwd && !last => {
                make_cwd(cwd, identity).at(Step::Cwd, subject())?;
                rustix::process::chdir(cwd).at(Step::Cwd, subject())?;
                self.check_cwd().map(|()| true)
            }
            Err(Errno::ACCESS) if !last => Ok(false),
            Err(errno) => Err(StartError::os(Step::Cwd, subject(), errno)),
        }
    }
}

/// Number of the signal nobody can catch.
const SIGKILL: i32 = 9;

/// Makes a missing working directory, as Docker does. This process is inside the container's root already.
fn make_cwd(cwd: &Path, identity: &Identity) -> std::io::Result<()> {
    std::fs::create_dir_all(cwd)?;
    std::os::unix::fs::chown(cwd, Some(identity.uid), Some(identity.gid))
}

fn environment(process: &Process, identity: &Identity) -> Result<Vec<CString>, StartError> {
    let mut env = Vec::with_capacity(process.env.len() + 1);
    for variable in &process.env {
        if !variable.contains('=') || variable.starts_with('=') {
            let detail = "environment variable is not NAME=value";
            return Err(StartError::because(Step::Config, variable, detail));
        }
        env.push(c_string(variable)?);
    }
    // An empty HOME counts as none, as in Docker.
    env.retain(|variable| variable.as_bytes() != b"HOME=");
    if !env.iter().any(|variable| variable.as_bytes().starts_with(b"HOME=")) {
        env.push(c_string(&format!("HOME={}", identity.home.as_deref().unwrap_or("/")))?);
    }
    Ok(env)
}

fn c_string(text: &str) -> Result<CString, StartError> {
    CString::new(text).map_err(|_| StartError::because(Step::Config, text, "contains a NUL byte"))
}

/// Number of a resource limit by its name.
pub fn rlimit_number(name: &str) -> Option<u32> {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("RLIMIT_").unwrap_or(&upper);
    NAMES.iter().position(|&known| known == plain).and_then(|at| u32::try_from(at).ok())
}

fn set_limits(limits: &[Rlimit]) -> Result<(), StartError> {
    for limit in limits {
        let Some(number) = rlimit_number(&limit.kind) else {
            return Err(StartError::because(Step::Rlimit, &limit.kind, "no such resource limit"));
        };
        proc::set_rlimit(number, limit.soft, limit.hard)
            .at(Step::Rlimit, format!("{} {}:{}", limit.kind, limit.soft, limit.hard))?;
    }
    Ok(())
}

fn set_of(names: &[String]) -> CapSet {
    // A capability this kernel does not know cannot be given; Docker passes over it too.
    names.iter().filter_map(|name| caps::bit(name)).fold(0, |set, bit| set | bit)
}

fn drop_rights(capabilities: Option<&Capabilities>, identity: &Identity) -> Result<(), StartError> {
    let held = caps::permitted().at(Step::Capabilities, "")?;
    if let Some(wanted) = capabilities {
        caps::bound(set_of(&wanted.bounding)).at(Step::Capabilities, "bounding set")?;
    }
    proc::keep_capabilities(true).at(Step::Capabilities, "keep capabilities")?;
    set_user(identity)?;
    proc::keep_capabilities(false).at(Step::Capabilities, "keep capabilities")?;
    let Some(wanted) = capabilities else { return Ok(()) };
    let permitted = set_of(&wanted.permitted) & held;
    let inheritable = set_of(&wanted.inheritable) & held;
    caps::set(set_of(&wanted.effective) & permitted, permitted, inheritable).at(Step::Capabilities, "")?;
    let ambient = set_of(&wanted.ambient) & permitted & inheritable;
    caps::set_ambient(ambient).at(Step::Capabilities, "ambient set")
}

fn set_user(identity: &Identity) -> Result<(), StartError> {
    match proc::set_groups(&identity.groups) {
        // A user namespace whose setgroups is denied: there are none to set either.
        Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) && identity.groups.is_empty() => {}
        other => other.at(Step::User, "supplementary groups")?,
    }
    proc::set_ids(identity.uid, identity.gid).at(Step::User, format!("{}:{}", identity.uid, identity.gid))
}

/// Lets the user open /dev/stdout and its like again: pipes and terminals belong to whoever made them.
fn own_standard_streams(identity: &Identity) {
    if identity.uid == 0 {
        return;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let is_null = stat.st_rdev == rustix::fs::makedev(1, 3);
        if is_null || stat.st_uid == identity.uid {
            continue;
        }
        // Not every stream can be given away (sockets of others, read-only mounts); runc passes over it too.
        let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(identity.uid)), None);
    }
}

/// Finds the program as execvp would, with the words a user of Docker knows.
fn find_program(process: &Process) -> Result<PathBuf, StartError> {
    let Some(name) = process.args.first().filter(|name| !name.is_empty()) else {
        return Err(StartError::os(Step::Exec, "", Errno::NOENT).with_detail("no command specified"));
    };
    if name.contains('/') {
        return check_program(name).map(|()| PathBuf::from(name));
    }
    let path = process.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = Path::new(dir).join(name);
        if is_executable_file(&candidate) {
            return Ok(candidate);
        }
    }
    Err(StartError::os(Step::Exec, name, Errno::NOENT).with_detail("executable file not found in $PATH"))
}

fn is_executable_file(path: &Path) -> bool {
    let Ok(stat) = rustix::fs::stat(path) else { return false };
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
}

fn check_program(name: &str) -> Result<(), StartError> {
    let stat = rustix::fs::stat(name).map_err(|errno| {
        let words = crate::error::errno_text(errno.raw_os_error());
        StartError::os(Step::Exec, name, errno).with_detail(format!("stat {name}: {words}"))
    })?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(StartError::os(Step::Exec, name, Errno::ISDIR));
    }
    if stat.st_mode & 0o111 == 0 || rustix::fs::access(name, Access::EXISTS).is_err() {
        return Err(StartError::os(Step::Exec, name, Errno::ACCESS));
    }
    Ok(())
}

fn execute(path: &Path, process: &Process, env: &[CString]) -> StartError {
    use std::os::unix::ffi::OsStrExt;
    let name = process.args.first().map_or("", String::as_str);
    let args = match process.args.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>() {
        Ok(args) => args,
        Err(error) => return error,
    };
    let Ok(program) = CString::new(path.as_os_str().as_bytes()) else {
        return StartError::because(Step::Exec, name, "contains a NUL byte");
    };
    let error = proc::exec(&program, &args, env);
    StartError::io(Step::Exec, name, &error)
}

/// Opens the file that takes the AppArmor profile of the next program; `None` where there is no AppArmor.
pub fn open_label(process: &Process) -> Result<Option<(std::os::fd::OwnedFd, String)>, StartError> {
    let selinux = process.selinux_label.as_deref().filter(|label| !label.is_empty());
    if let Some(label) = selinux {
        if !Path::new("/sys/fs/selinux/enforce").exists() {
            return Err(StartError::because(Step::Label, label, "this kernel has no SELinux"));
        }
        let file = open_write("/proc/self/attr/exec").at(Step::Label, label)?;
        rustix::io::write(file.as_fd(), label.as_bytes()).at(Step::Label, label)?;
    }
    let Some(profile) = process.apparmor_profile.as_deref().filter(|profile| !profile.is_empty()) else {
        return Ok(None);
    };
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|v| v.starts_with(b"Y"));
    if !enabled || profile == "unconfined" {
        return Ok(None);
    }
    let file = open_write("/proc/self/attr/apparmor/exec")
        .or_else(|_| open_write("/proc/self/attr/exec"))
        .at(Step::Label, profile)?;
    Ok(Some((file, profile.to_owned())))
}

fn open_write(path: &str) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// What has to be written through the host's /proc before the root is switched: the OOM score.
pub fn set_oom_score(process: &Process) -> Result<(), StartError> {
    let Some(score) = process.oom_score_adj else { return Ok(()) };
    let path = "/proc/self/oom_score_adj";
    let current = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if current == Some(score) {
        return Ok(());
    }
    std::fs::write(path, score.to_string()).at(Step::Rlimit, format!("oom_score_adj {score}"))
}

/// Scheduling policy and I/O priority.
pub fn set_scheduling(process: &Process) -> Result<(), StartError> {
    if let Some(wanted) = &process.io_priority {
        let class = match wanted.class.as_str() {
            "IOPRIO_CLASS_RT" => 1,
            "IOPRIO_CLASS_BE" => 2,
            "IOPRIO_CLASS_IDLE" => 3,
            other => return Err(StartError::because(Step::Rlimit, other, "unknown I/O priority class")),
        };
        let level = u16::try_from(wanted.priority).unwrap_or(u16::MAX);
        proc::set_io_priority(class, level).at(Step::Rlimit, "I/O priority")?;
    }
    let Some(wanted) = &process.scheduler else { return Ok(()) };
    let policy = match wanted.policy.as_str() {
        "" | "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(StartError::because(Step::Rlimit, other, "unknown scheduling policy")),
    };
    let flags = wanted.flags.iter().map(|flag| match flag.as_str() {
        "SCHED_FLAG_RESET_ON_FORK" => 0x1,
        "SCHED_FLAG_RECLAIM" => 0x2,
        "SCHED_FLAG_DL_OVERRUN" => 0x4,
        "SCHED_FLAG_KEEP_POLICY" => 0x8,
        "SCHED_FLAG_KEEP_PARAMS" => 0x10,
        "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
        "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
        _ => 0,
    });
    proc::set_scheduler(proc::SchedAttr {
        policy,
        flags: flags.fold(0, |all, flag| all | flag),
        nice: wanted.nice.unwrap_or(0),
        priority: wanted.priority.unwrap_or(0).unsigned_abs(),
        runtime: wanted.runtime.unwrap_or(0),
        deadline: wanted.deadline.unwrap_or(0),
        period: wanted.period.unwrap_or(0),
        ..proc::SchedAttr::default()
    })
    .at(Step::Rlimit, "scheduler")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_kernels_numbers() {
        assert_eq!(rlimit_number("RLIMIT_NOFILE"), Some(7));
        assert_eq!(rlimit_number("nproc"), Some(6));
        assert_eq!(rlimit_number("RLIMIT_RTTIME"), Some(15));
        assert_eq!(rlimit_number("RLIMIT_NOSUCH"), None);
    }

    #[test]
    fn home_is_filled_in() {
        let process = Process { env: vec!["A=b".into(), "HOME=".into()], ..Process::default() };
        let identity = Identity { home: Some("/root".into()), ..Identity::default() };
        let env = environment(&process, &identity).unwrap();
        assert_eq!(env, [c"A=b".to_owned(), c"HOME=/root".to_owned()]);
        let bad = Process { env: vec!["novalue".into()], ..Process::default() };
        assert!(environment(&bad, &identity).is_err());
    }
}
