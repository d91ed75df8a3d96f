//! `image tree`: an image layer by layer, what each step made, and what of it nobody sees. Dray's own.

use dray_client::api::extension::{ImageTree, ImageTreeLayer, ReplacedFile};

use crate::app::App;
use crate::command::container::ls::id;
use crate::command::format_flag;
use crate::flag::{Flag, NONE, Parsed, int, switch};
use crate::format::ellipsis;
use crate::format::listing::{Format, Titles};
use crate::format::units::human_size;
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    format_flag("Format of the layers: table, 'table TEMPLATE', json for everything, or a Go template"),
    switch("no-trunc", NONE, "Do not cut long texts"),
    int("files", 'n', "Show so many of the files that waste most").default("10"),
];

/// `image tree`
pub static COMMAND: Command = Command::new(
    "tree",
    &["[OPTIONS] IMAGE"],
    Args::Exactly(1),
    "Show an image's layers, their sizes, and what of them is wasted",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.details(
    "Wasted are bytes that a container does not see: a later layer has replaced or removed their files.\n\
     HIDES is what a layer so takes out of sight of those before it.",
);

const TITLES: Titles = &[
    ("Layer", "LAYER"),
    ("Size", "SIZE"),
    ("Files", "FILES"),
    ("Wasted", "WASTED"),
    ("Hides", "HIDES"),
    ("Created", "CREATED"),
    ("CreatedBy", "CREATED BY"),
];
const TABLE: &str = "table {{.Layer}}\t{{.Size}}\t{{.Files}}\t{{.Wasted}}\t{{.Hides}}\t{{.CreatedBy}}";
const FILES: Titles = &[("Bytes", "WASTED"), ("Times", "TIMES"), ("Now", "NOW"), ("Path", "PATH")];
const FILES_TABLE: &str = "table {{.Bytes}}\t{{.Times}}\t{{.Now}}\t{{.Path}}";

async fn run(app: &App, p: Parsed) -> Done {
    let trunc = !p.is("no-trunc");
    let tree = app.client()?.image_tree(&p.args[0]).await?;
    let text = match p.get("format") {
        "json" => format!("{}\n", serde_json::to_string(&tree).unwrap_or_default()),
        "" | "table" => page(&tree, trunc, p.get("files").parse().unwrap_or(10))?,
        other => Format::parse(other)?.render(TITLES, tree.layers.iter().map(|layer| row(layer, trunc)))?,
    };
    app.print(text)?;
    Ok(0)
}

fn page(tree: &ImageTree, trunc: bool, files: usize) -> Result<String, crate::format::listing::Error> {
    let rows = tree.layers.iter().map(|layer| row(layer, trunc));
    let mut page = Format::parse(TABLE)?.render(TITLES, rows)?;
    let layers = tree.layers.iter().filter(|layer| !layer.diff_id.is_empty()).count();
    page.push_str(&format!(
        "\n{} in {layers} layers, {} wasted, efficiency {:.1} %\n",
        human_size(tree.size as f64),
        human_size(tree.wasted as f64),
        tree.efficiency * 100.0
    ));
    if files > 0 && !tree.replaced.is_empty() {
        page.push('\n');
        page.push_str(
            &Format::parse(FILES_TABLE)?.render(FILES, tree.replaced.iter().take(files).map(file_row))?,
        );
    }
    Ok(page)
}

fn row(layer: &ImageTreeLayer, trunc: bool) -> Row {
    let by = layer.created_by.replace('\t', " ");
    let size = |bytes: i64| Value::from(human_size(bytes as f64));
    let name = if layer.diff_id.is_empty() { "-".to_owned() } else { id(&layer.diff_id, trunc) };
    let fields: Vec<(&'static str, Value)> = vec![
        ("Layer", name.into()),
        ("Size", size(layer.size)),
        ("Files", layer.files.to_string().into()),
        ("Wasted", size(layer.wasted)),
        ("Hides", size(layer.hides)),
        ("Created", layer.created.clone().into()),
        ("CreatedBy", if trunc { ellipsis(&by, 60) } else { by }.into()),
    ];
    Row { type_name: "*image.treeContext", fields, labels: None }
}

fn file_row(file: &ReplacedFile) -> Row {
    let fields: Vec<(&'static str, Value)> = vec![
        ("Bytes", human_size(file.bytes as f64).into()),
        ("Times", file.times.to_string().into()),
        ("Now", if file.removed { "removed" } else { "replaced" }.into()),
        ("Path", file.path.clone().into()),
    ];
    Row { type_name: "*image.replacedContext", fields, labels: None }
}
