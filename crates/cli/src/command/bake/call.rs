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
            all.push((name, target.json().indented(), key.to_owned(), answer));
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

fn json(plan: &Plan, all: &[(&String, String, String, &BTreeMap<String, String>)]) -> Result<String, Error> {
    let wrong = |source| Error::Json { what: "the answer to a call".into(), source };
    let mut targets = serde_json::Map::new();
    for (name, definition, key, answer) in all {
        let result = answer.get("result.json").map(String::as_str).unwrap_or("null");
        let mut one = serde_json::Map::new();
        one.insert("build".to_owned(), serde_json::from_str(definition).map_err(wrong)?);
        one.insert(key.clone(), serde_json::from_str(result).map_err(wrong)?);
        targets.insert((*name).clone(), one.into());
    }
    let groups = Json::Object(plan.groups.iter().map(|(name, group)| (name.clone(), group.json())).collect());
    let mut whole = serde_json::Map::new();
    if !plan.groups.is_empty() {
        whole.insert("group".to_owned(), serde_json::from_str(&groups.indented()).map_err(wrong)?);
    }
    whole.insert("target".to_owned(), targets.into());
    serde_json::to_string_pretty(&whole).map_err(wrong)
}
