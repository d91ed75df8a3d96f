//! Builds all targets at once, each after those that it is built upon.
//!
//! ```text
//! base ──► image in the store without a name ──docker-image://id──► app       removed at the end, if it is new
//! ```
//! The steps of a base are in the cache thereafter; a target that is a base and puts something else out is built for
//! both, and the second time is all cached.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::Duration;

use dray_bake::Plan;
use dray_bake::target::Target;
use dray_client::api::filters::Filters;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::screen::Screen;
use super::words::{Purpose, Words};
use crate::app::App;
use crate::command::image::build::{self, Ended, Outcome};
use crate::command::image::build_call::Question;
use crate::command_error::Error;
use crate::flag;
use crate::interrupts::{INTERRUPTED, Interrupts};

/// How often, and after which pause, it is tried to take away an image that is in use.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// What came of all targets.
#[derive(Default)]
pub(super) struct All {
    /// Results by target.
    pub built: BTreeMap<String, Outcome>,
    /// Answers to questions by target.
    pub answers: BTreeMap<String, (Question, BTreeMap<String, String>)>,
}

/// A build of a target.
struct Job<'a> {
    name: &'a str,
    target: &'a Target,
    purpose: Purpose,
}

impl Job<'_> {
    fn is_ready(&self, images: &BTreeMap<String, String>) -> bool {
        self.target.bases().all(|base| images.contains_key(base))
    }
}

/// Whether a question is asked instead of a build.
fn asks(target: &Target) -> bool {
    target.call.as_deref().is_some_and(|call| !call.is_empty() && call != "build")
}

/// Whether what a target puts out is an image in the store, upon which others can be built.
fn stays(target: &Target) -> bool {
    let outputs = target.outputs.as_deref().unwrap_or_default();
    let kept = |output: &dray_bake::target::Output| {
        output.kind == "docker" && output.dest.is_empty() || output.kind == "image"
    };
    !asks(target) && outputs.iter().all(kept)
}

fn jobs(plan: &Plan) -> Vec<Job<'_>> {
    let bases: BTreeSet<&str> = plan.targets.values().flat_map(Target::bases).collect();
    let mut jobs = Vec::new();
    for (name, target) in &plan.targets {
        if bases.contains(name.as_str()) && (target.linked || !stays(target)) {
            jobs.push(Job { name, target, purpose: Purpose::Base });
        }
        if !target.linked || asks(target) {
            jobs.push(Job { name, target, purpose: Purpose::Itself });
        }
    }
    jobs
}

/// Builds all targets.
///
/// # Errors
/// One of them fails, or somebody interrupts it; the others end there.
pub(super) async fn all(app: &App, plan: &Plan, screen: Screen) -> Result<All, Error> {
    let jobs = jobs(plan);
    let has_bases = jobs.iter().any(|job| job.purpose == Purpose::Base);
    let before = if has_bases { unnamed(app).await? } else { BTreeSet::new() };
    let mut images = BTreeMap::new();
    let built = if has_bases {
        // What was built upon is taken away also when somebody has seen enough.
        let mut interrupts = Interrupts::new()?;
        tokio::select! {
            built = build_jobs(app, jobs, &screen, &mut images) => built,
            () = interrupts.next() => Err(Error::Exit(INTERRUPTED)),
        }
    } else {
        build_jobs(app, jobs, &screen, &mut images).await
    };
    let shown = screen.finish();
    if has_bases {
        tidy(app, &before, images.values()).await;
    }
    let built = built?;
    shown?;
    Ok(built)
}

async fn build_jobs(
    app: &App,
    jobs: Vec<Job<'_>>,
    screen: &Screen,
    images: &mut BTreeMap<String, String>,
) -> Result<All, Error> {
    let mut frames = tokio::time::interval(Duration::from_millis(100));
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut all, mut waiting) = (All::default(), jobs);
    let mut running = FuturesUnordered::new();
    loop {
        let (ready, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|job| job.is_ready(images));
        waiting = later;
        for job in ready {
            let words = Words::new(job.target, job.purpose, images)?;
            running.push(one(app, job, words, screen));
        }
        let (job, ended) = loop {
            tokio::select! {
                next = running.next() => match next {
                    Some(done) => break done?,
                    None => return Ok(all),
                },
                _ = frames.tick() => screen.draw()?,
            }
        };
        match ended {
            Ended::Answer(question, answer) => {
                drop(all.answers.insert(job.name.to_owned(), (question, answer)))
            }
            Ended::Built(done) => {
                // A target that puts out other things is a base by its other job.
                if (job.purpose == Purpose::Base || stays(job.target)) && !done.image().is_empty() {
                    images.insert(job.name.to_owned(), done.image().to_owned());
                } else if job.purpose == Purpose::Base {
                    return Err(Error::Refused(format!(
                        "target {}: the daemon did not say which image it is",
                        job.name
                    )));
                }
                if job.purpose == Purpose::Itself {
                    all.built.insert(job.name.to_owned(), done);
                }
            }
        }
    }
}

async fn one<'a>(app: &App, job: Job<'a>, words: Words, screen: &Screen) -> Result<(Job<'a>, Ended), Error> {
    let named = |error: Error| match error {
        Error::Exit(code) => Error::Exit(code),
        other => Error::Refused(format!("target {}: {other}", job.name)),
    };
    let command = &build::COMMAND;
    let given = words.words.iter().map(OsString::from);
    let parsed = flag::parse(command.flags, command.interspersed, given)
        .map_err(|error| Error::Refused(format!("target {}: {error}", job.name)))?;
    let ended = build::carry_out(app, &parsed, Some(&screen.of(job.name))).await.map_err(named)?;
    drop(words);
    Ok((job, ended))
}

/// Images without names.
async fn unnamed(app: &App) -> Result<BTreeSet<String>, Error> {
    let mut filters = Filters::default();
    filters.add("dangling", "true");
    let images = app.client()?.image_list(false, &filters).await?;
    Ok(images.into_iter().map(|image| image.id).collect())
}

/// Takes away images that were only built upon, unless they were there before or have got a name.
async fn tidy(app: &App, before: &BTreeSet<String>, images: impl Iterator<Item = &String>) {
    let (Ok(now), Ok(client)) = (unnamed(app).await, app.client()) else { return };
    for image in images.filter(|image| now.contains(*image) && !before.contains(*image)) {
        for _ in 0..TRIES {
            match client.image_remove(image, false, false).await {
                // A build upon it that was given up has not ended yet. One that somebody uses by now stays.
                Err(dray_client::Error::Api { status: 409, .. }) => tokio::time::sleep(PAUSE).await,
                _ => break,
            }
        }
    }
}
