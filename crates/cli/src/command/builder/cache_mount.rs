//! `builder cache-mount`: the directories of `RUN --mount=type=cache`, listed, and taken from one machine to another.

use dray_client::Upload;
use dray_client::api::build::CacheMountRecord;

use crate::app::App;
use crate::command::{format_flag, output_file};
use crate::command_error::Error;
use crate::flag::{Flag, Parsed, switch, text};
use crate::format::listing::{Format, Titles};
use crate::format::time::{ago, parse_rfc3339};
use crate::format::units::human_size;
use crate::pack;
use crate::spec::{Args, Command, Done, Group};
use crate::value::Row;

/// `builder cache-mount`
pub static GROUP: Group = Group {
    name: "builder cache-mount",
    about: "Look after the directories of RUN --mount=type=cache",
    commands: &[&EXPORT, &IMPORT, &LS],
};

const LS_FLAGS: &[Flag] = &[
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("quiet", 'q', "Show ids only"),
];

static LS: Command =
    Command::new("ls", &["[OPTIONS]"], Args::No, "List them", |a, p| Box::pin(ls(a, p))).flags(&[LS_FLAGS]);

static EXPORT: Command = Command::new(
    "export",
    &["[OPTIONS] [MOUNT...]"],
    Args::Any,
    "Write them as a tar archive; all of them without a name",
    |a, p| Box::pin(export(a, p)),
)
.flags(&[&[text("output", 'o', "File to write, instead of standard output")]]);

static IMPORT: Command = Command::new(
    "import",
    &["[OPTIONS]"],
    Args::No,
    "Take them from a tar archive; those that are there stay as they are",
    |a, p| Box::pin(import(a, p)),
)
.flags(&[&[text("input", 'i', "File to read, instead of standard input")]]);

const TABLE: &str = "table {{.Mount}}\t{{.Target}}\t{{.Size}}\t{{.LastUsed}}\t{{.UsageCount}}";
const TITLES: Titles = &[
    ("Mount", "MOUNT"),
    ("Target", "TARGET"),
    ("ID", "ID"),
    ("InUse", "IN USE"),
    ("Size", "SIZE"),
    ("Created", "CREATED"),
    ("LastUsed", "LAST ACCESSED"),
    ("UsageCount", "USAGE"),
];

async fn ls(app: &App, p: Parsed) -> Done {
    let mounts = app.client()?.cache_mounts().await?;
    let format = match p.get("format") {
        _ if p.is("quiet") => "{{.Mount}}",
        "" | "table" => TABLE,
        text => text,
    };
    app.print(Format::parse(format)?.render(TITLES, mounts.iter().map(row).collect::<Vec<_>>())?)?;
    Ok(0)
}

fn row(mount: &CacheMountRecord) -> Row {
    let since = |time: &str| parse_rfc3339(time).map(|time| ago(time.as_second())).unwrap_or_default();
    let last = mount.last_used_at.as_deref().unwrap_or(&mount.created_at);
    let fields = vec![
        ("Mount", mount.mount.clone().into()),
        ("Target", mount.target.clone().into()),
        ("ID", mount.id.clone().into()),
        ("InUse", mount.in_use.to_string().into()),
        ("Size", human_size(mount.size as f64).into()),
        ("Created", since(&mount.created_at).into()),
        ("LastUsed", since(last).into()),
        ("UsageCount", mount.usage_count.to_string().into()),
    ];
    Row { type_name: "*builder.cacheMount", fields, labels: None }
}

async fn export(app: &App, p: Parsed) -> Done {
    let out = output_file::Target::check(p.get("output"), "failed to export cache mounts")?;
    let archive = app.client()?.cache_mount_export(&p.args).await?;
    out.write(archive).await?;
    Ok(0)
}

async fn import(app: &App, p: Parsed) -> Done {
    let input = p.get("input");
    let archive = match input {
        "" if crate::terminal::is_terminal(std::io::stdin()) => {
            return Err(Error::Refused("nothing to import: use -i, or redirect standard input".into()));
        }
        "" => Upload::tar_chunks(pack::stdin()),
        path => Upload::tar(tokio::fs::File::open(path).await.map_err(Error::file("open", path))?),
    };
    let done = app.client()?.cache_mount_import(archive).await?;
    for id in &done.existing {
        app.warn(format!("{id}: is there already and stays as it is"));
    }
    app.print(done.imported.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    Ok(0)
}
