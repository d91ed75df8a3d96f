//! `compose`: projects of several services.
//!
//! ```text
//! project.rs   flags before the command → files → project        say.rs   warnings
//! config.rs    the project as text                               display.rs   progress
//! up.rs        up, create: images, networks, volumes, containers, start
//! build.rs bakefile.rs   build     image.rs   pull, push, images            provider.rs   services of programs
//! lifecycle.rs start, stop, restart, kill, pause, unpause, rm, down, scale, wait
//! list.rs      ps, ls, volumes, port, top, events, stats
//! autoscale.rs services that are scaled by their load
//! logs.rs output.rs crowd.rs follow.rs position.rs   lines of many containers, over their restarts
//! inside.rs    exec, run, attach, cp, commit, export             version.rs
//! watch.rs notice.rs   watch                                  publish.rs   publish
//! remote.rs    oci:// files
//! ```
//! What is about one container goes to the command for one container with its id.

mod autoscale;
mod bakefile;
mod build;
pub mod config;
mod crowd;
mod display;
mod follow;
mod image;
mod inside;
mod lifecycle;
mod list;
mod logs;
mod menu;
mod notice;
mod output;
mod position;
mod project;
mod provider;
mod publish;
mod remote;
mod say;
mod socket;
mod up;
mod version;
mod watch;

use std::ffi::OsString;

use dray_compose::Project;
use dray_compose::apply::{self, Engine, Progress};

pub use project::{FLAGS, PERSISTENT};

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{self};
use crate::format::table::Shape;
use crate::spec::{Command, Done, Group};

/// The shape of Compose's tables.
const TABLE: Shape = Shape { min_width: 20, padding: 3 };

/// `compose`
pub static GROUP: Group = Group {
    name: "compose",
    about: "Define and run projects of several services",
    commands: &[
        &inside::ATTACH,
        &autoscale::COMMAND,
        &build::BUILD,
        &inside::COMMIT,
        &config::COMMAND,
        &inside::CP,
        &up::CREATE,
        &lifecycle::DOWN,
        &list::EVENTS,
        &inside::EXEC,
        &inside::EXPORT,
        &image::IMAGES,
        &lifecycle::KILL,
        &logs::LOGS,
        &list::LS,
        &lifecycle::PAUSE,
        &list::PORT,
        &list::PS,
        &publish::COMMAND,
        &image::PULL,
        &image::PUSH,
        &lifecycle::RESTART,
        &lifecycle::RM,
        &inside::RUN,
        &lifecycle::SCALE,
        &lifecycle::START,
        &list::STATS,
        &lifecycle::STOP,
        &list::TOP,
        &lifecycle::UNPAUSE,
        &up::UP,
        &version::COMMAND,
        &list::VOLUMES,
        &lifecycle::WAIT,
        &watch::COMMAND,
    ],
};

impl From<apply::Error> for Error {
    fn from(error: apply::Error) -> Error {
        match error {
            apply::Error::Client(e) => Error::Client(e),
            other => Error::Refused(other.to_string()),
        }
    }
}

/// The daemon as Compose sees it.
fn engine<'a>(app: &'a App, progress: &'a dyn Progress) -> Result<Engine<'a>, Error> {
    Ok(Engine { client: app.client()?, progress, separator: project::separator(app) })
}

/// The project of the files, or, without files, of what is there.
async fn there(app: &App, engine: &Engine<'_>, services: &[String]) -> Result<Project, Error> {
    match project::maybe(app, services)? {
        (Some(project), _) => Ok(project),
        (None, name) => Ok(engine.project_of(&name).await?),
    }
}

/// Runs another command, with these words after its name.
async fn delegate(app: &App, command: &'static Command, words: Vec<String>) -> Done {
    let words = words.into_iter().map(OsString::from);
    let parsed =
        flag::parse(command.flags, command.interspersed, words).map_err(|e| Error::Refused(e.to_string()))?;
    (command.run)(app, parsed).await
}
