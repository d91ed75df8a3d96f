//! `build --call` and `--check`: questions about a Dockerfile, their answers and exit codes.

use std::collections::BTreeMap;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::opts::csv;
use crate::spec::Done;

/// What is asked instead of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its name, as the daemon knows it.
    pub name: String,
    json: bool,
    ignore_status: bool,
}

impl Question {
    /// The question of the flags; none for a build.
    pub fn read(p: &Parsed) -> Option<Question> {
        let question = Question::parse(p.get("call")).ok().flatten();
        match p.is("check") {
            true => Question::parse("lint").ok().flatten(),
            false => question,
        }
    }

    /// Reads `name[,format=text|json][,ignorestatus=true]`; nothing for a build.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Option<Question>, String> {
        let mut question = Question { name: String::new(), json: false, ignore_status: false };
        for field in csv(text)? {
            match field.split_once('=') {
                None if field == "ignorestatus" => question.ignore_status = true,
                None if question.name.is_empty() => question.name = field,
                Some(("format", "json")) => question.json = true,
                Some(("format", "text")) => question.json = false,
                Some(("format", other)) => return Err(format!("invalid format: {other}")),
                Some(("ignorestatus", value)) => {
                    let wrong = |_| format!("invalid ignorestatus: {value}");
                    question.ignore_status = value.parse().map_err(wrong)?;
                }
                _ => return Err(format!("invalid call option: {field}")),
            }
        }
        match question.name.as_str() {
            "" | "build" => Ok(None),
            "check" | "lint" => Ok(Some(Question { name: "lint".into(), ..question })),
            "outline" | "targets" | "subrequests.describe" => Ok(Some(question)),
            other => Err(format!("must be build, check, outline, targets or subrequests.describe: {other}")),
        }
    }

    /// Whether the answer is for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The exit code of an answer.
    pub fn status(&self, answer: &BTreeMap<String, String>) -> u8 {
        let status = answer.get("result.statuscode").and_then(|status| status.parse().ok()).unwrap_or(0);
        if self.ignore_status { 0 } else { status }
    }

    /// Shows an answer; its status is the exit code.
    pub fn show(&self, app: &App, answer: &BTreeMap<String, String>) -> Done {
        let get = |key: &str| answer.get(key).map(String::as_str).unwrap_or_default();
        match (self.json, self.name.as_str()) {
            (true, _) => app.print(format!("{}\n", get("result.json")))?,
            (false, "lint") => self.show_lint(app, get("result.json"), get("result.txt"))?,
            _ => app.print(get("result.txt"))?,
        }
        Ok(self.status(answer))
    }

    fn show_lint(&self, app: &App, json: &str, text: &str) -> Result<(), Error> {
        let results: serde_json::Value = serde_json::from_str(json)
            .map_err(|source| Error::Json { what: "the answer to a check".into(), source })?;
        let count = results["warnings"].as_array().map_or(0, Vec::len);
        let error = results["buildError"]["message"].as_str();
        let found = match count {
            0 => String::new(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            n => format!("Check complete, {n} warnings have been found!\n"),
        };
        app.print(format!("{found}{text}"))?;
        match error {
            Some(error) => Err(Error::Refused(with_lines(error, &results))),
            None if count == 0 => app.print("Check complete, no warnings found.\n"),
            None => Ok(()),
        }
    }
}

/// What ended the check, with the first line of the Dockerfile that it is about.
fn with_lines(error: &str, results: &serde_json::Value) -> String {
    let place = &results["buildError"]["location"]["ranges"][0]["start"]["line"];
    let name = results["sources"][0]["filename"].as_str().unwrap_or_default();
    match place.as_u64() {
        Some(line) => format!("{error}\n{name}:{line}"),
        None => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_names_and_options() {
        let parse = |text: &str| Question::parse(text).expect(text);
        assert_eq!(parse("build"), None);
        let lint = |json, ignore_status| Some(Question { name: "lint".into(), json, ignore_status });
        assert_eq!(parse("check"), lint(false, false));
        assert_eq!(parse("lint,format=json,ignorestatus=true"), lint(true, true));
        assert_eq!(parse("check,ignorestatus"), lint(false, true));
        assert_eq!(parse("outline").map(|q| q.name).as_deref(), Some("outline"));
        assert_eq!(Question::parse("check,format=xml"), Err("invalid format: xml".into()));
        assert!(Question::parse("what").is_err());
    }
}
