//! What is there: `ps`, `ls`, `volumes`, `port`, `top`, `events`, `stats`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dray_client::api::Filters;
use dray_client::container::ListOptions;
use dray_compose::apply::{Include, Silent};
use dray_compose::plan::{Seen, label};
use serde_json::json;

use super::project;
use super::{TABLE, delegate, engine};
use crate::app::App;
use crate::command::container::{ls as container_ls, stats as container_stats};
use crate::command::volume;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, int, list, switch, text};
use crate::format::listing::{Format, Titles};
use crate::format::table::{self, Shape};
use crate::format::time::parse_since;
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const PS_FLAGS: &[Flag] = &[
    switch("all", 'a', "Also show containers that do not run, and those of run"),
    text("filter", NONE, "Show services that match (status=…)"),
    text("format", NONE, "Format of the output: table, 'table TEMPLATE', json, or a Go template")
        .default("table"),
    switch("no-trunc", NONE, "Do not cut long texts"),
    switch("orphans", NONE, "Also show services that the files do not have").default("true"),
    switch("quiet", 'q', "Show ids only"),
    switch("services", NONE, "Show services only"),
    list("status", NONE, "Show services of this status").shown("stringArray"),
];

/// `compose ps`
pub static PS: Command =
    Command::new("ps", &["[OPTIONS] [SERVICE...]"], Args::Any, "List containers", |a, p| Box::pin(ps(a, p)))
        .flags(&[PS_FLAGS]);

const PS_TITLES: Titles = &[
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("Names", "NAMES"),
    ("Project", "PROJECT"),
    ("Service", "SERVICE"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Health", "HEALTH"),
    ("ExitCode", "EXIT CODE"),
    ("Publishers", "PUBLISHERS"),
];

async fn ps(app: &App, p: Parsed) -> Done {
    let (project, name) = project::maybe(app, &[])?;
    let mut wanted = p.args.clone();
    if let Some(project) = &project {
        if let Some(unknown) = p.args.iter().find(|s| !project.all_services().any(|(n, _)| n == *s)) {
            return Err(Error::Refused(format!("no such service: {unknown}")));
        }
        if p.args.is_empty() && !p.is("orphans") {
            wanted = project.services.keys().cloned().collect();
        }
    }
    let mut statuses = p.all("status");
    match p.get("filter").split_once('=') {
        Some(("status", status)) => statuses.push(status.to_owned()),
        Some((other, _)) => return Err(Error::Refused(format!("unknown filter {other}"))),
        None if p.get("filter").is_empty() => {}
        None => return Err(Error::Refused("arguments to --filter should be in form KEY=VAL".into())),
    }
    let all = p.is("all") || !statuses.is_empty();
    let include = if p.is("all") { Include::All } else { Include::Services };
    let mut seen = engine(app, &Silent)?.containers(&name, include, all, &wanted).await?;
    seen.retain(|c| statuses.is_empty() || statuses.contains(&c.summary.state));
    seen.sort_by(|a, b| a.name().cmp(b.name()));
    if p.is("quiet") {
        app.print(seen.iter().map(|c| format!("{}\n", c.summary.id)).collect::<String>())?;
        return Ok(0);
    }
    if p.is("services") {
        let services: BTreeSet<&str> = seen.iter().map(Seen::service).collect();
        app.print(services.iter().map(|s| format!("{s}\n")).collect::<String>())?;
        return Ok(0);
    }
    let format = match p.get("format") {
        "" | "table" => {
            "table {{.Name}}\t{{.Image}}\t{{.Command}}\t{{.Service}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}"
        }
        other => other,
    };
    let client = app.client()?;
    let needs_details =
        !format.starts_with("table") || format.contains("ExitCode") || format.contains("Health");
    let mut rows = Vec::new();
    for container in &seen {
        let details = if needs_details { details(client, container).await? } else { (0, String::new()) };
        rows.push(ps_row(container, !p.is("no-trunc"), details));
    }
    app.print(Format::parse(format)?.render(PS_TITLES, rows)?)?;
    Ok(0)
}

/// Exit code and health.
async fn details(client: &dray_client::Client, container: &Seen) -> Result<(i64, String), Error> {
    let found = client.container_inspect(&container.summary.id).await?;
    let ended = matches!(found.state.status.as_str(), "exited" | "dead");
    let code = if ended { found.state.exit_code } else { 0 };
    let health = found.state.health.map(|h| h.status).unwrap_or_default();
    Ok((code, health))
}

fn ps_row(container: &Seen, trunc: bool, (code, health): (i64, String)) -> Row {
    let mut row = container_ls::row(&container.summary, trunc);
    row.fields.retain(|(name, _)| *name != "Platform");
    let mut ports: Vec<_> = container.summary.ports.iter().collect();
    ports.sort_by_key(|p| (p.private_port, p.public_port));
    let publisher = |p: &&dray_client::api::container::Port| {
        Value::Struct(vec![
            ("URL".into(), Value::Str(p.ip.clone())),
            ("TargetPort".into(), Value::Int(p.private_port.into())),
            ("PublishedPort".into(), Value::Int(p.public_port.into())),
            ("Protocol".into(), Value::Str(p.protocol.clone())),
        ])
    };
    row.fields.extend([
        ("Name", Value::Str(container.name().to_owned())),
        ("Project", Value::Str(container.label(label::PROJECT).to_owned())),
        ("Service", Value::Str(container.service().to_owned())),
        ("Health", Value::Str(health)),
        ("ExitCode", Value::Int(code.into())),
        ("Publishers", Value::List(ports.iter().map(publisher).collect())),
    ]);
    row.fields.sort_by_key(|(name, _)| *name);
    row
}

const LS_FLAGS: &[Flag] = &[
    switch("all", 'a', "Also show projects of which nothing runs"),
    crate::flag::filter(crate::flag::NONE, "Show those that match (name=…)"),
    text("format", NONE, "Format of the output (table, json)").default("table"),
    switch("quiet", 'q', "Show names only"),
];

/// `compose ls`
pub static LS: Command =
    Command::new("ls", &["[OPTIONS]"], Args::No, "List running compose projects", |a, p| Box::pin(ls(a, p)))
        .flags(&[LS_FLAGS]);

async fn ls(app: &App, p: Parsed) -> Done {
    let wanted = p.filters();
    wanted.validate(&["name"]).map_err(|e| Error::Refused(e.to_string()))?;
    let mut filters = Filters::default();
    filters.add("label", label::PROJECT);
    filters.add("label", label::CONFIG_HASH);
    let options = ListOptions { all: p.is("all"), filters, ..ListOptions::default() };
    let mut projects: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    for summary in app.client()?.container_list(&options).await? {
        let seen = Seen { summary };
        projects.entry(seen.label(label::PROJECT).to_owned()).or_default().push(seen);
    }
    projects.retain(|name, _| {
        wanted.get("name").next().is_none() || wanted.get("name").any(|n| name.contains(n))
    });
    if p.is("quiet") {
        app.print(projects.keys().map(|n| format!("{n}\n")).collect::<String>())?;
        return Ok(0);
    }
    let rows: Vec<(String, String, String)> =
        projects.iter().map(|(name, all)| (name.clone(), states(all), files(all))).collect();
    if p.get("format") == "json" {
        let one = |(name, status, files): &(String, String, String)| {
            record(&[("Name", name), ("Status", status), ("ConfigFiles", files)], None)
        };
        app.print(format!("[{}]\n", rows.iter().map(one).collect::<Vec<_>>().join(",")))?;
        return Ok(0);
    }
    let mut table = String::from("NAME\tSTATUS\tCONFIG FILES\n");
    for (name, status, files) in &rows {
        let _ = writeln!(table, "{name}\t{status}\t{files}");
    }
    app.print(table::align(&table, TABLE))?;
    Ok(0)
}

/// A JSON object with its fields in order; a number may stand before the last one.
pub fn record(fields: &[(&str, &String)], number: Option<(&str, i64)>) -> String {
    let mut parts: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{}", json!(name), json!(value))).collect();
    if let Some((name, value)) = number {
        parts.insert(parts.len() - 1, format!("{}:{value}", json!(name)));
    }
    format!("{{{}}}", parts.join(","))
}

fn states(all: &[Seen]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().for_each(|c| *counts.entry(&c.summary.state).or_default() += 1);
    counts.iter().map(|(state, n)| format!("{state}({n})")).collect::<Vec<_>>().join(", ")
}

fn files(all: &[Seen]) -> String {
    let mut files: Vec<&str> = Vec::new();
    for file in all.iter().flat_map(|c| c.label(label::CONFIG_FILES).split(',')) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files.join(",")
}

/// `compose volumes`
pub static VOLUMES: Command =
    Command::new("volumes", &["[OPTIONS] [SERVICE...]"], Args::Any, "List volumes", |a, p| {
        Box::pin(volumes(a, p))
    })
    .flags(&[&[
        text("format", NONE, "Format of the output: table, 'table TEMPLATE', json, or a Go template")
            .default("table"),
        switch("quiet", 'q', "Show names only"),
    ]]);

async fn volumes(app: &App, p: Parsed) -> Done {
    let (project, name) = project::maybe(app, &[])?;
    if let (Some(project), Some(unknown)) =
        (&project, p.args.iter().find(|s| project.as_ref().is_some_and(|j| !j.services.contains_key(*s))))
    {
        let _ = project;
        return Err(Error::Refused(format!("no such service: {unknown}")));
    }
    let mut filters = Filters::default();
    filters.add("label", format!("{}={name}", label::PROJECT));
    let mut found = app.client()?.volume_list(&filters).await?.volumes;
    if !p.args.is_empty() {
        let seen = engine(app, &Silent)?.containers(&name, Include::Services, true, &p.args).await?;
        let used: BTreeSet<String> =
            seen.iter().flat_map(|c| &c.summary.mounts).map(|m| m.name.clone()).collect();
        found.retain(|v| used.contains(&v.name));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let format = match p.get("format") {
        _ if p.is("quiet") => "{{.Name}}",
        "" | "table" => "table {{.Driver}}\t{{.Name}}",
        other => other,
    };
    app.print(Format::parse(format)?.render(volume::TITLES, found.iter().map(volume::row))?)?;
    Ok(0)
}

/// `compose port`
pub static PORT: Command = Command::new(
    "port",
    &["[OPTIONS] SERVICE PRIVATE_PORT"],
    Args::Exactly(2),
    "Print the public port for a port binding",
    |a, p| Box::pin(port(a, p)),
)
.flags(&[&[
    int("index", NONE, "Number of the container, if the service has several").default("0"),
    text("protocol", NONE, "tcp or udp").default("tcp"),
]]);

async fn port(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &[])?;
    let index = p.get("index").parse().unwrap_or(0);
    let found = engine(app, &Silent)?.container(&name, &p.args[0], index, false).await?;
    let wanted: u16 = p.args[1]
        .parse()
        .map_err(|_| Error::Refused(format!("strconv.ParseUint: parsing {:?}: invalid syntax", p.args[1])))?;
    let protocol = p.get("protocol").to_lowercase();
    let ports = &found.summary.ports;
    match ports.iter().find(|b| b.private_port == wanted && b.protocol == protocol && b.public_port > 0) {
        Some(binding) => app.print(format!("{}:{}\n", binding.ip, binding.public_port))?,
        None => {
            let text = format!("no port {wanted}/{protocol} for container {}", found.name());
            return Err(Error::Refused(text));
        }
    }
    Ok(0)
}

/// `compose top`
pub static TOP: Command =
    Command::new("top", &["[SERVICES...]"], Args::Any, "Display the running processes", |a, p| {
        Box::pin(top(a, p))
    });

async fn top(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &p.args)?;
    let mut seen = engine(app, &Silent)?.containers(&name, Include::All, false, &p.args).await?;
    seen.sort_by(|a, b| a.name().cmp(b.name()));
    let mut header: Vec<String> = vec!["SERVICE".into(), "#".into()];
    let mut rows: Vec<BTreeMap<String, String>> = Vec::new();
    for container in &seen {
        let found = app.client()?.container_top(&container.summary.id, "").await?;
        for title in &found.titles {
            if !header.contains(title) {
                header.push(title.clone());
            }
        }
        for process in &found.processes {
            let mut row: BTreeMap<String, String> =
                found.titles.iter().cloned().zip(process.iter().cloned()).collect();
            row.insert("SERVICE".into(), container.service().to_owned());
            row.insert("#".into(), container.label(label::NUMBER).to_owned());
            rows.push(row);
        }
    }
    if let Some(at) = header.iter().position(|t| t == "CMD") {
        let command = header.remove(at);
        header.push(command);
    }
    if rows.is_empty() {
        return Ok(0);
    }
    let mut text = header.join("\t") + "\n";
    for row in &rows {
        let cells: Vec<&str> = header.iter().map(|t| row.get(t).map_or("-", String::as_str)).collect();
        text.push_str(&(cells.join("\t") + "\n"));
    }
    app.print(table::align(&text, Shape { min_width: 4, padding: 2 }))?;
    Ok(0)
}

/// `compose events`
pub static EVENTS: Command = Command::new(
    "events",
    &["[OPTIONS] [SERVICE...]"],
    Args::Any,
    "Receive real time events from containers",
    |a, p| Box::pin(events(a, p)),
)
.flags(&[&[
    switch("json", NONE, "Show events as JSON objects"),
    text("since", NONE, "From this time on"),
    text("until", NONE, "Up to this time"),
]]);

/// A flag's moment, as the API takes it.
///
/// # Errors
/// It is none.
pub fn time(p: &Parsed, flag: &str) -> Result<String, Error> {
    parse_since(p.get(flag)).map_err(Error::Refused)
}

async fn events(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &[])?;
    let mut filters = Filters::default();
    filters.add("label", format!("{}={name}", label::PROJECT));
    filters.add("type", "container");
    let client = app.client()?;
    let mut stream = client.events(&time(&p, "since")?, &time(&p, "until")?, &filters).await?;
    while let Some(event) = stream.next().await? {
        let attributes = &event.actor.attributes;
        let Some(service) = attributes.get(label::SERVICE) else { continue };
        if attributes.get(label::ONE_OFF).is_some_and(|o| o == "True")
            || (!p.args.is_empty() && !p.args.contains(service))
        {
            continue;
        }
        let shown: BTreeMap<&String, &String> =
            attributes.iter().filter(|(k, _)| !k.starts_with("com.docker.compose.")).collect();
        let time = i128::from(event.time_nano);
        if p.is("json") {
            let line = json!({
                "time": crate::format::time::rfc3339_nano_local(time), "type": "container", "service": service,
                "id": event.actor.id, "action": event.action, "attributes": shown,
            });
            app.print(format!("{line}\n"))?;
        } else {
            let at = crate::format::time::rfc3339_nano_local(time).replace('T', " ");
            let at: String = at.chars().take(26).collect();
            let list: Vec<String> = shown.iter().map(|(k, v)| format!("{k}={v}")).collect();
            app.print(format!("{at} container {} {} ({})\n", event.action, event.actor.id, list.join(", ")))?;
        }
    }
    Ok(0)
}

/// `compose stats`
pub static STATS: Command = Command::new(
    "stats",
    &["[OPTIONS] [SERVICE]"],
    Args::AtMost(1),
    "Display a live stream of container(s) resource usage statistics",
    |a, p| Box::pin(stats(a, p)),
)
.flags(&[&[
    switch("all", 'a', "Also show containers that do not run"),
    text("format", NONE, "Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("no-stream", NONE, "Show the first figures and stop"),
    switch("no-trunc", NONE, "Do not cut long texts"),
]]);

async fn stats(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &[])?;
    let seen = engine(app, &Silent)?.containers(&name, Include::All, p.is("all"), &p.args).await?;
    if seen.is_empty() {
        return Err(Error::Refused(format!("no container found for project {name:?}")));
    }
    let mut words: Vec<String> =
        ["all", "no-stream", "no-trunc"].iter().filter(|f| p.is(f)).map(|f| format!("--{f}")).collect();
    if !p.get("format").is_empty() {
        words.extend(["--format".into(), p.get("format").to_owned()]);
    }
    words.extend(seen.iter().map(|c| c.summary.id.clone()));
    delegate(app, &container_stats::COMMAND, words).await
}
