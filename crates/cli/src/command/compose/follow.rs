//! A container's output followed over its restarts, until it has ended for good.

use std::time::Duration;

use dray_client::container::LogOptions;
use dray_client::{Client, Hijacked};
use dray_compose::plan::Seen;

use super::output::{self, Output, short_name};
use crate::command_error::Error;

/// How a container ended.
#[derive(Debug)]
pub struct Ended {
    /// Its service.
    pub service: String,
    /// Its exit code.
    pub code: u8,
}

/// Shows a container's output until it has ended for good. `tail`: how many old lines of a container that runs.
///
/// # Errors
/// The daemon refuses, or a stream breaks off.
pub async fn follow(
    client: &Client,
    output: &Output,
    container: &Seen,
    joined: Option<Hijacked>,
    tail: Option<String>,
) -> Result<Ended, Error> {
    let (id, name) = (&container.summary.id, short_name(container));
    let service = container.service().to_owned();
    let tty = match client.container_inspect(id).await {
        Ok(found) => found.config.tty,
        Err(e) if e.is_not_found() => return Ok(Ended { service, code: 0 }),
        Err(e) => return Err(e.into()),
    };
    match joined {
        Some(mut joined) => output.show(&name, &mut joined.output, tty).await?,
        None => {
            let tail = tail.unwrap_or_else(|| "all".to_owned());
            let options =
                LogOptions { stdout: true, stderr: true, follow: true, tail, ..LogOptions::default() };
            output.show(&name, output::log(client, id, &options).await?, tty).await?;
        }
    }
    loop {
        let found = match client.container_inspect(id).await {
            Ok(found) => found,
            Err(e) if e.is_not_found() => return Ok(Ended { service, code: 0 }),
            Err(e) => return Err(e.into()),
        };
        let code = found.state.exit_code;
        match found.state.status.as_str() {
            "exited" | "dead" | "removing" => {
                output.status(&name, &format!("exited with code {code}"));
                return Ok(Ended { service, code: u8::try_from(code & 0xff).unwrap_or(1) });
            }
            "running" => {
                let options = LogOptions {
                    stdout: true,
                    stderr: true,
                    follow: true,
                    since: found.state.started_at.clone(),
                    ..LogOptions::default()
                };
                output.show(&name, output::log(client, id, &options).await?, tty).await?;
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
