//! `volume df`. Dray's own.

use dray_client::api::extension::VolumeSpace;

use crate::app::App;
use crate::command::container::ls::joined_labels;
use crate::command::format_flag;
use crate::flag::{Flag, Parsed, switch};
use crate::format::listing::{Format, Titles};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("quiet", 'q', "Show names only"),
];

/// `volume df`
pub static COMMAND: Command = Command::new(
    "df",
    &["[OPTIONS] [VOLUME...]"],
    Args::Any,
    "Show what volumes take, the largest first",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

const TITLES: Titles = &[
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Links", "LINKS"),
    ("Files", "FILES"),
    ("Size", "SIZE"),
    ("Limit", "LIMIT"),
    ("Available", "AVAILABLE"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];
const TABLE: &str =
    "table {{.Name}}\t{{.Driver}}\t{{.Links}}\t{{.Files}}\t{{.Size}}\t{{.Limit}}\t{{.Available}}";

async fn run(app: &App, p: Parsed) -> Done {
    let format = Format::parse(match p.get("format") {
        "" | "table" if p.is("quiet") => "{{.Name}}",
        "" | "table" => TABLE,
        other => other,
    })?;
    let client = app.client()?;
    // What is named has to be there.
    for name in &p.args {
        client.volume_inspect_raw(name).await?;
    }
    let mut volumes = client.volume_df().await?;
    volumes.retain(|volume| p.args.is_empty() || p.args.contains(&volume.name));
    volumes.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    app.print(format.render(TITLES, volumes.iter().map(row))?)?;
    Ok(0)
}

fn row(volume: &VolumeSpace) -> Row {
    let known = |number: i64, text: String| if number < 0 { "N/A".to_owned() } else { text };
    let size = |bytes: i64| known(bytes, human_size(bytes as f64));
    let fields: Vec<(&'static str, Value)> = vec![
        ("Name", volume.name.clone().into()),
        ("Driver", volume.driver.clone().into()),
        ("Links", volume.ref_count.to_string().into()),
        ("Files", known(volume.files, volume.files.to_string()).into()),
        ("Size", size(volume.size).into()),
        ("Limit", size(volume.limit).into()),
        ("Available", size(volume.available).into()),
        ("Labels", joined_labels(&volume.labels).into()),
        ("CreatedAt", volume.created_at.clone().into()),
    ];
    Row { type_name: "*volume.spaceContext", fields, labels: Some(volume.labels.clone()) }
}
