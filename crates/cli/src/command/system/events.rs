//! `events`.

use dray_client::api::event::EventMessage;

use crate::app::App;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, filter, text};
use crate::format::time::{parse_since, rfc3339_nano_local};
use crate::spec::{Args, Command, Done};
use crate::template::{Mode, Template};
use crate::value::Value;

const FLAGS: &[Flag] = &[
    filter('f', "Show those that match"),
    format_flag("Format of the output: json, or a Go template"),
    text("since", NONE, "Also show what happened since this time"),
    text("until", NONE, "Stop at this time"),
];

/// `events`
pub static COMMAND: Command =
    Command::new("events", &["[OPTIONS]"], Args::No, "Show what happens as it happens", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .also(&["system events", "events"]);

async fn run(app: &App, p: Parsed) -> Done {
    let template = template(p.get("format"))?;
    let time = |flag: &str| parse_since(p.get(flag)).map_err(Error::Refused);
    let (since, until) = (time("since")?, time("until")?);
    let mut events = app.client()?.events(&since, &until, &p.filters()).await?;
    while let Some(event) = events.next().await? {
        let line = match &template {
            None => pretty(&event),
            Some(template) => formatted(template, &event)?,
        };
        app.print(line)?;
    }
    Ok(0)
}

fn template(format: &str) -> Result<Option<Template>, Error> {
    let text = match format {
        "" => return Ok(None),
        "json" => "{{json .}}",
        other => other,
    };
    let refuse = |e| Error::Refused(format!("Error parsing format: {e}")).with_code(64);
    let template = Template::parse(text).map_err(refuse)?;
    // A template that names what events do not have is refused before the first of them.
    template.run(&value(&EventMessage::default())?, Mode::Data, &mut String::new()).map_err(refuse)?;
    Ok(Some(template))
}

fn value(event: &EventMessage) -> Result<Value, Error> {
    let unreadable = |source| Error::Json { what: "event".into(), source };
    let mut value = Value::of(event).map_err(unreadable)?;
    // What is left out when empty can be named nevertheless; JSON leaves it out again.
    if let Value::Struct(fields) = &mut value {
        for name in ["status", "id", "from", "scope", "time", "timeNano"] {
            if !fields.iter().any(|(n, _)| n == name) {
                fields.push((name.into(), Value::Absent));
            }
        }
    }
    Ok(value)
}

fn formatted(template: &Template, event: &EventMessage) -> Result<String, Error> {
    let mut out = String::new();
    template.run(&value(event)?, Mode::Data, &mut out).map_err(|e| Error::Refused(e.to_string()))?;
    out.push('\n');
    Ok(out)
}

fn pretty(event: &EventMessage) -> String {
    let mut out = String::new();
    if event.time_nano != 0 {
        out.push_str(&format!("{} ", rfc3339_nano_local(event.time_nano.into())));
    } else if event.time != 0 {
        out.push_str(&format!("{} ", rfc3339_nano_local(i128::from(event.time) * 1_000_000_000)));
    }
    out.push_str(&format!("{} {} {}", event.kind, event.action, event.actor.id));
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if !attributes.is_empty() {
        out.push_str(&format!(" ({})", attributes.join(", ")));
    }
    out.push('\n');
    out
}
