//! Names to numbers: which rules speak of which call of which architecture.

use std::collections::BTreeMap;

use dray_spec::runtime::{Seccomp, SeccompArch, SeccompRule};

use super::SeccompError;
use super::syscalls;

/// Bit that tells an x32 call from one of 64-bit x86.
pub const X32_BIT: u32 = 0x4000_0000;

/// `AUDIT_ARCH_*` of 64-bit x86, which x32 shares.
pub const AUDIT_X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of 32-bit x86.
pub const AUDIT_X86: u32 = 0x4000_0003;

/// Architectures of this machine that a profile names, its own first.
pub fn architectures(profile: &Seccomp) -> Result<Vec<SeccompArch>, SeccompError> {
    if profile.architectures.is_empty() {
        return Ok(vec![SeccompArch::X86_64]);
    }
    let named = |arch: SeccompArch| profile.architectures.contains(&arch);
    let mut found = Vec::new();
    if named(SeccompArch::X86_64) || named(SeccompArch::Native) {
        found.push(SeccompArch::X86_64);
    }
    found.extend([SeccompArch::X32, SeccompArch::X86].into_iter().filter(|&arch| named(arch)));
    if found.is_empty() { Err(SeccompError::NoArchitecture) } else { Ok(found) }
}

/// Number of a call, x32 ones with their bit.
pub fn number(arch: SeccompArch, name: &str) -> Option<u32> {
    let find = |table: &[(&str, u32)]| {
        table.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|at| table[at].1)
    };
    match arch {
        SeccompArch::X86 => find(syscalls::X86),
        SeccompArch::X32 if syscalls::NOT_X32.contains(&name) => {
            find(syscalls::X32).map(|number| number | X32_BIT)
        }
        SeccompArch::X32 => {
            find(syscalls::X32).or_else(|| find(syscalls::X86_64)).map(|number| number | X32_BIT)
        }
        SeccompArch::X86_64 => find(syscalls::X86_64),
        _ => None,
    }
}

/// Rules by the number of the call, in the order of the profile.
pub fn rules(profile: &Seccomp, arch: SeccompArch) -> BTreeMap<u32, Vec<&SeccompRule>> {
    let mut found: BTreeMap<u32, Vec<&SeccompRule>> = BTreeMap::new();
    for rule in &profile.syscalls {
        for number in rule.names.iter().filter_map(|name| number(arch, name)) {
            found.entry(number).or_default().push(rule);
        }
    }
    found
}
