//! `--cache-from` and `--cache-to` of builds, as buildx reads them.

use std::collections::HashMap;

use serde::Serialize;

use super::csv;

/// A cache elsewhere, as the daemon is asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cache {
    /// `registry`, `local`, `inline`, `gha`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What belongs to it.
    pub attrs: HashMap<String, String>,
}

/// Reads caches: `type=…,…`, or the name of one in a registry.
///
/// # Errors
/// What buildx says.
pub fn caches(texts: &[String]) -> Result<Vec<Cache>, String> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| cache(text)).collect()
}

fn cache(text: &str) -> Result<Cache, String> {
    let fields = csv(text)?;
    if !fields.iter().any(|field| field.contains('=')) {
        let [name] = fields.as_slice() else { return Err(format!("invalid value {text}")) };
        let attrs = [("ref".to_owned(), name.clone())].into();
        return Ok(Cache { kind: "registry".to_owned(), attrs });
    }
    let (mut kind, mut attrs) = (String::new(), HashMap::new());
    for field in fields {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
        match key.trim().to_lowercase().as_str() {
            "type" => kind = value.to_owned(),
            key => drop(attrs.insert(key.to_owned(), value.to_owned())),
        }
    }
    if kind.is_empty() { Err(format!("type required form> {text:?}")) } else { Ok(Cache { kind, attrs }) }
}

impl Cache {
    /// Takes what a workflow of GitHub Actions has in its environment, as buildx does; false for a cache there that
    /// cannot be reached, which is none.
    pub fn complete(&mut self, environment: impl Fn(&str) -> Option<String>) -> bool {
        if self.kind != "gha" {
            return true;
        }
        let is_true = |text: String| matches!(text.as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE");
        let newer = match self.attrs.get("version") {
            Some(version) => version == "2",
            None => environment("ACTIONS_CACHE_SERVICE_V2").is_some_and(is_true),
        };
        let mut take = |name: &str, variables: &[&str]| {
            if !self.attrs.contains_key(name)
                && let Some(value) = variables.iter().find_map(|variable| environment(variable))
            {
                self.attrs.insert(name.to_owned(), value);
            }
        };
        take("token", &["ACTIONS_RUNTIME_TOKEN"]);
        if newer {
            take("url_v2", &["ACTIONS_RESULTS_URL"]);
        }
        take("url", &["ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"]);
        let has = |name: &str| self.attrs.get(name).is_some_and(|value| !value.is_empty());
        has("token") && (has("url") || has("url_v2"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_buildx_s() {
        let read = |text: &str| caches(&[text.to_owned()]).map(|mut caches| caches.remove(0));
        assert_eq!(read("r.example/app:cache").unwrap().attrs["ref"], "r.example/app:cache");
        let local = read("type=local,dest=/c,mode=max").unwrap();
        assert_eq!((local.kind.as_str(), local.attrs["mode"].as_str()), ("local", "max"));
        assert_eq!(read("ref=x").unwrap_err(), "type required form> \"ref=x\"");
        assert_eq!(read("type=local,x").unwrap_err(), "invalid value x");
    }

    #[test]
    fn a_workflow_says_where_its_cache_is() {
        let mut cache = caches(&["type=gha,scope=x".to_owned()]).unwrap().remove(0);
        assert!(!cache.clone().complete(|_| None));
        let environment = |name: &str| match name {
            "ACTIONS_CACHE_SERVICE_V2" => Some("True".to_owned()),
            "ACTIONS_RUNTIME_TOKEN" => Some("t".to_owned()),
            "ACTIONS_RESULTS_URL" => Some("https://results".to_owned()),
            _ => None,
        };
        assert!(cache.complete(environment));
        let has = |name: &str| cache.attrs.get(name).map(String::as_str);
        assert_eq!(
            (has("token"), has("url_v2"), has("url")),
            (Some("t"), Some("https://results"), Some("https://results"))
        );
        let mut older = caches(&["type=gha,version=1,token=own".to_owned()]).unwrap().remove(0);
        assert!(older.complete(environment));
        assert_eq!((older.attrs["token"].as_str(), older.attrs.get("url_v2")), ("own", None));
    }
}
