//! `builder du`: what the build cache holds.

use dray_client::api::build::CacheRecord;

use crate::app::App;
use crate::builder;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, filter, switch, text};
use crate::format::listing::{Format, Titles};
use crate::format::time::{ago, parse_rfc3339};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};
use crate::value::Row;

const FLAGS: &[Flag] = &[
    filter(NONE, "Only records with this value (id, type, inuse, shared, private, description)"),
    format_flag("Format of the output: table, pretty, 'table TEMPLATE', json, or a Go template"),
    text("builder", NONE, "Of which builder"),
    switch("verbose", NONE, "Show all of each record; short for --format=pretty"),
];

/// `builder du`
pub static COMMAND: Command =
    Command::new("du", &["[OPTIONS]"], Args::No, "Show what the build cache holds", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

const TABLE: &str = "table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsed}}";
const TITLES: Titles = &[
    ("ID", "ID"),
    ("Parent", "PARENTS"),
    ("Type", "TYPE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Shared", "SHARED"),
    ("Size", "SIZE"),
    ("Created", "CREATED"),
    ("LastUsed", "LAST ACCESSED"),
    ("UsageCount", "USAGE"),
    ("Description", "DESCRIPTION"),
];

async fn run(app: &App, p: Parsed) -> Done {
    builder::choose(app, p.get("builder"))?;
    let usage = app.client()?.disk_usage().await?;
    let wanted = p.filters();
    let mut records = usage.build_cache.unwrap_or_default();
    records.retain(|record| fits(record, &wanted));
    // What was used last comes first, as with buildx.
    records.sort_by(|a, b| last(b).cmp(last(a)).then_with(|| a.id.cmp(&b.id)));
    let format = p.get("format");
    if !format.is_empty() && p.is("verbose") {
        return Err(Error::Refused("--format and --verbose are mutually exclusive".into()));
    }
    if !matches!(format, "" | "table" | "pretty") {
        app.print(Format::parse(format)?.render(TITLES, records.iter().map(row).collect::<Vec<_>>())?)?;
        return Ok(0);
    }
    let text = match p.is("verbose") || format == "pretty" {
        true => records.iter().map(whole).collect::<String>(),
        false => Format::parse(TABLE)?.render(TITLES, records.iter().map(row).collect::<Vec<_>>())?,
    };
    app.print(text + &totals(&records))?;
    Ok(0)
}

fn last(record: &CacheRecord) -> &str {
    record.last_used_at.as_deref().unwrap_or(&record.created_at)
}

fn fits(record: &CacheRecord, wanted: &dray_client::api::Filters) -> bool {
    let flag = |flag: bool| flag.to_string();
    let fields = [
        ("id", record.id.clone()),
        ("type", record.kind.clone()),
        ("description", record.description.clone()),
        ("inuse", flag(record.in_use)),
        ("shared", flag(record.shared)),
        ("private", flag(!record.shared)),
    ];
    fields.iter().all(|(name, value)| {
        let mut values = wanted.get(name).peekable();
        values.peek().is_none() || values.any(|wanted| wanted == value)
    })
}

fn row(record: &CacheRecord) -> Row {
    let since = |time: &str| parse_rfc3339(time).map(|time| ago(time.as_second())).unwrap_or_default();
    // One that steps write to has a star.
    let star = if record.kind != "regular" { "*" } else { "" };
    let fields = vec![
        ("ID", format!("{}{star}", record.id).into()),
        ("Parent", record.parents.join(", ").into()),
        ("Type", record.kind.clone().into()),
        ("Reclaimable", (!record.in_use).to_string().into()),
        ("Shared", record.shared.to_string().into()),
        ("Size", human_size(record.size as f64).into()),
        ("Created", since(&record.created_at).into()),
        ("LastUsed", record.last_used_at.as_deref().map(since).unwrap_or_default().into()),
        ("UsageCount", record.usage_count.to_string().into()),
        ("Description", record.description.clone().into()),
    ];
    Row { type_name: "*formatter.buildCacheContext", fields, labels: None }
}

/// All of a record, as `buildx du --verbose` shows it.
fn whole(record: &CacheRecord) -> String {
    let mut text = format!("ID:\t\t{}\n", record.id);
    if !record.parents.is_empty() {
        text.push_str(&format!("Parents:\t{}\n", record.parents.join(", ")));
    }
    text.push_str(&format!("Created at:\t{}\n", record.created_at));
    text.push_str(&format!("Mutable:\t{}\n", record.kind != "regular"));
    text.push_str(&format!("Reclaimable:\t{}\nShared:\t\t{}\n", !record.in_use, record.shared));
    text.push_str(&format!("Size:\t\t{}\n", human_size(record.size as f64)));
    if !record.description.is_empty() {
        text.push_str(&format!("Description:\t{}\n", record.description));
    }
    text.push_str(&format!("Usage count:\t{}\n", record.usage_count));
    if let Some(last) = &record.last_used_at {
        text.push_str(&format!("Last used:\t{last}\n"));
    }
    text.push_str(&format!("Type:\t\t{}\n\n", record.kind));
    text
}

fn totals(records: &[CacheRecord]) -> String {
    let sum = |takes: &dyn Fn(&CacheRecord) -> bool| {
        let bytes: i64 = records.iter().filter(|record| takes(record)).map(|record| record.size).sum();
        human_size(bytes as f64)
    };
    let mut text = String::new();
    if records.iter().any(|record| record.shared) {
        text.push_str(&format!("Shared:\t\t{}\n", sum(&|record| record.shared)));
        text.push_str(&format!("Private:\t{}\n", sum(&|record| !record.shared)));
    }
    text.push_str(&format!("Reclaimable:\t{}\n", sum(&|record| !record.in_use)));
    text.push_str(&format!("Total:\t\t{}\n", sum(&|_| true)));
    text
}
