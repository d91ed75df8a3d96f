//! A container's output followed over its restarts, until it has ended: live where it was joined before its start,
//! from its log everywhere else.
//!
//! ```text
//! joined  ─ live output ──┐
//! log     ─ with times ───┼─ ended ─ look ─┬─ runs (again): its log from the place on that was reached ─ ended ─ look …
//! on      ────────────────┘                └─ has ended: what its log has after that place
//! ```

use std::time::Duration;

use dray_client::api::container::ContainerInspect;
use dray_client::container::{AttachOptions, LogOptions};
use dray_client::{Client, Hijacked};
use dray_compose::plan::Seen;
use tokio::sync::watch;

use super::output::{Output, short_name};
use super::position::{Entries, Position, Reading};
use super::say;
use crate::command_error::Error;
use crate::format::time::{fixed, parse_since};

/// Between two looks at a container whose output has ended.
const PAUSE: Duration = Duration::from_millis(50);
/// The output ends a moment before the daemon knows of the end; after so many looks the program only has closed it.
const PATIENCE: u32 = 40;

/// A container that is followed.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Its name, without the project's.
    pub name: String,
    /// Its service.
    pub service: String,
}

impl From<&Seen> for Member {
    fn from(seen: &Seen) -> Member {
        Member { id: seen.summary.id.clone(), name: short_name(seen), service: seen.service().to_owned() }
    }
}

/// Where following begins.
pub enum Begin {
    /// With live output, before the container's start.
    Joined(Box<Joined>),
    /// With a part of the log: what it is asked for with, and where that begins.
    Log(LogOptions, Position),
    /// With what comes from now on.
    End,
    /// Where it has stopped.
    On(Position),
}

/// The output of a container that was joined before its start.
pub struct Joined {
    stream: Hijacked,
    /// The container as it was then.
    before: ContainerInspect,
    /// The end of its log then.
    log: Position,
    /// Turns true once all has been stopped: what has not been started until then never will be.
    stopped: watch::Receiver<bool>,
}

/// How a container ended.
#[derive(Debug)]
pub struct Ended {
    /// The container.
    pub id: String,
    /// Its service.
    pub service: String,
    /// Its exit code.
    pub code: u8,
    /// Whether it ran at all.
    pub ran: bool,
    /// How far its log has been shown.
    pub position: Position,
}

/// Follows containers of a daemon.
pub struct Follower<'a> {
    /// The daemon.
    pub client: &'a Client,
    /// Where lines go.
    pub output: &'a Output,
    /// Whether each line is shown with the time that the log has for it.
    pub times: bool,
    /// Up to when lines are wanted; always if empty.
    pub until: String,
}

impl Follower<'_> {
    /// Joins a container's output before its start.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn join(&self, member: &Member, stopped: watch::Receiver<bool>) -> Result<Joined, Error> {
        let before = self.client.container_inspect(&member.id).await?;
        let log = if fixed(&before.state.started_at).starts_with("0001") {
            Position::default()
        } else {
            self.end_of_log(member, before.config.tty).await?
        };
        Ok(Joined { stream: self.attach(member).await?, before, log, stopped })
    }

    async fn attach(&self, member: &Member) -> Result<Hijacked, Error> {
        let options = AttachOptions { stream: true, stdout: true, stderr: true, ..AttachOptions::default() };
        Ok(self.client.container_attach(&member.id, &options).await?)
    }

    /// The end of a container's log.
    async fn end_of_log(&self, member: &Member, tty: bool) -> Result<Position, Error> {
        let mut at = Position::default();
        // Once for the time of the last entry, once for all that have this time.
        for tail in ["1", "all"] {
            let options = LogOptions { tail: tail.into(), ..self.options(&at, false)? };
            let Some(log) = self.log(member, &options).await? else { break };
            let (mut entries, mut reading) =
                (Entries::new(log, tty), Reading::from(Position::default(), "", false));
            while let Some((channel, entry)) = entries.next().await.map_err(Error::io("read the log"))? {
                reading.take(channel, entry);
            }
            at = reading.position();
        }
        Ok(at)
    }

    /// Shows a container's output until it has ended.
    ///
    /// # Errors
    /// The daemon refuses, or a stream breaks off.
    pub async fn follow(&self, member: Member, begin: Begin) -> Result<Ended, Error> {
        let mut at = Position::default();
        let Some(found) = self.look(&member).await? else { return Ok(ended(member, None, true, at)) };
        let tty = found.config.tty;
        // Whether it is seen running, so that its end is news.
        let mut ran = matches!(found.state.status.as_str(), "running" | "paused" | "restarting");
        let mut live = None;
        match begin {
            Begin::On(position) => at = position,
            Begin::End => at = self.end_of_log(&member, tty).await?,
            Begin::Log(options, from) => {
                let log = match self.log(&member, &options).await {
                    Err(error) if is_gone(&error) => return Ok(ended(member, None, true, at)),
                    log => log?,
                };
                let Some(log) = log else {
                    say::warn(&format!(
                        "Can't retrieve logs for {:?}: its logging driver does not support reading",
                        member.name
                    ));
                    return Ok(ended(member, Some(&found), true, at));
                };
                at =
                    self.output.entries(&member.name, Entries::new(log, tty), self.reading(from, "")).await?;
            }
            Begin::Joined(joined) => {
                let Joined { mut stream, before, log, stopped } = *joined;
                ran = true;
                tokio::select! {
                    shown = self.output.show(&member.name, &mut stream.output, tty, true) => at = log.and(shown?),
                    () = self.left_out(&member, &before.state.started_at, stopped) => {
                        return Ok(ended(member, None, false, log));
                    }
                }
                live = Some(before.state.finished_at);
            }
        }
        self.to_the_end(member, (tty, ran, live), at).await
    }

    /// Follows on from a place. `live`: when the container had last ended before it was joined, if it was.
    async fn to_the_end(
        &self,
        member: Member,
        (tty, mut ran, mut live): (bool, bool, Option<String>),
        mut at: Position,
    ) -> Result<Ended, Error> {
        let mut looks = 0;
        loop {
            if !self.until.is_empty() {
                return Ok(ended(member, None, true, at));
            }
            let Some(found) = self.look(&member).await? else { return Ok(ended(member, None, true, at)) };
            let same_run = live.as_ref() == Some(&found.state.finished_at);
            match found.state.status.as_str() {
                "exited" | "dead" | "removing" => {
                    // It may have been started and have ended again since.
                    if live.is_none() || found.restart_count > 0 {
                        match self.on(&member, tty, at.clone(), &found, false).await {
                            Ok(place) => at = place.unwrap_or(at),
                            // It is being removed.
                            Err(error) if is_gone(&error) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    if ran {
                        self.output
                            .status(&member.name, &format!("exited with code {}", found.state.exit_code));
                    }
                    return Ok(ended(member, Some(&found), true, at));
                }
                "created" => return Ok(ended(member, None, false, at)),
                "running" if same_run && looks < PATIENCE => looks += 1,
                "running" | "paused" => {
                    ran = true;
                    match self.on(&member, tty, at.clone(), &found, true).await {
                        Ok(Some(place)) => (at, live) = (place, None),
                        // Nothing keeps its output: what it writes from now on is all there is.
                        Ok(None) => self.live(&member, tty).await?,
                        Err(error) if is_gone(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                _ => ran = true,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Shows what a container writes from now on.
    async fn live(&self, member: &Member, tty: bool) -> Result<(), Error> {
        match self.attach(member).await {
            Ok(mut stream) => {
                self.output.show(&member.name, &mut stream.output, tty, true).await?;
                Ok(())
            }
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Shows the log from a place on; the place where it ended, none if there is no log.
    async fn on(
        &self,
        member: &Member,
        tty: bool,
        at: Position,
        found: &ContainerInspect,
        follow: bool,
    ) -> Result<Option<Position>, Error> {
        let Some(log) = self.log(member, &self.options(&at, follow)?).await? else { return Ok(None) };
        let reading = self.reading(at, &found.state.started_at);
        Ok(Some(self.output.entries(&member.name, Entries::new(log, tty), reading).await?))
    }

    fn reading(&self, at: Position, began: &str) -> Reading {
        Reading::from(at, &fixed(began), self.times)
    }

    fn options(&self, at: &Position, follow: bool) -> Result<LogOptions, Error> {
        let since = parse_since(&at.time).map_err(Error::Refused)?;
        Ok(LogOptions {
            stdout: true,
            stderr: true,
            timestamps: true,
            follow,
            since,
            ..LogOptions::default()
        })
    }

    /// A container's log; none if its driver keeps nothing that could be read.
    async fn log(&self, member: &Member, options: &LogOptions) -> Result<Option<dray_client::Body>, Error> {
        match self.client.container_logs(&member.id, options).await {
            Ok(log) => Ok(Some(log)),
            Err(dray_client::Error::Api { status: 501, .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn look(&self, member: &Member) -> Result<Option<ContainerInspect>, Error> {
        match self.client.container_inspect(&member.id).await {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until it is clear that a container is not started any more: the output of such a one never ends.
    async fn left_out(&self, member: &Member, before: &str, mut stopped: watch::Receiver<bool>) {
        if stopped.wait_for(|stopped| *stopped).await.is_ok() {
            match self.client.container_inspect(&member.id).await {
                Ok(found) if found.state.started_at == before => return,
                Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }
}

/// Whether the daemon says that a container is not there any more, or not as it was: the next look at it tells.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Client(dray_client::Error::Api { status: 404 | 409, .. }))
}

fn ended(member: Member, found: Option<&ContainerInspect>, ran: bool, position: Position) -> Ended {
    let code = found.map_or(0, |found| u8::try_from(found.state.exit_code & 0xff).unwrap_or(1));
    Ended { id: member.id, service: member.service, code, ran, position }
}
