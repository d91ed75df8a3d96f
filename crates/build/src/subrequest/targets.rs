//! The stages of a Dockerfile.

use serde::Serialize;

use super::{Answer, Location, description, encoded, table};
use crate::definition::Source;
use crate::dockerfile::{Dockerfile, Stage};

#[derive(Serialize)]
struct List {
    targets: Vec<Target>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Target {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    base: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    platform: String,
    location: Location,
}

pub(super) fn answer(dockerfile: &Dockerfile) -> Answer {
    let last = dockerfile.stages.len() - 1;
    let target = |(index, stage): (usize, &Stage)| {
        let name = stage.name.clone().unwrap_or_default();
        Target {
            default: index == last,
            description: description(&stage.comments, &name),
            name,
            base: stage.base.clone(),
            platform: stage.platform.clone().unwrap_or_default(),
            location: (stage.line, stage.last_line).into(),
        }
    };
    let targets: Vec<Target> = dockerfile.stages.iter().enumerate().map(target).collect();
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for target in &targets {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![name, target.description.clone()]);
    }
    let source = Source { name: dockerfile.name.clone(), text: dockerfile.text.to_string(), ignore: None };
    super::answer(&List { targets, sources: [encoded(&source)] }, table::table(&rows, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_listed_with_what_is_said_of_them() {
        let text = "# base is the ground\nFROM scratch AS base\nFROM --platform=$BUILDPLATFORM base AS app\n";
        let answer = answer(&crate::dockerfile::parse(text, "Dockerfile").expect("parses"));
        let shown = String::from_utf8(answer["result.txt"].clone()).expect("text");
        assert_eq!(shown, "TARGET        DESCRIPTION\nbase          is the ground\napp (default) \n");
        let json: serde_json::Value = serde_json::from_slice(&answer["result.json"]).expect("JSON");
        assert_eq!(json["targets"][0]["description"], "is the ground");
        assert_eq!(json["targets"][1]["platform"], "$BUILDPLATFORM");
        assert_eq!(json["targets"][1]["location"]["ranges"][0]["start"]["line"], 3);
        assert!(json["targets"][0].get("default").is_none());
    }
}
