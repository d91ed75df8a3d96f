//! The builder.

pub mod cache_mount;
mod du;
pub mod history;

use crate::app::App;
use crate::command::bake;
use crate::command::container::prune::{FLAGS as PRUNE_COMMON, agree};
use crate::command::image::build;
use crate::flag::{Flag, NONE, Parsed, bytes, switch};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done, Group};

/// `builder`
pub static GROUP: Group = Group {
    name: "builder",
    about: "Manage builds",
    commands: &[&bake::COMMAND, &build::COMMAND, &du::COMMAND, &PRUNE],
};

const FLAGS: &[Flag] = &[
    switch("all", 'a', "Remove all that is not in use, not only what nothing refers to"),
    bytes("keep-storage", NONE, "Keep this much"),
];

static PRUNE: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove the build cache", |a, p| Box::pin(prune(a, p)))
        .flags(&[PRUNE_COMMON, FLAGS]);

async fn prune(app: &App, p: Parsed) -> Done {
    let which = if p.is("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {which}. Are you sure you want to continue?");
    if !agree(app, &p, &question)? {
        return Ok(0);
    }
    let report = app.client()?.build_prune(p.is("all"), p.size("keep-storage"), &p.filters()).await?;
    let deleted = report.caches_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        app.print(format!("Deleted build cache objects:\n{}\n\n", deleted.join("\n")))?;
    }
    app.print(format!("Total reclaimed space: {}\n", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
