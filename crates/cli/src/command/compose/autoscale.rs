//! `compose autoscale`: services whose number of containers the daemon lets follow their load.

use dray_client::api::extension::ServiceScale;

use super::project;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{NONE, Parsed, switch, text};
use crate::format::listing::{Format, Titles};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

/// `compose autoscale`
pub static COMMAND: Command = Command::new(
    "autoscale",
    &["[OPTIONS] [SERVICE...]"],
    Args::Any,
    "Show services that are scaled by their load (x-dray-autoscale)",
    |a, p| Box::pin(autoscale(a, p)),
)
.flags(&[&[
    text("format", NONE, "Format of the output: table, 'table TEMPLATE', json, or a Go template")
        .default("table"),
    switch("quiet", 'q', "Show names only"),
]]);

const TITLES: Titles = &[
    ("Service", "SERVICE"),
    ("Project", "PROJECT"),
    ("Replicas", "REPLICAS"),
    ("Min", "MIN"),
    ("Max", "MAX"),
    ("Wanted", "WANTED"),
    ("CPU", "CPU/TARGET"),
    ("Connections", "CONNECTIONS/TARGET"),
    ("LastChange", "LAST CHANGE"),
    ("Reason", "REASON"),
];

const TABLE: &str = "table {{.Service}}\t{{.Replicas}}\t{{.Min}}\t{{.Max}}\t{{.Wanted}}\t{{.CPU}}\t{{.Connections}}\t{{.LastChange}}";

async fn autoscale(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &[])?;
    let mut scales = app.client()?.service_scales().await?;
    scales.retain(|one| one.project == name && (p.args.is_empty() || p.args.contains(&one.service)));
    if let Some(missing) = p.args.iter().find(|name| !scales.iter().any(|one| one.service == **name)) {
        return Err(Error::Refused(format!("no service of this name is scaled by its load: {missing}")));
    }
    if p.is("quiet") {
        app.print(scales.iter().map(|one| format!("{}\n", one.service)).collect::<String>())?;
        return Ok(0);
    }
    let format = match p.get("format") {
        "" | "table" => TABLE,
        other => other,
    };
    app.print(Format::parse(format)?.render(TITLES, scales.iter().map(row))?)?;
    Ok(0)
}

fn row(one: &ServiceScale) -> Row {
    let of = |value: String, target: Option<f64>, unit: &str| match target {
        Some(target) => format!("{value}{unit}/{target:.0}{unit}"),
        None => format!("{value}{unit}/-"),
    };
    let change = match one.changed_at.as_str() {
        "" => "-".to_owned(),
        at => format!("{} to {} at {at}", one.changed_from, one.changed_to),
    };
    let fields = vec![
        ("Service", Value::Str(one.service.clone())),
        ("Project", Value::Str(one.project.clone())),
        ("Replicas", Value::Int(one.replicas.into())),
        ("Min", Value::Int(one.min.into())),
        ("Max", Value::Int(one.max.into())),
        ("Wanted", Value::Int(one.wanted.into())),
        ("CPU", Value::Str(of(format!("{:.1}", one.cpu), one.target_cpu, "%"))),
        ("Connections", Value::Str(of(format!("{:.1}", one.connections), one.target_connections, ""))),
        ("LastChange", Value::Str(change)),
        ("Reason", Value::Str(one.reason.clone())),
    ];
    Row { type_name: "*compose.autoscaleContext", fields, labels: None }
}
