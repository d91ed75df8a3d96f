//! `builder history ls`.

use dray_client::api::build::BuildSummary;
use serde_json::{Map, Value};

use super::duration;
use super::local::{self, Local, NODE};
use crate::app::App;
use crate::command::format_flag;
use crate::command::image::build::vcs;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, switch};
use crate::format::listing::{Format, Titles};
use crate::format::time::{ago, parse_rfc3339};
use crate::spec::{Args, Command, Done};
use crate::value::Row;

const FLAGS: &[Flag] = &[
    list("filter", NONE, "Only builds like this (ref, repository, status, startedAt, completedAt, duration)")
        .shown("stringArray"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template").default("table"),
    switch("local", NONE, "Only builds of the repository around this folder"),
    switch("no-trunc", NONE, "Show names in full"),
];

/// `builder history ls`
pub static COMMAND: Command =
    Command::new("ls", &["[OPTIONS]"], Args::No, "List builds", |a, p| Box::pin(run(a, p))).flags(&[FLAGS]);

const TABLE: &str = "table {{.Ref}}\t{{.Name}}\t{{.Status}}\t{{.CreatedAt}}\t{{.Duration}}\t{{.Link}}";
const TITLES: Titles = &[
    ("Ref", "BUILD ID"),
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("CreatedAt", "CREATED AT"),
    ("Duration", "DURATION"),
    ("Link", ""),
];
/// The widest name of a table.
const NAME_WIDTH: usize = 36;

async fn run(app: &App, p: Parsed) -> Done {
    let mut wanted = p.all("filter");
    if p.is("local") {
        let origin = vcs::origin().map_err(Error::Refused)?;
        wanted.insert(0, format!("repository={origin}"));
    }
    let filters = filters(&wanted).map_err(Error::Refused)?;
    let mut builds = app.client()?.build_history(&filters).await?;
    // Those that run come first.
    builds.sort_by_key(|build| build.completed_at.is_some());
    let format = p.get("format");
    if format == "json" {
        let lines = builds.iter().map(|build| json(app, build).to_string() + "\n");
        app.print(lines.collect::<String>())?;
        return Ok(0);
    }
    let cut = format.starts_with("table") && !p.is("no-trunc");
    let format = Format::parse(if format == "table" { TABLE } else { format })?;
    app.print(format.render(TITLES, builds.iter().map(|build| row(app, build, cut)).collect::<Vec<_>>())?)?;
    Ok(0)
}

/// Docker's filters as BuildKit's: all of them have to hold.
fn filters(texts: &[String]) -> Result<Vec<String>, String> {
    let mut conditions = Vec::new();
    for text in texts {
        let signs = ["!=", "<=", ">=", "=", "<", ">"];
        let found = signs.iter().filter_map(|sign| Some((text.find(sign)?, *sign)));
        let first = found.min_by_key(|(at, sign)| (*at, std::cmp::Reverse(sign.len())));
        let (at, sign) = first.ok_or_else(|| format!("invalid filter {text:?}"))?;
        let (key, value) = (&text[..at], &text[at + sign.len()..]);
        let equals = matches!(sign, "=" | "!=");
        match key {
            "ref" | "repository" | "status" if !equals => {
                return Err(format!("invalid separator for {text:?}, expected = or !="));
            }
            "startedAt" | "completedAt" | "duration" if equals => {
                return Err(format!("invalid separator for {text:?}, expected <=, <, >= or >"));
            }
            "status" if sign == "=" => conditions.push(format!("status=={value}")),
            "ref" | "repository" if sign == "=" => conditions.push(format!("{key}~={value}")),
            "ref" | "repository" | "status" | "startedAt" | "completedAt" | "duration" => {
                conditions.push(text.clone());
            }
            _ => return Err(format!("unsupported filter {text:?}")),
        }
    }
    Ok(Some(conditions.join(",")).filter(|all| !all.is_empty()).into_iter().collect())
}

fn status(build: &BuildSummary) -> &'static str {
    match build.status.as_str() {
        "running" => "Running",
        "completed" => "Completed",
        _ => "Error",
    }
}

fn name(app: &App, build: &BuildSummary) -> String {
    local::name(build, &Local::of(build, app.config().borrow().dir()))
}

fn row(app: &App, build: &BuildSummary, cut: bool) -> Row {
    let mut name = name(app, build);
    let length = name.chars().count();
    if cut && length > NAME_WIDTH {
        name = format!("..{}", name.chars().skip(length - NAME_WIDTH + 2).collect::<String>());
    }
    let since = parse_rfc3339(&build.created_at).map(|time| ago(time.as_second())).unwrap_or_default();
    let fields = vec![
        ("Ref", build.r#ref.clone().into()),
        ("Name", name.into()),
        ("Status", status(build).into()),
        ("CreatedAt", since.into()),
        ("Duration", duration(build).into()),
        ("Link", String::new().into()),
    ];
    Row { type_name: "*history.lsContext", fields, labels: None }
}

fn json(app: &App, build: &BuildSummary) -> Value {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("cached_steps", build.cached_steps.into());
    if let Some(completed) = &build.completed_at {
        add("completed_at", completed.clone().into());
    }
    add("completed_steps", build.completed_steps.into());
    add("created_at", build.created_at.clone().into());
    add("name", name(app, build).into());
    add("ref", format!("{NODE}/{}", build.r#ref).into());
    add("status", status(build).into());
    add("total_steps", build.total_steps.into());
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_docker_s() {
        let read = |texts: &[&str]| filters(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        let joined = read(&["status=error", "ref=ab", "startedAt>=1h", "status!=x"]).expect("filters");
        assert_eq!(joined, ["status==error,ref~=ab,startedAt>=1h,status!=x"]);
        assert_eq!(read(&[]), Ok(Vec::new()));
        assert_eq!(read(&["x"]), Err("invalid filter \"x\"".into()));
        assert_eq!(read(&["x=1"]), Err("unsupported filter \"x=1\"".into()));
        let wrong = "invalid separator for \"status>x\", expected = or !=";
        assert_eq!(read(&["status>x"]), Err(wrong.into()));
        let wrong = "invalid separator for \"duration=1s\", expected <=, <, >= or >";
        assert_eq!(read(&["duration=1s"]), Err(wrong.into()));
    }
}
