//! The builder.

pub mod cache_mount;
pub mod du;
pub mod history;

use dray_client::build::CacheBounds;

use crate::app::App;
use crate::builder;
use crate::command::bake;
use crate::command::container::prune::{FLAGS as PRUNE_COMMON, agree};
use crate::command::image::build;
use crate::flag::{Flag, NONE, Parsed, bytes, switch, text};
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
    text("builder", NONE, "Of which builder"),
    bytes("keep-storage", NONE, "Keep this much; the older name of --reserved-space"),
    bytes("max-used-space", NONE, "Keep at most this much"),
    bytes("min-free-space", NONE, "Go on until the disk has this much free"),
    bytes("reserved-space", NONE, "Keep this much in any case"),
    switch("verbose", NONE, "Kept for scripts of buildx").hidden(),
];

/// `builder prune`
pub static PRUNE: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove the build cache", |a, p| Box::pin(prune(a, p)))
        .flags(&[PRUNE_COMMON, FLAGS]);

async fn prune(app: &App, p: Parsed) -> Done {
    builder::choose(app, p.get("builder"))?;
    let which = if p.is("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {which}. Are you sure you want to continue?");
    if !agree(app, &p, &question)? {
        return Ok(0);
    }
    let reserved = if p.given("reserved-space") { "reserved-space" } else { "keep-storage" };
    let bounds = CacheBounds {
        reserved: p.size(reserved),
        most: p.size("max-used-space"),
        free: p.size("min-free-space"),
    };
    let report = app.client()?.build_prune(p.is("all"), bounds, &p.filters()).await?;
    let deleted = report.caches_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        app.print(format!("Deleted build cache objects:\n{}\n\n", deleted.join("\n")))?;
    }
    app.print(format!("Total reclaimed space: {}\n", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
