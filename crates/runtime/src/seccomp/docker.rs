//! Profiles in Docker's own JSON (`--security-opt seccomp=profile.json`): OCI rules with conditions on
//! capabilities, architecture and kernel, which are decided here.

use dray_spec::runtime::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompRule};
use serde::Deserialize;

/// A profile that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not the JSON of a profile.
    #[error("decoding seccomp profile failed: {0}")]
    Json(#[from] serde_json::Error),
    /// Both forms of naming architectures.
    #[error(
        "'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'"
    )]
    BothArchitectures,
    /// Both forms of naming calls.
    #[error("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")]
    BothNames,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: SeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<SeccompArch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: SeccompArch,
    #[serde(default)]
    sub_architectures: Option<Vec<SeccompArch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: SeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SeccompArg>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Go's name of this machine's architecture.
const GO_ARCH: &str = "amd64";

/// Reads a profile for a container with these capabilities in its bounding set.
///
/// # Errors
/// In Docker's words.
pub fn from_docker(json: &str, bounding: &[String]) -> Result<Seccomp, ProfileError> {
    let profile: Profile = serde_json::from_str(json)?;
    let listed = profile.architectures.unwrap_or_default();
    let mapped = profile.arch_map.unwrap_or_default();
    if !listed.is_empty() && !mapped.is_empty() {
        return Err(ProfileError::BothArchitectures);
    }
    let mut architectures = listed;
    for map in mapped.iter().filter(|map| map.architecture == SeccompArch::X86_64) {
        architectures.push(map.architecture);
        architectures.extend(map.sub_architectures.iter().flatten());
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        syscalls.extend(rule_of(rule, bounding)?);
    }
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: profile.flags.unwrap_or_default(),
        listener_path: None,
        listener_metadata: None,
        syscalls,
    })
}

fn rule_of(rule: Rule, bounding: &[String]) -> Result<Option<SeccompRule>, ProfileError> {
    let mut names = rule.names.unwrap_or_default();
    if !rule.name.is_empty() {
        if !names.is_empty() {
            return Err(ProfileError::BothNames);
        }
        names.push(rule.name);
    }
    let (includes, excludes) = (rule.includes.unwrap_or_default(), rule.excludes.unwrap_or_default());
    let holds = |cap: &String| bounding.contains(cap);
    let arches = |filter: &Filter| filter.arches.clone().unwrap_or_default();
    let counts = includes.caps.unwrap_or_default().iter().all(holds)
        && !excludes.caps.clone().unwrap_or_default().iter().any(holds)
        && (includes.arches.is_none() || includes.arches.unwrap_or_default().iter().any(|a| a == GO_ARCH))
        && !arches(&excludes).iter().any(|arch| arch == GO_ARCH)
        && includes.min_kernel.is_none_or(|version| dray_sys::kernel::is_at_least(&version))
        && !excludes.min_kernel.is_some_and(|version| dray_sys::kernel::is_at_least(&version));
    Ok(counts.then(|| SeccompRule {
        names,
        action: rule.action,
        errno_ret: rule.errno_ret,
        args: rule.args.unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_decided() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64",
            "subArchitectures":["SCMP_ARCH_X86"]},{"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
            "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":null},
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]}},
            {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"name":"sync_file_range2","action":"SCMP_ACT_ALLOW","includes":{"arches":["arm"]}}]}"#;
        let names = |caps: &[&str]| -> Vec<String> {
            let caps: Vec<String> = caps.iter().map(|&c| c.to_owned()).collect();
            from_docker(json, &caps).unwrap().syscalls.into_iter().flat_map(|rule| rule.names).collect()
        };
        assert_eq!(names(&[]), ["read", "ptrace", "clone3"]);
        assert_eq!(names(&["CAP_BPF", "CAP_SYS_ADMIN"]), ["read", "bpf", "ptrace"]);
        let architectures = from_docker(json, &[]).unwrap().architectures;
        assert_eq!(architectures, [SeccompArch::X86_64, SeccompArch::X86]);
        assert!(
            from_docker("{", &[]).unwrap_err().to_string().starts_with("decoding seccomp profile failed")
        );
    }
}
