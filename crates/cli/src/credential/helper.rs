//! The `docker-credential-…` protocol: a program is called with `get`, `store`, `erase` or `list`, reads its input and
//! prints its answer, errors included, on standard output.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::command_error::Error;

/// What a helper says of a registry it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// User and secret of a registry, if the helper has them.
pub(super) fn get(helper: &str, server: &str) -> Result<Option<(String, String)>, Error> {
    let out = match call(helper, "get", server)? {
        Ok(out) => out,
        Err(failure) if failure.out == NOT_FOUND => return Ok(None),
        Err(failure) => return Err(failure.of("getting")),
    };
    let answer: Value = parse(helper, &out)?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Some((text("Username"), text("Secret"))))
}

/// Gives the helper a registry's user and secret.
pub(super) fn store(helper: &str, server: &str, user: &str, secret: &str) -> Result<(), Error> {
    let input = json!({"ServerURL": server, "Username": user, "Secret": secret}).to_string();
    call(helper, "store", &input)?.map(drop).map_err(|failure| failure.of("storing"))
}

/// Makes the helper forget a registry.
pub(super) fn erase(helper: &str, server: &str) -> Result<(), Error> {
    call(helper, "erase", server)?.map(drop).map_err(|failure| failure.of("erasing"))
}

/// The registries that the helper knows.
pub(super) fn list(helper: &str) -> Result<Vec<String>, Error> {
    let out = call(helper, "list", "unused")?.map_err(|failure| failure.of("listing"))?;
    let users: BTreeMap<String, String> = parse(helper, &out)?;
    Ok(users.into_keys().collect())
}

fn parse<T: serde::de::DeserializeOwned>(helper: &str, out: &str) -> Result<T, Error> {
    serde_json::from_str(out)
        .map_err(|source| Error::Json { what: format!("docker-credential-{helper}"), source })
}

/// A helper that said no.
struct Failure {
    status: String,
    out: String,
}

impl Failure {
    fn of(self, doing: &str) -> Error {
        Error::Refused(format!("error {doing} credentials - err: {}, out: `{}`", self.status, self.out))
    }
}

/// Calls the helper; gives what it printed.
fn call(helper: &str, action: &str, input: &str) -> Result<Result<String, Failure>, Error> {
    let program = format!("docker-credential-{helper}");
    let spawned = Command::new(&program).arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let status = format!("exec: {program:?}: executable file not found in $PATH");
            return Ok(Err(Failure { status, out: String::new() }));
        }
        Err(error) => return Err(Error::file("exec", &program)(error)),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input says in its answer what is wrong.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = child.wait_with_output().map_err(Error::file("wait", &program))?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if out.status.success() {
        return Ok(Ok(text));
    }
    let status = match out.status.code() {
        Some(code) => format!("exit status {code}"),
        None => out.status.to_string(),
    };
    Ok(Err(Failure { status, out: text }))
}
