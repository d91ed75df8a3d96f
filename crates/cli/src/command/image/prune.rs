//! `image prune`.

use dray_client::api::image::ImagesPruneReport;

use crate::app::App;
use crate::command::container::prune::{FLAGS as COMMON, agree};
use crate::flag::{Flag, Parsed, switch};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] =
    &[switch("all", 'a', "Remove all that no container uses, not only those without a name")];

/// `image prune`
pub static COMMAND: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove images that nothing uses", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS, COMMON]);

/// What was removed, as lines.
pub fn deleted(report: &ImagesPruneReport) -> String {
    let items = report.images_deleted.as_deref().unwrap_or_default();
    if items.is_empty() {
        return String::new();
    }
    let mut out = String::from("Deleted Images:\n");
    for item in items {
        if item.untagged.is_empty() {
            out.push_str(&format!("deleted: {}\n", item.deleted));
        } else {
            out.push_str(&format!("untagged: {}\n", item.untagged));
        }
    }
    out
}

async fn run(app: &App, p: Parsed) -> Done {
    let question = if p.is("all") {
        "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?"
    } else {
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue?"
    };
    if !agree(app, &p, question)? {
        return Ok(0);
    }
    let mut filters = p.filters();
    filters.add("dangling", if p.is("all") { "false" } else { "true" });
    let report = app.client()?.image_prune(&filters).await?;
    let text = deleted(&report);
    if !text.is_empty() {
        app.print(format!("{text}\n"))?;
    }
    app.print(format!("Total reclaimed space: {}\n", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}
