//! `system df`.

use dray_client::api::build::CacheRecord;
use dray_client::api::container::ContainerSummary;
use dray_client::api::image::ImageSummary;
use dray_client::api::system::DiskUsage;
use dray_client::api::volume::Volume;

use crate::app::App;
use crate::command::container::ls as containers;
use crate::command::image::ls as images;
use crate::command::{format_flag, volume};
use crate::flag::{Flag, Parsed, switch};
use crate::format::listing::{Format, Titles};
use crate::format::short_id;
use crate::format::time::{ago, go_utc, parse_rfc3339};
use crate::format::units::{human_size, human_size_with};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("verbose", 'v', "Show each thing"),
];

/// `system df`
pub static COMMAND: Command =
    Command::new("df", &["[OPTIONS]"], Args::No, "Show what takes space", |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS]);

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
const TITLES: Titles = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const IMAGES: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "table {{.Name}}\t{{.Links}}\t{{.Size}}";
const CACHE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
const CACHE_TITLES: Titles = &[
    ("ID", "CACHE ID"),
    ("Parent", "PARENT"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("InUse", "IN USE"),
    ("Shared", "SHARED"),
    ("Description", "DESCRIPTION"),
];

/// What the answer holds, without the difference between null and empty.
struct Usage {
    layers: i64,
    images: Vec<ImageSummary>,
    containers: Vec<ContainerSummary>,
    volumes: Vec<Volume>,
    cache: Vec<CacheRecord>,
}

impl From<DiskUsage> for Usage {
    fn from(u: DiskUsage) -> Usage {
        Usage {
            layers: u.layers_size,
            images: u.images.unwrap_or_default(),
            containers: u.containers.unwrap_or_default(),
            volumes: u.volumes.unwrap_or_default(),
            cache: u.build_cache.unwrap_or_default(),
        }
    }
}

async fn run(app: &App, p: Parsed) -> Done {
    let format = p.get("format");
    let usage = Usage::from(app.client()?.disk_usage().await?);
    let text = match format {
        "" | "table" if p.is("verbose") => verbose(usage)?,
        "" | "table" => Format::parse(TABLE)?.render(TITLES, summary(&usage))?,
        "raw" => {
            let raw = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n";
            Format::parse(raw)?.render(TITLES, summary(&usage))?
        }
        other if p.is("verbose") => templated(other, usage)?,
        other => Format::parse(other)?.render(TITLES, summary(&usage))?,
    };
    app.print(text)?;
    Ok(0)
}

fn line(kind: &str, total: usize, active: usize, size: i64, reclaimable: &str) -> Row {
    let fields: Vec<(&'static str, Value)> = vec![
        ("Type", kind.into()),
        ("TotalCount", total.to_string().into()),
        ("Active", active.to_string().into()),
        ("Size", human_size(size as f64).into()),
        ("Reclaimable", reclaimable.into()),
    ];
    Row { type_name: "*formatter.diskUsageContext", fields, labels: None }
}

fn share(part: i64, whole: i64) -> String {
    if whole > 0 {
        return format!("{} ({}%)", human_size(part as f64), part.saturating_mul(100) / whole);
    }
    human_size(part as f64)
}

fn is_active(c: &ContainerSummary) -> bool {
    ["running", "paused", "restarting"].iter().any(|s| c.state.contains(s))
}

fn summary(u: &Usage) -> Vec<Row> {
    let used: i64 = u
        .images
        .iter()
        .filter(|i| i.containers != 0 && i.size != -1 && i.shared_size != -1)
        .map(|i| i.size - i.shared_size)
        .sum();
    let active_images = u.images.iter().filter(|i| i.containers > 0).count();
    let written: i64 = u.containers.iter().map(|c| c.size_rw).sum();
    let stopped: i64 = u.containers.iter().filter(|c| !is_active(c)).map(|c| c.size_rw).sum();
    let active = u.containers.iter().filter(|c| is_active(c)).count();
    let size_of = |v: &Volume| v.usage_data.as_ref().map_or(0, |d| d.size.max(0));
    let refs = |v: &Volume| v.usage_data.as_ref().map_or(0, |d| d.ref_count);
    let volumes: i64 = u.volumes.iter().map(size_of).sum();
    let unused: i64 = u.volumes.iter().filter(|v| refs(v) == 0).map(size_of).sum();
    let cache = cache_size(&u.cache);
    let cache_used: i64 = u.cache.iter().filter(|c| c.in_use && !c.shared).map(|c| c.size).sum();
    vec![
        line("Images", u.images.len(), active_images, u.layers, &share(u.layers - used, u.layers)),
        line("Containers", u.containers.len(), active, written, &share(stopped, written)),
        line(
            "Local Volumes",
            u.volumes.len(),
            u.volumes.iter().filter(|v| refs(v) > 0).count(),
            volumes,
            &share(unused, volumes),
        ),
        line(
            "Build Cache",
            u.cache.len(),
            u.cache.iter().filter(|c| c.in_use).count(),
            cache,
            &human_size((cache - cache_used) as f64),
        ),
    ]
}

fn cache_size(cache: &[CacheRecord]) -> i64 {
    cache.iter().filter(|c| !c.shared).map(|c| c.size).sum()
}

/// Rows of the four tables.
struct Tables {
    images: Vec<Row>,
    containers: Vec<Row>,
    volumes: Vec<Row>,
    cache: Vec<Row>,
}

fn tables(mut u: Usage, trunc: bool) -> Tables {
    for c in &mut u.containers {
        c.size_root_fs = 0;
    }
    u.cache.sort_by(|a, b| (&a.last_used_at, &a.id).cmp(&(&b.last_used_at, &b.id)));
    Tables {
        images: u
            .images
            .iter()
            .flat_map(|i| images::rows(i, trunc, false, false).into_iter().take(1))
            .map(without_digest)
            .collect(),
        containers: u.containers.iter().map(|c| containers::row(c, trunc)).collect(),
        volumes: u.volumes.iter().map(volume::row).collect(),
        cache: u.cache.iter().map(|c| cache_row(c, trunc)).collect(),
    }
}

/// Docker leaves the digest out here, without its `<none>`.
fn without_digest(mut row: Row) -> Row {
    for field in row.fields.iter_mut().filter(|(name, _)| *name == "Digest") {
        field.1 = "".into();
    }
    row
}

fn verbose(u: Usage) -> Result<String, crate::format::listing::Error> {
    let cache = human_size(cache_size(&u.cache) as f64);
    let t = tables(u, true);
    let mut out = String::from("Images space usage:\n\n");
    out.push_str(&Format::parse(IMAGES)?.render(images::TITLES, t.images)?);
    out.push_str("\nContainers space usage:\n\n");
    out.push_str(&Format::parse(CONTAINERS)?.render(containers::TITLES, t.containers)?);
    out.push_str("\nLocal Volumes space usage:\n\n");
    out.push_str(&Format::parse(VOLUMES)?.render(volume::TITLES, t.volumes)?);
    out.push_str(&format!("\nBuild cache usage: {cache}\n\n"));
    out.push_str(&Format::parse(CACHE)?.render(CACHE_TITLES, t.cache)?);
    Ok(out)
}

/// A template over all at once: `.Images`, `.Containers`, `.Volumes`, `.BuildCache`.
fn templated(text: &str, u: Usage) -> Result<String, crate::format::listing::Error> {
    let t = tables(u, false);
    let list = |rows: Vec<Row>| Value::List(rows.into_iter().map(|r| Value::Row(r.into())).collect());
    if text == "json" {
        // A structure of Docker's, not a map: in this order.
        let part = |name: &str, rows| -> Result<String, crate::format::listing::Error> {
            let all = Row { type_name: "", fields: vec![("Part", list(rows))], labels: None };
            let json = Format::parse("{{json .Part}}")?.render(&[], [all])?;
            Ok(format!("\"{name}\":{}", json.trim_end()))
        };
        let parts = [
            part("Images", t.images)?,
            part("Containers", t.containers)?,
            part("Volumes", t.volumes)?,
            part("BuildCache", t.cache)?,
        ];
        return Ok(format!("{{{}}}\n", parts.join(",")));
    }
    let all = Row {
        type_name: "*formatter.diskUsageContext",
        fields: vec![
            ("Images", list(t.images)),
            ("Containers", list(t.containers)),
            ("Volumes", list(t.volumes)),
            ("BuildCache", list(t.cache)),
        ],
        labels: None,
    };
    let text = Format::parse(text)?.render(&[], [all])?;
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

fn since(stamp: &str) -> String {
    parse_rfc3339(stamp).map(|t| ago(t.as_second())).unwrap_or_default()
}

fn cache_row(c: &CacheRecord, trunc: bool) -> Row {
    let id = |id: &str| if trunc { short_id(id) } else { id.to_owned() };
    let mark = if c.in_use { "*" } else { "" };
    let fields: Vec<(&'static str, Value)> = vec![
        ("ID", format!("{}{mark}", id(&c.id)).into()),
        ("Parent", id(&c.parents.join(", ")).into()),
        ("CacheType", c.kind.clone().into()),
        ("Size", human_size_with(c.size as f64, 3).into()),
        ("CreatedAt", go_utc(&c.created_at).into()),
        ("CreatedSince", since(&c.created_at).into()),
        ("LastUsedAt", c.last_used_at.as_deref().map(go_utc).unwrap_or_default().into()),
        ("LastUsedSince", c.last_used_at.as_deref().map(since).unwrap_or_default().into()),
        ("UsageCount", c.usage_count.to_string().into()),
        ("InUse", c.in_use.to_string().into()),
        ("Shared", c.shared.to_string().into()),
        ("Description", c.description.clone().into()),
    ];
    Row { type_name: "*formatter.buildCacheContext", fields, labels: None }
}
