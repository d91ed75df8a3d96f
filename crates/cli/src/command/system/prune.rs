//! `system prune`.

use dray_client::build::CacheBounds;

use crate::app::App;
use crate::command::container::prune::{FLAGS as COMMON, agree};
use crate::command::image::prune::deleted as deleted_images;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("all", 'a', "Remove all images that nothing uses, not only those without a name"),
    switch("volumes", NONE, "Remove anonymous volumes too"),
];

/// `system prune`
pub static COMMAND: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove what is not used", |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS, COMMON]);

fn question(p: &Parsed) -> String {
    let mut lines = vec!["all stopped containers", "all networks not used by at least one container"];
    if p.is("volumes") {
        lines.push("all anonymous volumes not used by at least one container");
    }
    if p.is("all") {
        lines.extend(["all images without at least one container associated to them", "all build cache"]);
    } else {
        lines.extend(["all dangling images", "unused build cache"]);
    }
    let mut out = String::from("WARNING! This will remove:\n");
    for line in lines {
        out.push_str(&format!("  - {line}\n"));
    }
    let filters = p.all("filter");
    if !filters.is_empty() {
        out.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in filters {
            out.push_str(&format!("  - {filter}\n"));
        }
    }
    out.push_str("\nAre you sure you want to continue?");
    out
}

fn section(title: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("{title}:\n{}\n", names.join("\n"))
}

async fn run(app: &App, p: Parsed) -> Done {
    let filters = p.filters();
    if p.is("volumes") && filters.contains("until") {
        return Err(Error::Refused("ERROR: The \"until\" filter is not supported with \"--volumes\"".into()));
    }
    if !agree(app, &p, &question(&p))? {
        return Ok(0);
    }
    let client = app.client()?;
    let show = |text: String| if text.is_empty() { Ok(()) } else { app.print(format!("{text}\n")) };
    let mut freed = 0u64;
    let containers = client.container_prune(&filters).await?;
    freed += containers.space_reclaimed;
    show(section("Deleted Containers", &containers.containers_deleted.unwrap_or_default()))?;
    let networks = client.network_prune(&filters).await?;
    show(section("Deleted Networks", &networks.networks_deleted.unwrap_or_default()))?;
    if p.is("volumes") {
        let volumes = client.volume_prune(&filters).await?;
        freed += volumes.space_reclaimed;
        show(section("Deleted Volumes", &volumes.volumes_deleted.unwrap_or_default()))?;
    }
    let mut image_filters = filters.clone();
    image_filters.add("dangling", if p.is("all") { "false" } else { "true" });
    let images = client.image_prune(&image_filters).await?;
    freed += images.space_reclaimed;
    show(deleted_images(&images))?;
    let cache = client.build_prune(p.is("all"), CacheBounds::default(), &filters).await?;
    freed += cache.space_reclaimed;
    show(section("Deleted build cache objects", &cache.caches_deleted.unwrap_or_default()))?;
    app.print(format!("Total reclaimed space: {}\n", human_size(freed as f64)))?;
    Ok(0)
}
