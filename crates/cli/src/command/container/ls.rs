//! `ps` and `container ls`.

use std::collections::BTreeMap;

use dray_client::api::container::{ContainerSummary, MountPoint};
use dray_client::container::ListOptions;
use dray_spec::Reference;

use crate::app::App;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, filter, int, switch};
use crate::format::listing::{Format, Titles};
use crate::format::ports::{self, Port};
use crate::format::time::{ago, go_local};
use crate::format::units::human_size_with;
use crate::format::{ellipsis, short_id};
use crate::spec::{Args, Command, Done};
use crate::template::{Mode, Template};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    switch("all", 'a', "Also show containers that do not run"),
    filter('f', "Show those that match"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    int("last", 'n', "Show the last created ones, in any state").default("-1"),
    switch("latest", 'l', "Show the last created one, in any state"),
    switch("no-trunc", NONE, "Do not cut long texts"),
    switch("quiet", 'q', "Show ids only"),
    switch("size", 's', "Show sizes of files"),
];

const ABOUT: &str = "List containers";
const ALSO: &[&str] = &["container ls", "container list", "container ps", "ps"];

/// `ps`
pub static PS: Command = Command::new("ps", &["[OPTIONS]"], Args::No, ABOUT, |a, p| Box::pin(run(a, p)))
    .flags(&[FLAGS])
    .also(ALSO);

/// `container ls`
pub static LS: Command = Command::new("ls", &["[OPTIONS]"], Args::No, ABOUT, |a, p| Box::pin(run(a, p)))
    .flags(&[FLAGS])
    .aliases(&["ps", "list"])
    .also(ALSO);

const TABLE: &str =
    "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// Columns and their titles.
pub const TITLES: Titles = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
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
    ("Platform", "PLATFORM"),
];

async fn run(app: &App, p: Parsed) -> Done {
    let mut text = p.get("format").to_owned();
    if text.is_empty() {
        text = app.config().borrow().text("psFormat").to_owned();
    } else if p.is("quiet") {
        app.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
    }
    let mut size = p.is("size");
    if p.given("format") {
        let template =
            Template::parse(&text).map_err(|e| Error::Refused(format!("failed to parse template: {e}")))?;
        let empty = row(&ContainerSummary::default(), true);
        template
            .run(&Value::Row(empty.into()), Mode::Data, &mut String::new())
            .map_err(|e| Error::Refused(format!("failed to execute template: {e}")))?;
        size |= !p.given("size") && !p.is("quiet") && template.names_field("Size");
    }
    let limit = if p.is("latest") && p.int("last") == -1 { 1 } else { p.int("last") };
    let options = ListOptions { all: p.is("all"), limit, size, filters: p.filters() };
    let containers = app.client()?.container_list(&options).await?;
    let trunc = !p.is("no-trunc");
    let format = Format::parse(&named_format(&text, p.is("quiet"), size))?;
    app.print(format.render(TITLES, containers.into_iter().map(|c| row(&c, trunc)))?)?;
    Ok(0)
}

fn named_format(text: &str, quiet: bool, size: bool) -> String {
    match text {
        _ if quiet && text != "raw" => "{{.ID}}".into(),
        "" | "table" => format!("{TABLE}{}", if size { "\t{{.Size}}" } else { "" }),
        "raw" if quiet => "container_id: {{.ID}}".into(),
        "raw" => {
            let mut raw = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n".to_owned();
            if size {
                raw.push_str("size: {{.Size}}\\n");
            }
            raw
        }
        other => other.to_owned(),
    }
}

/// A container as a row; `trunc` cuts ids and long texts.
pub fn row(c: &ContainerSummary, trunc: bool) -> Row {
    let labels = c.labels.clone();
    let command = if trunc { ellipsis(&c.command, 20) } else { c.command.clone() };
    let fields: Vec<(&'static str, Value)> = vec![
        ("ID", id(&c.id, trunc).into()),
        ("Names", names(&c.names, trunc).into()),
        ("Image", image(c, trunc).into()),
        ("Command", dray_spec::golang::quoted(&command).into()),
        ("CreatedAt", go_local(c.created).into()),
        ("RunningFor", ago(c.created).into()),
        ("Ports", ports::display(&ports_of(c)).into()),
        ("State", c.state.clone().into()),
        ("Status", c.status.clone().into()),
        ("Size", size(c).into()),
        ("Labels", joined_labels(&labels).into()),
        ("Mounts", mounts(&c.mounts, trunc).into()),
        ("LocalVolumes", c.mounts.iter().filter(|m| m.driver == "local").count().to_string().into()),
        ("Networks", networks(c).into()),
        ("Platform", Value::NilPointer),
    ];
    Row { type_name: "*formatter.ContainerContext", fields, labels: Some(labels) }
}

/// An id, cut or whole.
pub fn id(id: &str, trunc: bool) -> String {
    if trunc { short_id(id) } else { id.to_owned() }
}

/// `key=value` texts in order of their keys.
pub fn joined_labels(labels: &BTreeMap<String, String>) -> String {
    let mut all: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    all.sort();
    all.join(",")
}

fn names(names: &[String], trunc: bool) -> String {
    let mut plain = names.iter().map(|n| n.strip_prefix('/').unwrap_or(n));
    if trunc {
        return plain.find(|n| !n.contains('/')).unwrap_or_default().to_owned();
    }
    plain.collect::<Vec<_>>().join(",")
}

fn image(c: &ContainerSummary, trunc: bool) -> String {
    if c.image.is_empty() {
        return "<no image>".into();
    }
    if !trunc {
        return c.image.clone();
    }
    let short = short_id(&c.image_id);
    if short == short_id(&c.image) {
        return short;
    }
    match Reference::parse(&c.image) {
        Ok(reference) if reference.digest().is_some() => match reference.tag() {
            Some(tag) => format!("{}:{tag}", reference.familiar_name()),
            None => reference.familiar_name(),
        },
        _ => c.image.clone(),
    }
}

fn ports_of(c: &ContainerSummary) -> Vec<Port> {
    let port = |p: &dray_client::api::container::Port| Port {
        ip: p.ip.parse().ok(),
        private: p.private_port,
        public: p.public_port,
        kind: p.protocol.clone(),
    };
    c.ports.iter().map(port).collect()
}

fn size(c: &ContainerSummary) -> String {
    let own = human_size_with(c.size_rw as f64, 3);
    if c.size_root_fs > 0 {
        return format!("{own} (virtual {})", human_size_with(c.size_root_fs as f64, 3));
    }
    own
}

fn mounts(mounts: &[MountPoint], trunc: bool) -> String {
    let name = |m: &MountPoint| {
        let name = if m.name.is_empty() { &m.source } else { &m.name };
        if trunc { ellipsis(name, 15) } else { name.clone() }
    };
    mounts.iter().map(name).collect::<Vec<_>>().join(",")
}

fn networks(c: &ContainerSummary) -> String {
    c.network_settings.networks.iter().flat_map(|n| n.keys()).cloned().collect::<Vec<_>>().join(",")
}
