//! `network ls`.

use dray_client::api::network::NetworkInspect;

use crate::app::App;
use crate::command::container::ls::{id, joined_labels};
use crate::command::format_flag;
use crate::flag::{Flag, NONE, Parsed, filter, switch};
use crate::format::listing::{Format, Titles};
use crate::format::time::go_utc;
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    filter('f', "Show those that match"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("no-trunc", NONE, "Do not cut ids"),
    switch("quiet", 'q', "Show ids only"),
];

/// `network ls`
pub static COMMAND: Command =
    Command::new("ls", &["[OPTIONS]"], Args::No, "List networks", |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS])
        .aliases(&["list"])
        .also(&["network ls", "network list"]);

const TITLES: Titles = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

async fn run(app: &App, p: Parsed) -> Done {
    let mut text = p.get("format").to_owned();
    if text.is_empty() && !p.is("quiet") {
        text = app.config().borrow().text("networksFormat").to_owned();
    }
    let format = Format::parse(match text.as_str() {
        "" | "table" if p.is("quiet") => "{{.ID}}",
        "" | "table" => "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        "raw" if p.is("quiet") => "network_id: {{.ID}}",
        "raw" => "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
        other => other,
    })?;
    let mut networks = app.client()?.network_list(&p.filters()).await?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    app.print(format.render(TITLES, networks.iter().map(|n| row(n, !p.is("no-trunc"))))?)?;
    Ok(0)
}

fn row(n: &NetworkInspect, trunc: bool) -> Row {
    let fields: Vec<(&'static str, Value)> = vec![
        ("ID", id(&n.id, trunc).into()),
        ("Name", n.name.clone().into()),
        ("Driver", n.driver.clone().into()),
        ("Scope", n.scope.clone().into()),
        ("IPv4", n.enable_ipv4.to_string().into()),
        ("IPv6", n.enable_ipv6.to_string().into()),
        ("Internal", n.internal.to_string().into()),
        ("Labels", joined_labels(&n.labels).into()),
        ("CreatedAt", go_utc(&n.created).into()),
    ];
    Row { type_name: "*network.networkContext", fields, labels: Some(n.labels.clone()) }
}
