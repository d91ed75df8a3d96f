//! `--cache-from` and `--cache-to` of builds, as buildx reads them.

use std::collections::HashMap;

use serde::Serialize;

use super::csv;

/// A cache elsewhere, as the daemon is asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Cache {
    /// `registry`, `local`, `inline`.
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
}
