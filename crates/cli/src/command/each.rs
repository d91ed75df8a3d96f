//! Does the same to each argument: prints those it worked for, collects the errors of the others.

use std::future::Future;

use crate::app::App;
use crate::command_error::Error;
use crate::spec::Done;

/// Runs `act` for each name in order; all are tried.
///
/// # Errors
/// Those of all names for which it failed.
pub async fn each<'a, F>(app: &App, names: &'a [String], act: impl Fn(&'a str) -> F) -> Done
where
    F: Future<Output = Result<(), Error>>,
{
    let mut errors = Vec::new();
    for name in names {
        match act(name).await {
            Ok(()) => app.print(format!("{name}\n"))?,
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors).map(|()| 0)
}

/// The same with all requests under way at once, results in order.
///
/// # Errors
/// Those of all names for which it failed.
pub async fn at_once<'a, F>(app: &App, names: &'a [String], act: impl Fn(&'a str) -> F) -> Done
where
    F: Future<Output = Result<(), Error>>,
{
    let done = futures_util::future::join_all(names.iter().map(|n| act(n))).await;
    let mut errors = Vec::new();
    for (name, result) in names.iter().zip(done) {
        match result {
            Ok(()) => app.print(format!("{name}\n"))?,
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors).map(|()| 0)
}
