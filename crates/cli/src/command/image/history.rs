//! `history`.

use dray_client::api::image::HistoryItem;

use crate::app::App;
use crate::command::container::ls::id;
use crate::command::format_flag;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::format::ellipsis;
use crate::format::listing::{Format, Titles};
use crate::format::time::{ago, rfc3339_local};
use crate::format::units::human_size_with;
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("human", 'H', "Show sizes and dates for people").default("true"),
    switch("no-trunc", NONE, "Do not cut long texts"),
    text("platform", NONE, "Platform of the image, if there are several"),
    switch("quiet", 'q', "Show ids only"),
];

/// `history`
pub static COMMAND: Command =
    Command::new("history", &["[OPTIONS] IMAGE"], Args::Exactly(1), "Show how an image was made", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .also(&["image history", "history"]);

const TITLES: Titles = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

async fn run(app: &App, p: Parsed) -> Done {
    let (human, trunc) = (p.is("human"), !p.is("no-trunc"));
    let since = if human { "{{.CreatedSince}}" } else { "{{.CreatedAt}}" };
    let text = match p.get("format") {
        "" | "table" if p.is("quiet") => "{{.ID}}".to_owned(),
        "" | "table" => {
            format!("table {{{{.ID}}}}\t{since}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}")
        }
        other => other.to_owned(),
    };
    let format = Format::parse(&text)?;
    let items = app.client()?.image_history(&p.args[0], p.get("platform")).await?;
    app.print(format.render(TITLES, items.iter().map(|i| row(i, human, trunc)))?)?;
    Ok(0)
}

fn row(item: &HistoryItem, human: bool, trunc: bool) -> Row {
    let by = item.created_by.replace('\t', " ");
    let at = rfc3339_local(item.created);
    let since = match item.created {
        i64::MIN..=0 => "N/A".to_owned(),
        created if human => ago(created),
        _ => at.clone(),
    };
    let size = if human { human_size_with(item.size as f64, 3) } else { item.size.to_string() };
    let fields: Vec<(&'static str, Value)> = vec![
        ("ID", id(&item.id, trunc).into()),
        ("CreatedSince", since.into()),
        ("CreatedAt", at.into()),
        ("CreatedBy", if trunc { ellipsis(&by, 45) } else { by }.into()),
        ("Size", size.into()),
        ("Comment", item.comment.clone().into()),
    ];
    Row { type_name: "*image.historyContext", fields, labels: None }
}
