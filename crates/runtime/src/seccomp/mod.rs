//! System call filters: the default profile, the compiler to BPF, and a cache of what was compiled.

mod compile;
mod names;
mod profile;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use dray_spec::runtime::Seccomp;
use dray_sys::seccomp::to_bytes;

use crate::error::{StartError, Step};
use crate::shim::request::{SeccompPolicy, ShimRequest};

/// The compiled filter of a request; empty for none.
///
/// # Errors
/// A profile of the caller's that cannot be compiled.
pub fn filter_for(request: &ShimRequest) -> Result<Vec<u8>, StartError> {
    match &request.seccomp {
        SeccompPolicy::Unconfined => Ok(Vec::new()),
        SeccompPolicy::Profile(profile) => compiled(profile),
        SeccompPolicy::Default => {
            let process = request.spec.process.as_ref();
            let capabilities = process.and_then(|process| process.capabilities.as_ref());
            default_filter(
                capabilities.map(|capabilities| capabilities.bounding.as_slice()).unwrap_or_default(),
            )
        }
    }
}

/// The default profile's filter, compiled once for each set of capabilities in the life of the process.
fn default_filter(capabilities: &[String]) -> Result<Vec<u8>, StartError> {
    static COMPILED: OnceLock<Mutex<HashMap<Vec<String>, Vec<u8>>>> = OnceLock::new();
    let mut key = capabilities.to_vec();
    key.sort_unstable();
    let mut cache = COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filter) = cache.get(&key) {
        return Ok(filter.clone());
    }
    let filter = compiled(&profile::default_profile(&key))?;
    cache.insert(key, filter.clone());
    Ok(filter)
}

/// A profile's filter as bytes.
///
/// # Errors
/// A rule that cannot be expressed.
pub fn compiled(profile: &Seccomp) -> Result<Vec<u8>, StartError> {
    let filter = compile::compile(profile)
        .map_err(|error| StartError::because(Step::Seccomp, "", error.to_string()))?;
    Ok(to_bytes(&filter))
}
