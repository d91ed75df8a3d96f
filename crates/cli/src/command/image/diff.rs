//! `image diff`: which files differ between two images. Dray's own; letters as `container diff` has them.

use dray_client::api::extension::{ImageFile, ImageFileChange};

use crate::app::App;
use crate::command::format_flag;
use crate::flag::{Flag, Parsed};
use crate::format::listing::{Format, Titles};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] =
    &[format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template")];

/// `image diff`
pub static COMMAND: Command = Command::new(
    "diff",
    &["[OPTIONS] IMAGE IMAGE"],
    Args::Exactly(2),
    "Show the files that differ between two images",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.details("A: only the second image has it. C: both have it, differently. D: only the first has it. Times do not count.");

const TITLES: Titles = &[
    ("Change", "CHANGE"),
    ("Type", "TYPE"),
    ("Mode", "MODE"),
    ("Owner", "OWNER"),
    ("Size", "SIZE"),
    ("Differs", "DIFFERS IN"),
    ("Path", "PATH"),
];
const TABLE: &str = "table {{.Change}}\t{{.Type}}\t{{.Mode}}\t{{.Size}}\t{{.Differs}}\t{{.Path}}";

async fn run(app: &App, p: Parsed) -> Done {
    let changes = app.client()?.image_diff(&p.args[0], &p.args[1]).await?;
    let text = match p.get("format") {
        "json" => {
            changes.iter().map(|change| serde_json::to_string(change).unwrap_or_default() + "\n").collect()
        }
        format => {
            let format = if matches!(format, "" | "table") { TABLE } else { format };
            Format::parse(format)?.render(TITLES, changes.iter().map(row))?
        }
    };
    app.print(text)?;
    Ok(0)
}

fn row(change: &ImageFileChange) -> Row {
    let letter = match change.kind {
        0 => "C",
        1 => "A",
        _ => "D",
    };
    let of = |what: &dyn Fn(&ImageFile) -> String| both(change, what);
    let fields: Vec<(&'static str, Value)> = vec![
        ("Change", letter.into()),
        ("Type", of(&|file| file.r#type.clone()).into()),
        ("Mode", of(&|file| format!("{:04o}", file.mode)).into()),
        ("Owner", of(&|file| format!("{}:{}", file.uid, file.gid)).into()),
        ("Size", of(&|file| human_size(file.size as f64)).into()),
        ("Differs", change.differs.join(",").into()),
        ("Path", change.path.clone().into()),
    ];
    Row { type_name: "*image.fileChangeContext", fields, labels: None }
}

/// What the file has, or had and has now.
fn both(change: &ImageFileChange, what: &dyn Fn(&ImageFile) -> String) -> String {
    match (change.old.as_ref().map(what), change.new.as_ref().map(what)) {
        (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
        (old, new) => new.or(old).unwrap_or_default(),
    }
}
