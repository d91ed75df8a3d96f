//! `--call` and `--check`: what each target's Dockerfile answers.

use std::collections::BTreeMap;

use dray_bake::Plan;
use dray_bake::target::print::Json;

use crate::app::App;
use crate::command::image::build_call::Question;
use crate::command_error::Error;
use crate::spec::Done;

type Answers = BTreeMap<String, (Question, BTreeMap<String, String>)>;

/// Shows answers, target by target; the first status that is not 0 is the exit code.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn show(app: &App, plan: &Plan, asked: Option<&Question>, answers: &Answers) -> Done {
    let mut code = 0;
    let mut all = Vec::new();
    for (number, (name, (own, answer))) in answers.iter().enumerate() {
        let question = asked.unwrap_or(own);
        let target = &plan.targets[name];
        if question.is_json() {
            let key = if question.name == "lint" { "check" } else { &question.name };
            all.push((name, target.json(), key.to_owned(), answer));
            code = if code == 0 { question.status(answer) } else { code };
            continue;
        }
        let blank = if number > 0 { "\n" } else { "" };
        let description = Some(target.description.as_str()).filter(|text| !text.is_empty());
        let description = description.map(|text| format!("{text}\n")).unwrap_or_default();
        app.print(format!("{blank}{name}\n{description}\n"))?;
        let status = match question.show(app, answer) {
            Ok(status) => status,
            Err(error) => {
                app.print(format!("error: {error}\n"))?;
                1
            }
        };
        code = if code == 0 { status } else { code };
    }
    if !all.is_empty() {
        app.print(json(plan, &all)? + "\n")?;
    }
    Ok(code)
}

/// Groups, and each target with its definition and its answer.
fn json(plan: &Plan, all: &[(&String, Json, String, &BTreeMap<String, String>)]) -> Result<String, Error> {
    let wrong = |source| Error::Json { what: "the answer to a call".into(), source };
    let mut targets = Vec::new();
    for (name, definition, key, answer) in all {
        let result = answer.get("result.json").map(String::as_str).unwrap_or("null");
        let result: serde_json::Value = serde_json::from_str(result).map_err(wrong)?;
        let members = vec![("build".to_owned(), definition.clone()), (key.clone(), given(&result))];
        targets.push(((*name).clone(), Json::Object(members)));
    }
    let mut whole = Vec::new();
    if !plan.groups.is_empty() {
        let groups = plan.groups.iter().map(|(name, group)| (name.clone(), group.json()));
        whole.push(("group".to_owned(), Json::Object(groups.collect())));
    }
    whole.push(("target".to_owned(), Json::Object(targets)));
    Ok(Json::Object(whole).indented())
}

/// What the daemon gave.
fn given(value: &serde_json::Value) -> Json {
    match value {
        serde_json::Value::Null => Json::Null,
        serde_json::Value::Bool(value) => Json::Bool(*value),
        serde_json::Value::Number(number) => Json::Number(number.to_string()),
        serde_json::Value::String(text) => Json::Text(text.clone()),
        serde_json::Value::Array(items) => Json::List(items.iter().map(given).collect()),
        serde_json::Value::Object(members) => {
            Json::Object(members.iter().map(|(name, value)| (name.clone(), given(value))).collect())
        }
    }
}
