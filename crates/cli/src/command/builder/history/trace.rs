//! `builder history trace`: the steps of a build as Jaeger takes them in (its JSON, or a file for its user interface).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::wanted;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{NONE, Parsed, text};
use crate::format::time::parse_rfc3339;
use crate::spec::{Args, Command, Done};

/// `builder history trace`
pub static COMMAND: Command = Command::new(
    "trace",
    &["[OPTIONS] [BUILD]"],
    Args::AtMost(1),
    "Print a build as a trace that Jaeger can import",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[&[
    text("addr", NONE, "Kept for scripts of buildx: nothing is served here").hidden(),
    text("compare", NONE, "Another build, printed beside it"),
]]);

async fn run(app: &App, p: Parsed) -> Done {
    if p.given("addr") {
        let text = "--addr: there is no user interface of Jaeger in here; import what this prints into one";
        return Err(Error::Refused(text.into()));
    }
    let mut traces = vec![trace(app, wanted(&p)).await?];
    if p.given("compare") {
        traces.push(trace(app, p.get("compare")).await?);
    }
    let text = serde_json::to_string_pretty(&json!({ "data": traces }))
        .map_err(|source| Error::Json { what: "a trace".into(), source })?;
    app.print(text + "\n")?;
    Ok(0)
}

/// A build's trace in Jaeger's terms.
async fn trace(app: &App, name: &str) -> Result<Value, Error> {
    let bytes = app.client()?.build_trace(name).await?;
    let spans = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let spans: Vec<Value> =
        spans.collect::<Result<_, _>>().map_err(|source| Error::Json { what: "a trace".into(), source })?;
    if spans.is_empty() {
        return Err(Error::Refused(format!("build record {name:?} is missing a trace")));
    }
    Ok(jaeger(&spans))
}

fn jaeger(spans: &[Value]) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let micros = |value: &Value| {
        parse_rfc3339(value.as_str().unwrap_or_default()).map_or(0, |time| time.as_microsecond())
    };
    let tag = |attribute: &Value| {
        let kind = text(&attribute["Value"]["Type"]).to_lowercase();
        json!({"key": attribute["Key"], "type": kind, "value": attribute["Value"]["Value"]})
    };
    let mut processes = BTreeMap::new();
    let mut all = Vec::new();
    for (n, span) in spans.iter().enumerate() {
        let context = &span["SpanContext"];
        let process = format!("p{n}");
        let service = span["Resource"][0]["Value"]["Value"].clone();
        processes.insert(process.clone(), json!({"serviceName": service, "tags": []}));
        let parent = &span["Parent"];
        let reference =
            json!({"refType": "CHILD_OF", "traceID": parent["TraceID"], "spanID": parent["SpanID"]});
        let mut tags: Vec<Value> = span["Attributes"].as_array().into_iter().flatten().map(tag).collect();
        if span["Status"]["Code"] == "Error" {
            tags.push(json!({"key": "error", "type": "bool", "value": true}));
            let what = &span["Status"]["Description"];
            tags.push(json!({"key": "otel.status_description", "type": "string", "value": what}));
        }
        let (begun, ended) = (micros(&span["StartTime"]), micros(&span["EndTime"]));
        all.push(json!({
            "traceID": context["TraceID"],
            "spanID": context["SpanID"],
            "flags": 1,
            "operationName": span["Name"],
            "references": [reference],
            "startTime": begun,
            "duration": ended - begun,
            "tags": tags,
            "logs": [],
            "processID": process,
            "warnings": null,
        }));
    }
    let id = spans.first().map_or(Value::Null, |span| span["SpanContext"]["TraceID"].clone());
    json!({"traceID": id, "spans": all, "processes": processes, "warnings": null})
}
