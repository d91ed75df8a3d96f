//! What looks like a secret in the files of a project: values of telling names, keys of known services, private keys,
//! addresses with passwords, text without a pattern. A guess, so that somebody thinks before others read it.

use dray_compose::Project;
use dray_compose::load::Disk;
use dray_compose::parse::node::{Node, Path, Value};
use dray_compose::parse::yaml;

use crate::command_error::Error;

/// No file is looked at beyond this.
const MAX_FILE: usize = 10_000_000;
/// So many bits a character of a value has that a telling name leads to.
const OF_A_PASSWORD: f64 = 3.0;
/// The same of a word that only looks like one.
const OF_NOISE: f64 = 4.5;

/// Something that looks like a secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it looks like.
    pub(super) kind: &'static str,
    /// What it is called.
    pub(super) key: String,
    /// It.
    pub(super) value: String,
}

/// Looks through the files of a project: its own, env files, configs and secrets.
///
/// # Errors
/// One cannot be read.
pub(super) fn find(project: &Project, disk: &dyn Disk) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for file in &project.files {
        let text = disk.read(file).map_err(Error::file("open", file))?;
        for document in yaml::parse(&text, 0)? {
            in_tree(&document.root, &Path::default(), &mut found);
        }
    }
    let env = project.services.values().flat_map(|s| &s.env_file).map(|f| &f.path);
    let resources = project.configs.values().map(|c| &c.0).chain(project.secrets.values().map(|s| &s.0));
    for file in env.chain(resources.map(|r| &r.file).filter(|f| !f.is_empty())) {
        // What does not have to be there says nothing.
        let Ok(text) = disk.read(file) else { continue };
        if text.len() <= MAX_FILE {
            in_text(file, &text, &mut found);
        }
    }
    Ok(found)
}

fn in_tree(node: &Node, path: &Path, found: &mut Vec<Found>) {
    match &node.value {
        Value::Map(map) => map.iter().for_each(|(name, value)| in_tree(value, &path.next(name), found)),
        Value::List(list) => list.iter().for_each(|value| in_tree(value, &path.entry(), found)),
        Value::Str(text) => {
            let named = text.split_once('=').filter(|(name, _)| is_name(name));
            let (key, value) = named.unwrap_or((path.parts().last().map_or("", String::as_str), text));
            consider(key, value, found);
        }
        _ => {}
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn in_text(file: &str, text: &str, found: &mut Vec<Found>) {
    if is_private_key(text) {
        found.push(Found { kind: "Private Key", key: file.to_owned(), value: "-----BEGIN …".into() });
        return;
    }
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) =
            line.split_once(['=', ':']).filter(|(k, _)| is_name(k.trim())).unwrap_or(("", line));
        consider(key.trim(), value.trim().trim_matches(['"', '\'']), found);
    }
}

fn consider(key: &str, value: &str, found: &mut Vec<Found>) {
    // A variable is a secret of somebody else's.
    if value.is_empty() || value.starts_with('$') || value.starts_with('{') {
        return;
    }
    let kind = if is_private_key(value) {
        "Private Key"
    } else if let Some(kind) = of_a_service(value) {
        kind
    } else if has_password(value) {
        "URL with password"
    } else if is_telling(key) && entropy(value) >= OF_A_PASSWORD {
        "Keyword Detector"
    } else if is_noise(value) {
        "High entropy string"
    } else {
        return;
    };
    if !found.iter().any(|f| f.key == key && f.value == value) {
        found.push(Found { kind, key: key.to_owned(), value: value.to_owned() });
    }
}

fn is_private_key(text: &str) -> bool {
    text.contains("-----BEGIN ") && text.contains("PRIVATE KEY")
}

/// Keys that say by their beginning whose they are.
fn of_a_service(value: &str) -> Option<&'static str> {
    const KNOWN: &[(&str, usize, &str)] = &[
        ("AKIA", 20, "AWS Client ID"),
        ("ASIA", 20, "AWS Client ID"),
        ("ghp_", 36, "Github authentication"),
        ("gho_", 36, "Github authentication"),
        ("ghs_", 36, "Github authentication"),
        ("github_pat_", 40, "Github authentication"),
        ("npm_", 36, "NPM Token"),
        ("xoxb-", 20, "Slack Token"),
        ("xoxp-", 20, "Slack Token"),
        ("sk_live_", 24, "Stripe Access Key"),
        ("rk_live_", 24, "Stripe Access Key"),
        ("SG.", 60, "SendGrid API Key"),
        ("eyJ", 40, "JSON Web Token"),
    ];
    let fits = |(start, least, _): &&(&str, usize, &str)| value.starts_with(start) && value.len() >= *least;
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "._-=".contains(c));
    KNOWN.iter().find(fits).filter(|_| plain).map(|(_, _, kind)| *kind)
}

/// `scheme://user:password@host`
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    user.is_some_and(|(name, password)| {
        !name.is_empty() && !password.is_empty() && !password.starts_with('$')
    })
}

fn is_telling(key: &str) -> bool {
    const WORDS: &[&str] = &[
        "apikey",
        "accesskey",
        "authkey",
        "servicekey",
        "accountkey",
        "dbkey",
        "databasekey",
        "privkey",
        "privatekey",
        "clientkey",
        "dbpass",
        "databasepass",
        "keypass",
        "password",
        "passwd",
        "pwd",
        "secret",
        "token",
    ];
    let key: String = key.chars().filter(|c| !"_-".contains(*c)).collect::<String>().to_lowercase();
    // A path to a secret, as images take it, is none.
    !key.ends_with("file") && WORDS.iter().any(|word| key.contains(word))
}

fn is_noise(value: &str) -> bool {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "+/_-=".contains(c));
    let mixed = value.chars().any(|c| c.is_ascii_digit()) && value.chars().any(|c| c.is_ascii_alphabetic());
    value.len() >= 24 && plain && mixed && !value.contains('/') && entropy(value) > OF_NOISE
}

/// Bits a character, by how often each stands in a text.
#[allow(clippy::cast_precision_loss, reason = "lengths of values")]
fn entropy(text: &str) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    text.chars().for_each(|c| *counts.entry(c).or_insert(0_usize) += 1);
    let length = text.chars().count() as f64;
    counts.values().map(|n| *n as f64 / length).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(key: &str, value: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        consider(key, value, &mut found);
        found.into_iter().map(|f| f.kind).collect()
    }

    #[test]
    fn what_looks_like_a_secret_is_found() {
        for (key, value, kind) in [
            ("DB_PASSWORD", "hunter2-and-more", "Keyword Detector"),
            ("api-key", "q8w7e6r5t4", "Keyword Detector"),
            ("URL", "postgres://me:hidden@db/x", "URL with password"),
            ("X", "AKIAIOSFODNN7EXAMPLE", "AWS Client ID"),
            ("X", "-----BEGIN RSA PRIVATE KEY-----\nMII", "Private Key"),
            ("X", "Zk3v9QpL0sXtB7yRm2NwCjH5uGfDa1Ee", "High entropy string"),
        ] {
            assert_eq!(kinds(key, value), [kind], "{key}={value}");
        }
    }

    #[test]
    fn what_is_said_elsewhere_or_says_nothing_is_not() {
        for (key, value) in [
            ("DB_PASSWORD", "${DB_PASSWORD}"),
            ("DB_PASSWORD", "aaaa"),
            ("POSTGRES_PASSWORD_FILE", "/run/secrets/password-of-db"),
            ("URL", "http://db:5432/x"),
            ("image", "registry.example.com/team/application:2024.11"),
            ("command", "sleep 1000"),
        ] {
            assert!(kinds(key, value).is_empty(), "{key}={value}");
        }
    }

    #[test]
    fn env_files_and_lists_name_their_values() {
        let mut found = Vec::new();
        in_text("/e", "# PASSWORD=not-this-one-1\nexport TOKEN='q8w7e6r5t4y3'\n", &mut found);
        let tree = yaml::parse("services: {a: {environment: ['SECRET=q1w2e3r4t5y6']}}\n", 0).unwrap();
        in_tree(&tree[0].root, &Path::default(), &mut found);
        let keys: Vec<(&str, &str)> = found.iter().map(|f| (f.key.as_str(), f.value.as_str())).collect();
        assert_eq!(keys, [("TOKEN", "q8w7e6r5t4y3"), ("SECRET", "q1w2e3r4t5y6")]);
    }
}
