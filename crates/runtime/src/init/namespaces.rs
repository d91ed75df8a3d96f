//! Which namespaces a container gets: new ones of its own, existing ones by path, or the runtime's.

use std::fs;
use std::os::fd::OwnedFd;

use dray_spec::runtime::{IdMapping, Linux, NamespaceKind};
use dray_sys::clone::Namespaces;
use rustix::fs::{Mode, OFlags};

use super::At;
use crate::error::{StartError, Step};

/// Namespaces sorted by what has to be done for them.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be made.
    pub new: u64,
    /// To be joined, in an order that works.
    pub join: Vec<(NamespaceKind, OwnedFd)>,
}

/// The clone bit of a kind.
pub fn bit(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Pid => Namespaces::PID,
        NamespaceKind::Network => Namespaces::NETWORK,
        NamespaceKind::Mount => Namespaces::MOUNT,
        NamespaceKind::Ipc => Namespaces::IPC,
        NamespaceKind::Uts => Namespaces::UTS,
        NamespaceKind::User => Namespaces::USER,
        NamespaceKind::Cgroup => Namespaces::CGROUP,
        NamespaceKind::Time => Namespaces::TIME,
    }
}

/// The word of a kind.
pub fn name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Pid => "pid",
        NamespaceKind::Network => "network",
        NamespaceKind::Mount => "mount",
        NamespaceKind::Ipc => "ipc",
        NamespaceKind::Uts => "uts",
        NamespaceKind::User => "user",
        NamespaceKind::Cgroup => "cgroup",
        NamespaceKind::Time => "time",
    }
}

impl Plan {
    /// Sorts the configured namespaces and opens those that are joined.
    pub fn make(linux: &Linux) -> Result<Plan, StartError> {
        let mut plan = Plan::default();
        for namespace in &linux.namespaces {
            let kind = namespace.kind;
            let Some(path) = &namespace.path else {
                plan.new |= bit(kind);
                continue;
            };
            let subject = || format!("{} namespace {}", name(kind), path.display());
            let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .at(Step::Namespace, subject())?;
            plan.join.push((kind, file));
        }
        // The user namespace gives the rights for the others; the mount namespace takes the host's paths away.
        plan.join.sort_by_key(|(kind, _)| match kind {
            NamespaceKind::User => 0,
            NamespaceKind::Mount => 2,
            _ => 1,
        });
        let mount = plan.new & Namespaces::MOUNT != 0;
        if !mount || plan.joins(NamespaceKind::Mount) {
            return Err(StartError::because(
                Step::Namespace,
                "mount namespace",
                "a container needs a new mount namespace",
            ));
        }
        if plan.new & Namespaces::USER != 0
            && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty())
        {
            return Err(StartError::because(Step::Namespace, "user namespace", "no id mappings are given"));
        }
        Ok(plan)
    }

    /// Whether a kind is made.
    pub fn makes(&self, kind: NamespaceKind) -> bool {
        self.new & bit(kind) != 0
    }

    /// Whether a kind is joined.
    pub fn joins(&self, kind: NamespaceKind) -> bool {
        self.join.iter().any(|(joined, _)| *joined == kind)
    }

    /// Whether the container is in a user namespace of its own.
    pub fn has_user(&self) -> bool {
        self.makes(NamespaceKind::User) || self.joins(NamespaceKind::User)
    }
}

/// Lines of a `uid_map` or `gid_map`.
pub fn id_map(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

/// Writes the maps of a child's user namespace.
pub fn write_maps(pid: i32, linux: &Linux) -> Result<(), StartError> {
    for (file, mappings) in [("gid_map", &linux.gid_mappings), ("uid_map", &linux.uid_mappings)] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, id_map(mappings)).at(Step::Namespace, format!("user namespace {file}"))?;
    }
    Ok(())
}

/// Sets the clock offsets for a time namespace about to be entered by children of this process.
pub fn write_time_offsets(linux: &Linux) -> Result<(), StartError> {
    let lines: String = linux
        .time_offsets
        .iter()
        .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    fs::write("/proc/self/timens_offsets", lines).at(Step::Namespace, "time namespace offsets")
}
