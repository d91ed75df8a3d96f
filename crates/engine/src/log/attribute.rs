//! What a log says of its container beside each line: labels and variables that the options name, and a tag.

use std::collections::BTreeMap;

use dray_spec::golang::query_escaped;

use super::OptionError;

type Attributes = BTreeMap<String, String>;

/// What a tag's template may tell of a container.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Program and arguments.
    pub command: &'a str,
    /// Its image's id, `sha256:…`.
    pub image_id: &'a str,
    /// What its image was called at creation.
    pub image: &'a str,
    /// Its labels.
    pub labels: &'a Attributes,
    /// Its variables.
    pub env: &'a [String],
}

/// The attributes of a container's log lines.
///
/// # Errors
/// For a pattern or a template that cannot be read.
pub fn attributes(
    options: &BTreeMap<String, String>,
    subject: Subject<'_>,
) -> Result<Attributes, OptionError> {
    let env: Attributes = subject
        .env
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mut chosen = Attributes::new();
    for (names, pattern, from) in [("labels", "labels-regex", subject.labels), ("env", "env-regex", &env)] {
        let names: Vec<&str> = options.get(names).map(|list| list.split(',').collect()).unwrap_or_default();
        let pattern = options.get(pattern).filter(|raw| !raw.is_empty());
        let pattern = pattern
            .map(|raw| {
                regex_lite::Regex::new(raw)
                    .map_err(|error| OptionError::Pattern { pattern: raw.clone(), reason: error.to_string() })
            })
            .transpose()?;
        let wanted =
            |key: &str| names.contains(&key) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(key));
        let found = from.iter().filter(|(key, _)| wanted(key));
        chosen.extend(found.map(|(key, value)| (key.clone(), value.clone())));
    }
    if let Some(template) = options.get("tag").filter(|template| !template.is_empty()) {
        chosen.insert("tag".to_owned(), tag(template, subject)?);
    }
    Ok(chosen)
}

/// Fills in a tag's template. Its fields are those that Docker documents; the rest of Go's template language is not
/// here, and says so.
fn tag(template: &str, subject: Subject<'_>) -> Result<String, OptionError> {
    let short = |id: &str| {
        let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
        hex.get(..12).unwrap_or(hex).to_owned()
    };
    let wrong = |reason: String| OptionError::Tag { template: template.to_owned(), reason };
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (field, after) = after.split_once("}}").ok_or_else(|| wrong("unclosed action".into()))?;
        match field.trim() {
            ".ID" => text.push_str(&short(subject.id)),
            ".FullID" => text.push_str(subject.id),
            ".Name" => text.push_str(subject.name),
            ".Command" => text.push_str(subject.command),
            ".ImageID" => text.push_str(&short(subject.image_id)),
            ".ImageFullID" => text.push_str(subject.image_id),
            ".ImageName" => text.push_str(subject.image),
            ".DaemonName" => text.push_str("docker"),
            ".Hostname" => text.push_str(&rustix::system::uname().nodename().to_string_lossy()),
            other => return Err(wrong(format!("{{{{{other}}}}} is not a field of a tag"))),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// Attributes as `--details` shows them: sorted, and encoded so that no value can be taken for another pair.
pub fn details(attributes: &Attributes) -> String {
    let mut pairs: Vec<String> = attributes
        .iter()
        .map(|(key, value)| format!("{}={}", query_escaped(key), query_escaped(value)))
        .collect();
    pairs.sort();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn of(options: &[(&str, &str)]) -> Result<Attributes, String> {
        let labels = map(&[("app", "web"), ("secret", "x")]);
        let env = ["MODE=fast".to_owned(), "OTHER=1".to_owned()];
        let subject = Subject {
            id: "0123456789abcdef",
            name: "web",
            command: "nginx -g x",
            image_id: "sha256:fedcba9876543210",
            image: "nginx:1",
            labels: &labels,
            env: &env,
        };
        attributes(&map(options), subject).map_err(|error| error.to_string())
    }

    #[test]
    fn options_choose() {
        assert_eq!(of(&[]).unwrap(), map(&[]));
        assert_eq!(
            of(&[("labels", "app,nosuch"), ("env-regex", "^MO")]).unwrap(),
            map(&[("app", "web"), ("MODE", "fast")])
        );
        assert!(of(&[("env-regex", "(")]).unwrap_err().contains('('));
    }

    #[test]
    fn tags() {
        assert_eq!(of(&[("tag", "{{.Name}}/{{ .ID }}")]).unwrap(), map(&[("tag", "web/0123456789ab")]));
        assert_eq!(of(&[("tag", "{{.ImageName}}-{{.ImageID}}")]).unwrap()["tag"], "nginx:1-fedcba987654");
        assert!(of(&[("tag", "{{.Nope}}")]).unwrap_err().contains("{{.Nope}} is not a field"));
        assert!(of(&[("tag", "{{.Name")]).unwrap_err().contains("unclosed action"));
    }

    #[test]
    fn details_are_encoded_and_sorted() {
        assert_eq!(details(&map(&[("b", "x y"), ("a", "1,2=3")])), "a=1%2C2%3D3,b=x+y");
    }
}
