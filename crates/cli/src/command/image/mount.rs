//! `image mount` and `image unmount`: an image's files on the daemon's host, without a container. Dray's own.

use dray_client::api::extension::ImageMount;

use crate::app::App;
use crate::command::container::ls::id;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch};
use crate::format::listing::{Format, Titles};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    format_flag("Format of the list: table, 'table TEMPLATE', json, or a Go template"),
    switch("no-trunc", NONE, "Do not cut ids"),
];

/// `image mount`
pub static MOUNT: Command = Command::new(
    "mount",
    &["[OPTIONS]", "[OPTIONS] IMAGE [TARGET]"],
    Args::AtMost(2),
    "Mount an image on the daemon's host, read-only, or list what is mounted",
    |a, p| Box::pin(mount(a, p)),
)
.flags(&[FLAGS])
.details(
    "Without TARGET, an absolute path, a folder of the daemon's own is used. Prints where the image is.",
);

const TITLES: Titles =
    &[("ID", "IMAGE ID"), ("Name", "NAME"), ("Target", "TARGET"), ("CreatedAt", "CREATED AT")];
const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Target}}";

async fn mount(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let Some(image) = p.args.first() else {
        let mounts = client.image_mounts().await?;
        let format = if matches!(p.get("format"), "" | "table") { TABLE } else { p.get("format") };
        let trunc = !p.is("no-trunc");
        app.print(Format::parse(format)?.render(TITLES, mounts.iter().map(|mount| row(mount, trunc)))?)?;
        return Ok(0);
    };
    let target = p.args.get(1).map_or("", String::as_str);
    app.print(format!("{}\n", client.image_mount(image, target).await?.target))?;
    Ok(0)
}

fn row(mount: &ImageMount, trunc: bool) -> Row {
    let fields: Vec<(&'static str, Value)> = vec![
        ("ID", id(&mount.id, trunc).into()),
        ("Name", mount.name.clone().into()),
        ("Target", mount.target.clone().into()),
        ("CreatedAt", mount.created.clone().into()),
    ];
    Row { type_name: "*image.mountContext", fields, labels: None }
}

const UNMOUNT_FLAGS: &[Flag] = &[switch("all", 'a', "Take all mounted images off")];

/// `image unmount`
pub static UNMOUNT: Command = Command::new(
    "unmount",
    &["[OPTIONS] IMAGE|TARGET [IMAGE|TARGET...]"],
    Args::Any,
    "Take mounted images off",
    |a, p| Box::pin(unmount(a, p)),
)
.aliases(&["umount"])
.flags(&[UNMOUNT_FLAGS]);

async fn unmount(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let names = match (p.is("all"), p.args.is_empty()) {
        (true, true) => client.image_mounts().await?.into_iter().map(|mount| mount.target).collect(),
        (false, false) => p.args,
        _ => return Err(Error::Refused("name what to unmount, or --all".into())),
    };
    let mut errors = Vec::new();
    for name in &names {
        match client.image_unmount(name).await {
            Ok(targets) => app.print(targets.iter().map(|t| format!("{t}\n")).collect::<String>())?,
            Err(error) => errors.push(error.into()),
        }
    }
    Error::all(errors).map(|()| 0)
}
