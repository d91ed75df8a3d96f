//! What of a project goes into an artifact: its files, with new names for the env files and the extended files that
//! they name, since all of them lie beside one another there.

use std::collections::BTreeMap;

use dray_spec::Digest;

use super::{Error, Kind, Part};
use crate::Project;
use crate::load::{Disk, Source};
use crate::parse::allowance::{Allowance, EXPANDED};
use crate::parse::node::{Node, Value};
use crate::parse::paths::{dir, expand_home, join};
use crate::parse::template::{self, Lookup};
use crate::parse::yaml;

/// The parts of a project: its files, those that they extend, and the env files where these are to be published.
///
/// # Errors
/// A file cannot be read, is no Compose file, or names another in a way that cannot be changed.
pub fn contents(project: &Project, disk: &dyn Disk, with_env: bool) -> Result<Vec<Part>, Error> {
    let mut names = Names { disk, project, env: BTreeMap::new(), extended: BTreeMap::new() };
    let mut parts = Vec::new();
    for file in &project.files {
        let content = names.renamed(file, &project.directory)?;
        let name = file.rsplit('/').next().unwrap_or(file).to_owned();
        parts.push(Part { name, kind: Kind::File, content });
    }
    let mut done = BTreeMap::new();
    while let Some((file, name)) = names.extended.pop_first() {
        if done.insert(file.clone(), ()).is_none() {
            let content = names.renamed(&file, &dir(&file))?;
            parts.push(Part { name, kind: Kind::Extended, content });
        }
    }
    for (file, name) in names.env.iter().filter(|_| with_env) {
        // One that does not have to be there may not be.
        if let Ok(content) = disk.read(file) {
            parts.push(Part { name: name.clone(), kind: Kind::Env, content: content.into_bytes() });
        }
    }
    Ok(parts)
}

/// What files are called in the artifact, by their paths.
struct Names<'a> {
    disk: &'a dyn Disk,
    project: &'a Project,
    env: BTreeMap<String, String>,
    extended: BTreeMap<String, String>,
}

/// A place of a text, and what comes there.
struct Change<'a> {
    at: &'a Node,
    name: String,
}

impl Names<'_> {
    /// A file with the names that others have in the artifact.
    fn renamed(&mut self, file: &str, folder: &str) -> Result<Vec<u8>, Error> {
        let text = self.disk.read(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
        let documents = yaml::parse(&text, 0)?;
        let services =
            documents.iter().filter_map(|d| d.root.get("services")?.map()).flat_map(|s| s.values());
        let mut changes: BTreeMap<(u32, u32), Change<'_>> = BTreeMap::new();
        for service in services {
            for node in service.get("env_file").into_iter().flat_map(entries) {
                let path = self.path(node, folder);
                let name = name_of(&path, "env");
                self.env.insert(path, name.clone());
                changes.insert((node.at.line, node.at.column), Change { at: node, name });
            }
            if let Some(node) =
                service.get("extends").and_then(|e| e.get("file")).filter(|n| n.str().is_some())
            {
                let path = self.path(node, folder);
                // What is not here is of a repository or a registry, and stays there.
                if self.disk.is_file(&path) {
                    let name = name_of(&path, "yaml");
                    self.extended.insert(path, name.clone());
                    changes.insert((node.at.line, node.at.column), Change { at: node, name });
                }
            }
        }
        replace(file, text.clone(), changes).map(String::into_bytes)
    }

    fn path(&self, node: &Node, folder: &str) -> String {
        let written = node.str().unwrap_or_default();
        let values = Values { environment: &self.project.environment, allowance: Allowance::new(EXPANDED) };
        // The project has been loaded: a variable that is missing has been told of.
        let text = template::substitute(written, &values).unwrap_or_else(|_| written.to_owned());
        if Source::parse(&text).is_some() || text.starts_with("oci://") {
            return text;
        }
        let home = self.project.environment.get("HOME").map_or("", String::as_str);
        let text = expand_home(&text, home);
        if text.starts_with('/') { text } else { join(folder, &text) }
    }
}

/// `env_file` in all its forms: the texts that name files.
fn entries(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::Str(_) => vec![node],
        Value::List(list) => list.iter().flat_map(entries).collect(),
        Value::Map(_) => node.get("path").into_iter().flat_map(entries).collect(),
        _ => Vec::new(),
    }
}

fn name_of(path: &str, ending: &str) -> String {
    format!("{}.{ending}", Digest::sha256_of(path.as_bytes()).hex())
}

/// Changes places of a text, the last one first, so that those before it stay where they are.
fn replace(file: &str, mut text: String, changes: BTreeMap<(u32, u32), Change<'_>>) -> Result<String, Error> {
    for ((line, column), change) in changes.into_iter().rev() {
        let written = change.at.str().unwrap_or_default();
        let range = offset(&text, line, column)
            .and_then(|start| Some(start..start + length(text.get(start..)?, written)?))
            .ok_or_else(|| Error::Spread { file: file.to_owned(), line, name: written.to_owned() })?;
        text.replace_range(range, &change.name);
    }
    Ok(text)
}

/// Where a line and a column are, both from 1.
fn offset(text: &str, line: u32, column: u32) -> Option<usize> {
    let skipped: usize = text.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(str::len).sum();
    let rest = text.get(skipped..)?;
    // A mark of the byte order is no column.
    let mark = if line == 1 && rest.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (found, _) = rest.get(mark..)?.char_indices().nth(column.checked_sub(1)? as usize)?;
    Some(skipped + mark + found)
}

/// How long a text is as it is written; none if it is not on one line.
fn length(rest: &str, value: &str) -> Option<usize> {
    let line = rest.lines().next()?;
    match line.chars().next()? {
        '"' => {
            let mut escaped = false;
            let end = line.char_indices().skip(1).find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            end.map(|(at, _)| at + 1)
        }
        '\'' => {
            let mut at = 1;
            loop {
                at += line.get(at..)?.find('\'')? + 1;
                if !line[at..].starts_with('\'') {
                    return Some(at);
                }
                at += 1;
            }
        }
        _ => line.starts_with(value).then_some(value.len()).filter(|n| *n > 0),
    }
}

/// The environment of a project, for names of files.
struct Values<'a> {
    environment: &'a BTreeMap<String, String>,
    allowance: Allowance,
}

impl Lookup for Values<'_> {
    fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    fn get(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn missing(&self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::MemoryDisk;

    fn published(files: &[(&str, &str)]) -> Result<Vec<Part>, Error> {
        let disk = MemoryDisk(files.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect());
        let project = Project {
            directory: "/p".into(),
            files: vec!["/p/compose.yaml".into()],
            environment: BTreeMap::from([("WHICH".to_owned(), "one".to_owned())]),
            ..Project::default()
        };
        contents(&project, &disk, true)
    }

    fn text(part: &Part) -> &str {
        std::str::from_utf8(&part.content).unwrap()
    }

    #[test]
    fn names_are_changed_however_they_are_written() {
        let env = name_of("/p/one.env", "env");
        for (written, wanted) in [
            ("env_file: one.env # said", format!("env_file: {env} # said")),
            ("env_file: '${WHICH}.env'", format!("env_file: {env}")),
            ("env_file: [./one.env, \"one.env\"]", format!("env_file: [{env}, {env}]")),
            (
                "env_file: [{path: one.env, required: false}]",
                format!("env_file: [{{path: {env}, required: false}}]"),
            ),
            ("env_file: >-\n      one.env", format!("env_file: >-\n      {env}")),
            ("env_file: &e\n     - one.env", format!("env_file: &e\n     - {env}")),
        ] {
            let file = format!("# é\nservices:\n  a:\n    {written}\n    image: x\n");
            let parts = published(&[("/p/compose.yaml", &file), ("/p/one.env", "A=1\n")]).unwrap();
            assert_eq!(text(&parts[0]), format!("# é\nservices:\n  a:\n    {wanted}\n    image: x\n"));
            assert_eq!((parts[1].kind, parts[1].name.as_str(), text(&parts[1])), (Kind::Env, &*env, "A=1\n"));
        }
    }

    #[test]
    fn files_that_are_extended_come_along_with_theirs() {
        let parts = published(&[
            ("/p/compose.yaml", "services: {a: {extends: {file: sub/b.yaml, service: b}}}\n"),
            ("/p/sub/b.yaml", "services: {b: {extends: {file: c.yaml, service: c}, env_file: b.env}}\n"),
            ("/p/sub/c.yaml", "services: {c: {image: c, extends: {file: b.yaml, service: z}}}\n"),
            ("/p/sub/b.env", "B=1\n"),
        ])
        .unwrap();
        let names: Vec<(&str, Kind)> = parts.iter().map(|p| (p.name.as_str(), p.kind)).collect();
        let (b, c) = (name_of("/p/sub/b.yaml", "yaml"), name_of("/p/sub/c.yaml", "yaml"));
        let env = name_of("/p/sub/b.env", "env");
        let wanted =
            [("compose.yaml", Kind::File), (&b, Kind::Extended), (&c, Kind::Extended), (&env, Kind::Env)];
        assert_eq!(names, wanted);
        assert!(
            text(&parts[0]).contains(&b) && text(&parts[1]).contains(&c) && text(&parts[1]).contains(&env)
        );
        assert!(text(&parts[2]).contains(&b), "a circle of files is no circle of services");
    }

    #[test]
    fn a_name_over_several_lines_is_refused() {
        let file = "services:\n  a:\n    env_file: >-\n      one\n      .env\n";
        let error = published(&[("/p/compose.yaml", file)]);
        assert!(matches!(&error, Err(Error::Spread { name, .. }) if name == "one .env"), "{error:?}");
    }
}
