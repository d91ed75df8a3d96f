//! `--check`: all warnings, and what would end the build.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::{Answer, Location, encoded};
use crate::builder::{Builder, check_options, planned};
use crate::definition::Source;
use crate::dockerfile::{Dockerfile, ParseError, excerpt, parse};
use crate::error::BuildError;
use crate::lint::{Linter, Surroundings, Warning, walk};
use crate::plan::StagePlan;
use crate::request::BuildRequest;

#[derive(Serialize)]
struct Results<'a> {
    /// Null for none, as Go has it.
    warnings: Option<Vec<Found<'a>>>,
    sources: [SourceInfo<'a>; 1],
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
    detail: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct SourceInfo<'a> {
    filename: &'a str,
    data: String,
    language: &'static str,
}

#[derive(Serialize)]
struct Failure {
    message: String,
    location: Location,
}

pub(super) fn answer(
    builder: &Builder,
    source: &Source,
    request: &BuildRequest,
) -> Result<Answer, BuildError> {
    let warnings = Mutex::new(Vec::new());
    let failure = check(builder, source, request, &warnings).err();
    if failure.as_ref().is_some_and(BuildError::is_cancellation) {
        return Err(BuildError::Cancelled);
    }
    let warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The text is by line, however they were found.
    let mut sorted = warnings.clone();
    sorted.sort_by_key(|warning| warning.lines.0);
    let failed = failure.is_some() || !warnings.is_empty();
    let mut answer = super::answer(&results(source, &warnings, failure.as_ref()), text(source, &sorted));
    answer.insert("result.statuscode".to_owned(), u8::from(failed).to_string().into_bytes());
    Ok(answer)
}

fn check(
    builder: &Builder,
    source: &Source,
    request: &BuildRequest,
    warnings: &Mutex<Vec<Warning>>,
) -> Result<(), BuildError> {
    let dockerfile: Dockerfile = parse(&source.text, &source.name)?;
    let tell = |warning| warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    let linter = Linter::new(check_options(&dockerfile, request)?, tell);
    linter.file(&dockerfile);
    let plan = planned(&dockerfile, request, &linter)?;
    let around = Surroundings { escape: plan.escape, args: &plan.args, ignore: source.ignore.as_ref() };
    // Without a target all stages are looked at.
    let wanted = |stage: &StagePlan| request.target.is_empty() || stage.needed;
    let config = |name: &str, platform: &_| Ok(builder.bases.config(name, platform, &request.cancel)?);
    walk(&linter, &plan, around, wanted, config)?;
    linter.verdict()
}

fn results<'a>(source: &'a Source, warnings: &'a [Warning], failure: Option<&BuildError>) -> Results<'a> {
    let found = |warning: &'a Warning| Found {
        rule_name: warning.rule.name,
        description: warning.rule.description,
        url: warning.rule.url(),
        detail: &warning.detail,
        location: warning.lines.into(),
    };
    let failed = |error: &BuildError| Failure {
        message: message(error),
        location: error.lines().unwrap_or_default().into(),
    };
    Results {
        warnings: Some(warnings.iter().map(found).collect()).filter(|all: &Vec<_>| !all.is_empty()),
        sources: [SourceInfo { filename: &source.name, data: encoded(source), language: "Dockerfile" }],
        error: failure.map(failed),
    }
}

fn message(error: &BuildError) -> String {
    match error.cause() {
        BuildError::Parse(error) => ParseError::reason(error),
        error => error.to_string(),
    }
}

fn text(source: &Source, warnings: &[Warning]) -> String {
    let mut out = String::new();
    for Warning { rule, detail, lines } in warnings {
        let url = rule.url();
        let page = if url.is_empty() { String::new() } else { format!(" - {url}") };
        out.push_str(&format!("\nWARNING: {}{page}\n{detail}\n", rule.name));
        out.push_str(&excerpt(&source.name, &source.text, *lines));
    }
    out
}
