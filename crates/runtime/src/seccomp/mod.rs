//! System call filters: from rules to BPF.
//!
//! ```text
//! default table or OCI profile ─▶ [`Seccomp`] ─▶ `resolve`: number → rules, by architecture
//!                                             ─▶ `compile`: balanced tree over ranges of numbers ─▶ BPF
//! ```
//!
//! A range tree finds a call in about eight comparisons where a linear list needs hundreds, and it is shorter,
//! so the kernel checks and loads it ten times faster. Compiled filters are kept by capability set: a daemon
//! compiles the default profile once.

mod compile;
mod default;
mod docker;
mod resolve;
mod syscalls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dray_spec::runtime::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOperator, SeccompRule};
use dray_sys::seccomp::Instruction;

use crate::error::{StartError, Step};
use crate::shim::request::{SeccompPolicy, ShimRequest};

pub use docker::{ProfileError, from_docker};

/// A profile that cannot be made into a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// Rules for an argument a call does not have.
    #[error("seccomp: {name}: argument {index} does not exist")]
    BadArgument {
        /// Call.
        name: String,
        /// Argument.
        index: u32,
    },
    /// None of the architectures can run here.
    #[error("seccomp: the profile names no architecture of this machine")]
    NoArchitecture,
    /// A flag this kernel interface does not have.
    #[error("seccomp: unknown flag {flag:?}")]
    UnknownFlag {
        /// The flag.
        flag: String,
    },
    /// Handing calls to another process is not offered.
    #[error("seccomp: SCMP_ACT_NOTIFY is not supported")]
    Notify,
    /// More rules than the kernel takes.
    #[error("seccomp: the compiled profile has {len} instructions, the kernel takes 4096")]
    TooLong {
        /// Instructions.
        len: usize,
    },
}

/// Docker's default profile for a container with these capabilities.
pub fn default_profile(bounding: &[String]) -> Seccomp {
    let holds = |cap: &str| bounding.iter().any(|held| held == cap);
    let rules = default::ROWS.iter().filter(|row| match row.when {
        default::When::Always => true,
        default::When::With(cap) => holds(cap),
        default::When::Without(cap) => !holds(cap),
    });
    Seccomp {
        default_action: SeccompAction::Errno,
        default_errno_ret: Some(1),
        architectures: vec![SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32],
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        syscalls: rules.map(rule_of).collect(),
    }
}

fn rule_of(row: &default::Row) -> SeccompRule {
    use default::Check;
    let arg = |index, value, value_two, op| SeccompArg { index, value, value_two, op };
    let args = row.check.map(|check| match check {
        Check::Less(index, value) => arg(index, value, 0, SeccompOperator::Lt),
        Check::Equal(index, value) => arg(index, value, 0, SeccompOperator::Eq),
        Check::Greater(index, value) => arg(index, value, 0, SeccompOperator::Gt),
        Check::NoneOf(index, mask) => arg(index, mask, 0, SeccompOperator::MaskedEq),
    });
    SeccompRule {
        names: row.names.iter().map(|&name| name.to_owned()).collect(),
        action: if row.errno.is_some() { SeccompAction::Errno } else { SeccompAction::Allow },
        errno_ret: row.errno,
        args: args.into_iter().collect(),
    }
}

/// Compiles a profile.
///
/// # Errors
/// Says what of it cannot be expressed.
pub fn compile(profile: &Seccomp) -> Result<Vec<Instruction>, SeccompError> {
    compile::program(profile)
}

/// The install flags of a profile.
///
/// # Errors
/// Names a flag that is unknown.
pub fn flags(profile: &Seccomp) -> Result<u32, SeccompError> {
    use dray_sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE};
    profile.flags.iter().try_fold(0, |flags, flag| match flag.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | FLAG_LOG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | FLAG_SPEC_ALLOW),
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Ok(flags | FLAG_WAIT_KILLABLE),
        // Means nothing with one thread.
        "SECCOMP_FILTER_FLAG_TSYNC" | "" => Ok(flags),
        other => Err(SeccompError::UnknownFlag { flag: other.to_owned() }),
    })
}

type Compiled = HashMap<Vec<String>, Arc<Vec<u8>>>;
static COMPILED: Mutex<Option<Compiled>> = Mutex::new(None);

/// The default profile for these capabilities, compiled, as bytes.
fn default_filter(bounding: &[String]) -> Result<Arc<Vec<u8>>, SeccompError> {
    let mut key = bounding.to_vec();
    key.sort();
    let mut cache = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = cache.get_or_insert_with(HashMap::new);
    if let Some(filter) = cache.get(&key) {
        return Ok(filter.clone());
    }
    let filter = Arc::new(dray_sys::seccomp::to_bytes(&compile(&default_profile(bounding))?));
    cache.insert(key, filter.clone());
    Ok(filter)
}

/// The compiled filter of a start request; empty for none.
pub(crate) fn filter_for(request: &ShimRequest) -> Result<Arc<Vec<u8>>, StartError> {
    let filter = match &request.seccomp {
        SeccompPolicy::Unconfined => Ok(Arc::default()),
        SeccompPolicy::Default => {
            let process = request.spec.process.as_ref();
            let capabilities = process.and_then(|process| process.capabilities.as_ref());
            default_filter(capabilities.map_or(&[], |sets| &sets.bounding))
        }
        SeccompPolicy::Profile(profile) => {
            flags(profile).and_then(|_| compile(profile)).map(|f| Arc::new(dray_sys::seccomp::to_bytes(&f)))
        }
    };
    filter.map_err(|error| StartError::because(Step::Seccomp, "", error.to_string()))
}

/// The install flags of a policy that was compiled already.
pub(crate) fn policy_flags(policy: &SeccompPolicy) -> u32 {
    match policy {
        SeccompPolicy::Profile(profile) => flags(profile).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
