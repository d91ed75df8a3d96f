//! A container's output followed over its restarts, until it has ended for good.

use std::time::Duration;

use dray_client::container::LogOptions;
use dray_client::{Client, Hijacked};
use dray_compose::plan::Seen;
use tokio::sync::watch;

use super::output::{self, Output, short_name};
use crate::command_error::Error;

/// Between two looks at a container whose output has ended.
const PAUSE: Duration = Duration::from_millis(50);
/// So many looks at a running one, then somebody has started it again.
const PATIENCE: u32 = 40;

/// How a container ended.
#[derive(Debug)]
pub struct Ended {
    /// Its service.
    pub service: String,
    /// Its exit code.
    pub code: u8,
    /// Whether it ran at all.
    pub ran: bool,
}

/// The output of a container that was joined before its start.
pub struct Joined {
    /// The output.
    pub stream: Hijacked,
    /// Turns true once all has been stopped: what has not been started until then never will be.
    pub stopped: watch::Receiver<bool>,
}

/// Shows a container's output until it has ended for good. `tail`: how many old lines of a container that runs.
///
/// # Errors
/// The daemon refuses, or a stream breaks off.
pub async fn follow(
    client: &Client,
    output: &Output,
    container: &Seen,
    joined: Option<Joined>,
    tail: Option<String>,
) -> Result<Ended, Error> {
    let (id, name) = (&container.summary.id, short_name(container));
    let service = container.service().to_owned();
    let (tty, mut restarts, before) = match client.container_inspect(id).await {
        Ok(found) => (found.config.tty, found.restart_count, found.state.started_at),
        Err(e) if e.is_not_found() => return Ok(Ended { service, code: 0, ran: true }),
        Err(e) => return Err(e.into()),
    };
    match joined {
        Some(Joined { mut stream, stopped }) => tokio::select! {
            done = output.show(&name, &mut stream.output, tty, true) => done?,
            () = left_out(client, id, &before, stopped) => return Ok(Ended { service, code: 0, ran: false }),
        },
        None => {
            let tail = tail.unwrap_or_else(|| "all".to_owned());
            let options =
                LogOptions { stdout: true, stderr: true, follow: true, tail, ..LogOptions::default() };
            output.show(&name, output::log(client, id, &options).await?, tty, false).await?;
        }
    }
    // The output ends a moment before the daemon knows of the end: running a little longer is no restart.
    let mut looks = 0;
    loop {
        let found = match client.container_inspect(id).await {
            Ok(found) => found,
            Err(e) if e.is_not_found() => return Ok(Ended { service, code: 0, ran: true }),
            Err(e) => return Err(e.into()),
        };
        let code = found.state.exit_code;
        match found.state.status.as_str() {
            "exited" | "dead" | "removing" => {
                output.status(&name, &format!("exited with code {code}"));
                return Ok(Ended { service, code: u8::try_from(code & 0xff).unwrap_or(1), ran: true });
            }
            "running" if found.restart_count == restarts && looks < PATIENCE => {
                looks += 1;
                tokio::time::sleep(PAUSE).await;
            }
            "running" => {
                (restarts, looks) = (found.restart_count, 0);
                let options = LogOptions {
                    stdout: true,
                    stderr: true,
                    follow: true,
                    since: found.state.started_at.clone(),
                    ..LogOptions::default()
                };
                output.show(&name, output::log(client, id, &options).await?, tty, false).await?;
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Waits until it is clear that a container is not started any more: the output of such a one never ends.
async fn left_out(client: &Client, id: &str, before: &str, mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_ok() {
        match client.container_inspect(id).await {
            Ok(found) if found.state.started_at == before => return,
            Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}
