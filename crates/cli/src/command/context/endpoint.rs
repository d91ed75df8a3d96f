//! `--docker` of contexts: `host=…,ca=…,cert=…,key=…,skip-tls-verify=…`, or `from=` another context.

use std::collections::BTreeMap;

use dray_client::Endpoint;

use crate::app::App;
use crate::command_error::{Error, Sys};
use crate::context::{self, DOCKER, Meta, TlsFiles};
use crate::flag::{Flag, NONE, Parsed, commas};

/// What help says of the flag.
pub const DETAILS: &str =
    "Settings of --docker:\n\n  from              Copy the address and certificates of another context
  host              Address of the daemon
  ca                Trust only certificates that this authority has signed
  cert              The client's certificate
  key               The client's key
  skip-tls-verify   Do not check who the daemon is";

const KEYS: [&str; 6] = ["ca", "cert", "from", "host", "key", "skip-tls-verify"];

/// The flag.
pub const FLAG: Flag =
    commas("docker", NONE, "Set the daemon's address").shown("stringToString").default("[]").check(check);

fn check(value: &str) -> Result<(), String> {
    let wrong = |pair: &&str| !pair.is_empty() && !pair.contains('=');
    match value.split(',').find(wrong) {
        Some(pair) => Err(format!("{pair} must be formatted as key=value")),
        None => Ok(()),
    }
}

/// Whether the flag was given.
pub fn given(p: &Parsed) -> bool {
    !settings(p).is_empty()
}

fn settings(p: &Parsed) -> BTreeMap<String, String> {
    let pairs = p.all("docker").into_iter();
    pairs
        .filter_map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

/// Gives a context the daemon that the flag says, with its certificates.
///
/// # Errors
/// A setting that is none, a file that cannot be read.
pub fn set(app: &App, p: &Parsed, meta: &mut Meta) -> Result<TlsFiles, Error> {
    let wrong = |why: String| Error::Refused(format!("unable to create docker endpoint config: {why}"));
    let settings = settings(p);
    let unknown: Vec<String> = settings
        .keys()
        .filter(|key| !KEYS.contains(&key.as_str()))
        .map(|key| format!("unrecognized config key: {key}"))
        .collect();
    if !unknown.is_empty() {
        return Err(wrong(unknown.join("\n")));
    }
    if let Some(from) = settings.get("from") {
        let (other, mut tls) = context::whole(app, from)?;
        meta.set_host(other.host(), other.skip_tls_verify());
        tls.retain(|endpoint, _| endpoint == DOCKER);
        return Ok(tls);
    }
    let mut files = BTreeMap::new();
    for key in ["ca", "cert", "key"] {
        let Some(path) = settings.get(key).filter(|path| !path.is_empty()) else { continue };
        let bytes = std::fs::read(path).map_err(|e| wrong(format!("open {path}: {}", Sys(e))))?;
        files.insert(format!("{key}.pem"), bytes);
    }
    let skip = match settings.get("skip-tls-verify").map(String::as_str) {
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some(other) => return Err(wrong(format!("skip-tls-verify: parsing {other:?}: invalid syntax"))),
    };
    let host = settings.get("host").map_or("", String::as_str);
    if !host.is_empty() {
        Endpoint::parse(host, None)
            .map_err(|error| wrong(format!("unable to apply docker endpoint options: {error}")))?;
    }
    meta.set_host(host, skip);
    Ok(if files.is_empty() { TlsFiles::new() } else { TlsFiles::from([(DOCKER.to_owned(), files)]) })
}
