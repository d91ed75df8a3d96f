//! `search`.

use dray_client::api::image::SearchResult;

use crate::app::App;
use crate::command::format_flag;
use crate::config_file::HUB;
use crate::credential::auth_header;
use crate::flag::{Flag, NONE, Parsed, filter, int, switch};
use crate::format::ellipsis;
use crate::format::listing::{Format, Titles};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    filter('f', "Show those that match"),
    format_flag("Format of the output: a Go template"),
    int("limit", NONE, "Show so many at most").default("0"),
    switch("no-trunc", NONE, "Do not cut long texts"),
];

/// `search`
pub static COMMAND: Command =
    Command::new("search", &["[OPTIONS] TERM"], Args::Exactly(1), "Search Docker Hub for images", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";

const TITLES: Titles = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
    ("IsAutomated", "AUTOMATED"),
];

async fn run(app: &App, p: Parsed) -> Done {
    let format = Format::parse(match p.get("format") {
        "" | "table" => TABLE,
        other => other,
    })?;
    let auth = auth_header(&app.config().borrow().auth(HUB).unwrap_or_default());
    let found = app.client()?.image_search(&p.args[0], p.int("limit"), &p.filters(), &auth).await?;
    app.print(format.render(TITLES, found.iter().map(|r| row(r, !p.is("no-trunc"))))?)?;
    Ok(0)
}

fn row(r: &SearchResult, trunc: bool) -> Row {
    let description = r.description.replace(['\n', '\r'], " ");
    let ok = |b: bool| if b { "[OK]" } else { "" };
    let fields: Vec<(&'static str, Value)> = vec![
        ("Name", r.name.clone().into()),
        ("Description", if trunc { ellipsis(&description, 45) } else { description }.into()),
        ("StarCount", r.star_count.to_string().into()),
        ("IsOfficial", ok(r.is_official).into()),
        ("IsAutomated", ok(r.is_automated).into()),
    ];
    Row { type_name: "*registry.searchContext", fields, labels: None }
}
