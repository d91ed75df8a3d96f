//! `stats`: use of resources, live or once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use dray_client::api::container::{MemoryStats, Stats};
use dray_client::container::ListOptions;
use dray_client::{Client, Error as ClientError};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::app::App;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch};
use crate::format::listing::{Format, Titles};
use crate::format::short_id;
use crate::format::units::{binary_size, human_size_with};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    switch("all", 'a', "Also show containers that do not run"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("no-stream", NONE, "Show the first figures and stop"),
    switch("no-trunc", NONE, "Do not cut ids"),
];

/// `stats`
pub static COMMAND: Command = Command::new(
    "stats",
    &["[OPTIONS] [CONTAINER...]"],
    Args::Any,
    "Show what containers use, as it changes",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container stats", "stats"]);

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

const TITLES: Titles = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// A display is drawn anew this often.
const FRAME: Duration = Duration::from_millis(500);
/// The list of containers is read anew this often when none are named.
const REFRESH: Duration = Duration::from_secs(2);

/// A line of the table.
#[derive(Clone, Default)]
struct Entry {
    asked_for: String,
    stats: Option<Stats>,
}

type Lines = Rc<RefCell<Vec<Entry>>>;

async fn run(app: &App, p: Parsed) -> Done {
    let mut text = p.get("format").to_owned();
    if text.is_empty() {
        text = app.config().borrow().text("statsFormat").to_owned();
    }
    let format = Format::parse(if matches!(text.as_str(), "" | "table") { TABLE } else { &text })?;
    let client = app.client()?;
    let names = if p.args.is_empty() { listed(client, p.is("all")).await? } else { p.args.clone() };
    let first = first_samples(client, &names, p.args.is_empty()).await?;
    let trunc = !p.is("no-trunc");
    if p.is("no-stream") {
        if !first.is_empty() {
            app.print(format.render(TITLES, first.iter().map(|e| row(e, trunc)))?)?;
        }
        return Ok(0);
    }
    let lines: Lines = Rc::new(RefCell::new(first));
    live(app, client, &format, lines, trunc, p.args.is_empty(), p.is("all")).await
}

async fn listed(client: &Client, all: bool) -> Result<Vec<String>, ClientError> {
    let containers = client.container_list(&ListOptions { all, ..ListOptions::default() }).await?;
    Ok(containers.into_iter().map(|c| c.id).collect())
}

async fn sample(client: &Client, name: &str) -> Result<Option<Stats>, ClientError> {
    client.container_stats(name, false).await?.next().await
}

/// One sample of each; of those that were found by listing, the ones that have gone are left out.
async fn first_samples(client: &Client, names: &[String], was_listed: bool) -> Result<Vec<Entry>, Error> {
    let samples = futures_util::future::join_all(names.iter().map(|n| sample(client, n))).await;
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for (name, sample) in names.iter().zip(samples) {
        match sample {
            Ok(stats) => entries.push(Entry { asked_for: name.clone(), stats }),
            Err(_) if was_listed => {}
            Err(e) => errors.push(e.into()),
        }
    }
    Error::all(errors)?;
    Ok(entries)
}

async fn follow(client: &Client, name: String, lines: Lines) -> String {
    if let Ok(mut samples) = client.container_stats(&name, true).await {
        while let Ok(Some(stats)) = samples.next().await {
            if let Some(entry) = lines.borrow_mut().iter_mut().find(|e| e.asked_for == name) {
                entry.stats = Some(stats);
            }
        }
    }
    name
}

async fn live(
    app: &App,
    client: &Client,
    format: &Format,
    lines: Lines,
    trunc: bool,
    listing: bool,
    all: bool,
) -> Done {
    let mut followed: FuturesUnordered<LocalBoxFuture<String>> = FuturesUnordered::new();
    for entry in lines.borrow().iter() {
        followed.push(Box::pin(follow(client, entry.asked_for.clone(), lines.clone())));
    }
    let mut frames = tokio::time::interval(FRAME);
    let mut refresh = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            _ = frames.tick() => {
                let table = format.render(TITLES, lines.borrow().iter().map(|e| row(e, trunc)))?;
                app.print(frame(&table))?;
                if !listing && lines.borrow().is_empty() {
                    return Ok(0);
                }
            }
            _ = refresh.tick(), if listing => {
                for id in listed(client, all).await? {
                    if !lines.borrow().iter().any(|e| e.asked_for == id) {
                        lines.borrow_mut().push(Entry { asked_for: id.clone(), stats: None });
                        followed.push(Box::pin(follow(client, id, lines.clone())));
                    }
                }
            }
            Some(ended) = followed.next(), if !followed.is_empty() => {
                lines.borrow_mut().retain(|e| e.asked_for != ended);
            }
        }
    }
}

/// A frame: from the top left, each line cleared to its end, the rest of the screen cleared.
fn frame(table: &str) -> String {
    let mut out = String::from("\x1b[H");
    for line in table.split('\n') {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J");
    out
}

fn row(entry: &Entry, trunc: bool) -> Row {
    let none = Stats::default();
    let stats = entry.stats.as_ref();
    let known = stats.is_some();
    let s = stats.unwrap_or(&none);
    let or_dashes = |text: String| if known { text } else { "--".into() };
    let pair = |a: f64, b: f64| format!("{} / {}", human_size_with(a, 3), human_size_with(b, 3));
    let memory = memory_used(&s.memory_stats);
    let limit = s.memory_stats.limit as f64;
    let (received, sent) = network(s);
    let (read, written) = block(s);
    let name = s.name.strip_prefix('/').unwrap_or(&s.name);
    let usage = format!("{} / {}", binary_size(memory), binary_size(limit));
    let share = if limit > 0.0 { memory / limit * 100.0 } else { 0.0 };
    let fields: Vec<(&'static str, Value)> = vec![
        ("Container", entry.asked_for.clone().into()),
        ("Name", if name.is_empty() { "--".into() } else { name.into() }),
        ("ID", if trunc { short_id(&s.id) } else { s.id.clone() }.into()),
        ("CPUPerc", or_dashes(format!("{:.2}%", cpu(s))).into()),
        ("MemUsage", if known { usage } else { "-- / --".into() }.into()),
        ("MemPerc", or_dashes(format!("{share:.2}%")).into()),
        ("NetIO", or_dashes(pair(received, sent)).into()),
        ("BlockIO", or_dashes(pair(read, written)).into()),
        ("PIDs", or_dashes(s.pids_stats.current.to_string()).into()),
    ];
    Row { type_name: "*container.statsContext", fields, labels: None }
}

fn cpu(s: &Stats) -> f64 {
    let (now, before) = (&s.cpu_stats, &s.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let mut cpus = f64::from(now.online_cpus);
    if cpus == 0.0 {
        cpus = now.cpu_usage.percpu_usage.as_ref().map_or(0, Vec::len) as f64;
    }
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

/// Memory without the page cache that can be dropped at once.
fn memory_used(m: &MemoryStats) -> f64 {
    let stat = |name: &str| m.stats.as_ref().and_then(|s| s.get(name)).copied();
    if let Some(inactive) = stat("total_inactive_file").filter(|v| *v < m.usage) {
        return (m.usage - inactive) as f64;
    }
    match stat("inactive_file").unwrap_or(0) {
        inactive if inactive < m.usage => (m.usage - inactive) as f64,
        _ => m.usage as f64,
    }
}

fn network(s: &Stats) -> (f64, f64) {
    let interfaces = s.networks.iter().flat_map(|n| n.values());
    interfaces.fold((0.0, 0.0), |(r, t), n| (r + n.rx_bytes as f64, t + n.tx_bytes as f64))
}

fn block(s: &Stats) -> (f64, f64) {
    let entries = s.blkio_stats.io_service_bytes_recursive.iter().flatten();
    entries.fold((0.0, 0.0), |(r, w), e| match e.op.as_bytes().first() {
        Some(b'r' | b'R') => (r + e.value as f64, w),
        Some(b'w' | b'W') => (r, w + e.value as f64),
        _ => (r, w),
    })
}
