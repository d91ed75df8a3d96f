//! `--list=targets`, `--list=variables`, `--list=type=…,format=json`

use std::collections::BTreeMap;

use dray_bake::{Config, csv};
use serde::Serialize;

use crate::app::App;
use crate::command_error::Error;
use crate::format::tabs::tabbed;
use crate::spec::Done;

/// What is listed, and how.
fn parse(text: &str) -> Result<(String, String), String> {
    let (mut kind, mut format) = (String::new(), String::new());
    let fields = csv::fields(text)?;
    if fields.len() == 1 && !text.starts_with("type=") {
        kind = text.to_owned();
    } else {
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.trim().to_lowercase().as_str() {
                "type" => kind = value.to_owned(),
                "format" => format = value.to_owned(),
                key => return Err(format!("unexpected key '{key}' in '{field}'")),
            }
        }
    }
    if !matches!(kind.as_str(), "targets" | "variables") {
        return Err(format!("invalid list type {kind:?}"));
    }
    match format.as_str() {
        "" => Ok((kind, "table".to_owned())),
        "table" | "json" => Ok((kind, format)),
        other => Err(format!("invalid list format {other:?}")),
    }
}

/// Shows a list.
///
/// # Errors
/// There is no such list.
pub(super) fn show(app: &App, wanted: &str, config: &Config) -> Done {
    let (kind, format) = parse(wanted).map_err(Error::Refused)?;
    let text = match (kind.as_str(), format.as_str()) {
        ("targets", "json") => json(&targets(config))?,
        ("targets", _) => {
            let all = targets(config);
            let rows = all.iter().map(|t| vec![t.name.as_str(), t.description.as_str()]);
            tabbed(&[vec!["TARGET", "DESCRIPTION"]].into_iter().chain(rows).collect::<Vec<_>>())
        }
        (_, "json") => json(&variables(config))?,
        _ => {
            let all = variables(config);
            let rows = all.iter().map(|v| {
                vec![
                    v.name.as_str(),
                    v.kind.as_str(),
                    v.value.as_deref().unwrap_or("<null>"),
                    v.description.as_str(),
                ]
            });
            let head = vec!["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"];
            tabbed(&[head].into_iter().chain(rows).collect::<Vec<_>>())
        }
    };
    app.print(text).map(|()| 0)
}

#[derive(Serialize)]
struct Listed {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    group: bool,
}

/// Groups and targets by name, without those whose names begin with `_`.
fn targets(config: &Config) -> Vec<Listed> {
    let of_group = |group: &dray_bake::target::Group| {
        let mut names = group.targets.clone();
        names.sort();
        let names = names.join(", ");
        let description = match (group.description.as_str(), names.as_str()) {
            (text, "") => text.to_owned(),
            ("", names) => names.to_owned(),
            (text, names) => format!("{text} ({names})"),
        };
        Listed { name: group.name.clone(), description, group: true }
    };
    let target = |target: &dray_bake::target::Target| Listed {
        name: target.name.clone(),
        description: target.description.clone(),
        group: false,
    };
    let mut all: Vec<Listed> = config.targets.iter().map(target).collect();
    all.extend(config.groups.iter().map(of_group));
    all.retain(|listed| !listed.name.starts_with('_'));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

#[derive(Serialize)]
struct Variable {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

fn variables(config: &Config) -> Vec<Variable> {
    let by_name: BTreeMap<&String, _> = config.variables.iter().map(|v| (&v.name, v)).collect();
    let one = |v: &&dray_bake::Variable| Variable {
        name: v.name.clone(),
        description: v.description.clone(),
        kind: v.kind.clone(),
        value: v.value.clone(),
    };
    by_name.values().map(one).collect()
}

fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|source| Error::Json { what: "a list".into(), source })?;
    // As Go writes JSON.
    Ok(text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_type_and_a_format() {
        let both = |kind: &str, format: &str| Ok((kind.to_owned(), format.to_owned()));
        assert_eq!(parse("targets"), both("targets", "table"));
        assert_eq!(parse("type=variables,format=json"), both("variables", "json"));
        assert_eq!(parse("what"), Err("invalid list type \"what\"".into()));
        assert_eq!(parse("type=targets,format=xml"), Err("invalid list format \"xml\"".into()));
        assert_eq!(parse("type=targets,a=b"), Err("unexpected key 'a' in 'a=b'".into()));
    }
}
