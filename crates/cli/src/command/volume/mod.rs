//! Volumes.

mod backup;
mod clone;
mod df;
mod rename;
mod update;

use dray_client::api::volume::{Volume, VolumeCreateRequest};

use crate::app::App;
use crate::command::container::ls::joined_labels;
use crate::command::container::prune::{FLAGS as PRUNE_COMMON, agree};
use crate::command::each::each;
use crate::command::{format_flag, format_flag_f, inspector};
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, filter, list, switch, text};
use crate::format::listing::{Format, Titles};
use crate::format::units::human_size;
use crate::opts::env::check_label;
use crate::opts::pairs;
use crate::spec::{Args, Command, Done, Group};
use crate::value::{Row, Value};

/// `volume`
pub static GROUP: Group = Group {
    name: "volume",
    about: "Manage volumes",
    commands: &[
        &backup::BACKUP,
        &clone::CLONE,
        &CREATE,
        &df::COMMAND,
        &INSPECT,
        &LS,
        &PRUNE,
        &rename::COMMAND,
        &backup::RESTORE,
        &RM,
        &clone::SNAPSHOT,
        &update::COMMAND,
    ],
};

const CREATE_FLAGS: &[Flag] = &[
    text("driver", 'd', "Driver of the volume").default("local"),
    list("label", NONE, "Set a label").check(check_label),
    text("name", NONE, "Name of the volume").hidden(),
    list("opt", 'o', "Option of the driver").shown("map"),
];

static CREATE: Command =
    Command::new("create", &["[OPTIONS] [VOLUME]"], Args::AtMost(1), "Create a volume", |a, p| {
        Box::pin(create(a, p))
    })
    .flags(&[CREATE_FLAGS]);

static INSPECT: Command = Command::new(
    "inspect",
    &["[OPTIONS] VOLUME [VOLUME...]"],
    Args::AtLeast(1),
    "Show all that is known of volumes",
    |a, p| Box::pin(inspect(a, p)),
)
.flags(&[&[format_flag_f("Format of the output: json, or a Go template")]]);

const LS_FLAGS: &[Flag] = &[
    switch("cluster", NONE, "Show cluster volumes only").hidden(),
    filter('f', "Show those that match"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("quiet", 'q', "Show names only"),
];

static LS: Command = Command::new("ls", &["[OPTIONS]"], Args::No, "List volumes", |a, p| Box::pin(ls(a, p)))
    .flags(&[LS_FLAGS])
    .aliases(&["list"])
    .also(&["volume ls", "volume list"]);

static PRUNE: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove volumes that no container uses", |a, p| {
        Box::pin(prune(a, p))
    })
    .flags(&[PRUNE_COMMON, &[switch("all", 'a', "Remove named ones too, not only anonymous ones")]]);

static RM: Command =
    Command::new("rm", &["[OPTIONS] VOLUME [VOLUME...]"], Args::AtLeast(1), "Remove volumes", |a, p| {
        Box::pin(rm(a, p))
    })
    .flags(&[&[switch("force", 'f', "Do not fail if it does not exist")]])
    .aliases(&["remove"])
    .also(&["volume rm", "volume remove"]);

/// Columns and their titles.
pub const TITLES: Titles = &[
    ("ID", "ID"),
    ("Name", "VOLUME NAME"),
    ("Group", "GROUP"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

async fn create(app: &App, p: Parsed) -> Done {
    let mut name = p.get("name").to_owned();
    if let Some(argument) = p.args.first() {
        if !name.is_empty() {
            return Err(Error::Refused("conflicting options: cannot specify a volume-name through both --name and as a positional arg".into()));
        }
        name.clone_from(argument);
    }
    let request = VolumeCreateRequest {
        driver: p.get("driver").to_owned(),
        driver_opts: Some(pairs(&p.all("opt"))),
        labels: Some(pairs(&p.all("label"))),
        name,
        cluster_volume_spec: None,
    };
    let made = app.client()?.volume_create(&request).await?;
    app.print(format!("{}\n", made.name))?;
    Ok(0)
}

async fn inspect(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    inspector::inspect(app, &p.args, p.get("format"), |name| async move {
        Ok(client.volume_inspect_raw(&name).await?)
    })
    .await
}

async fn ls(app: &App, p: Parsed) -> Done {
    let mut text = p.get("format").to_owned();
    if text.is_empty() && !p.is("quiet") {
        text = app.config().borrow().text("volumesFormat").to_owned();
    }
    let format = Format::parse(match text.as_str() {
        "" | "table" if p.is("quiet") => "{{.Name}}",
        "" | "table" => "table {{.Driver}}\t{{.Name}}",
        "raw" if p.is("quiet") => "name: {{.Name}}",
        "raw" => "name: {{.Name}}\ndriver: {{.Driver}}\n",
        other => other,
    })?;
    let mut volumes = app.client()?.volume_list(&p.filters()).await?.volumes;
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    app.print(format.render(TITLES, volumes.iter().map(row))?)?;
    Ok(0)
}

/// A volume as a row.
pub fn row(v: &Volume) -> Row {
    let labels = v.labels.clone().unwrap_or_default();
    let usage = v.usage_data.as_ref();
    let fields: Vec<(&'static str, Value)> = vec![
        ("Name", v.name.clone().into()),
        ("Group", "N/A".into()),
        ("Driver", v.driver.clone().into()),
        ("Scope", v.scope.clone().into()),
        ("Availability", "N/A".into()),
        ("Mountpoint", v.mountpoint.clone().into()),
        ("Labels", joined_labels(&labels).into()),
        ("Links", usage.map_or("N/A".into(), |u| u.ref_count.to_string()).into()),
        ("Size", usage.map_or("N/A".into(), |u| human_size(u.size as f64)).into()),
        ("Status", "N/A".into()),
    ];
    Row { type_name: "*formatter.volumeContext", fields, labels: Some(labels) }
}

async fn prune(app: &App, p: Parsed) -> Done {
    let mut filters = p.filters();
    let which = if p.is("all") { "all local volumes" } else { "anonymous local volumes" };
    if p.is("all") {
        if filters.contains("all") {
            return Err(Error::Refused(
                "conflicting options: cannot specify both --all and --filter all=1".into(),
            ));
        }
        filters.add("all", "true");
    }
    let question = format!(
        "WARNING! This will remove {which} not used by at least one container.\nAre you sure you want to continue?"
    );
    if !agree(app, &p, &question)? {
        return Ok(0);
    }
    let report = app.client()?.volume_prune(&filters).await?;
    let deleted = report.volumes_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        app.print(format!("Deleted Volumes:\n{}\n\n", deleted.join("\n")))?;
    }
    app.print(format!("Total reclaimed space: {}\n", human_size(report.space_reclaimed as f64)))?;
    Ok(0)
}

async fn rm(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let force = p.is("force");
    each(app, &p.args, |name| async move { Ok(client.volume_remove(name, force).await?) }).await
}
