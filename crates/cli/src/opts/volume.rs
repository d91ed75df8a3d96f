//! `-v`: `[source:]target[:options]`.

use dray_client::api::{Empty, StringSet};

/// Values of `-v`, sorted into binds and anonymous volumes.
#[derive(Debug, Default, PartialEq)]
pub struct Volumes {
    /// Those with a source, as the API takes them.
    pub binds: Vec<String>,
    /// Targets without a source.
    pub anonymous: StringSet,
}

/// Reads the values of `-v`.
///
/// # Errors
/// A value that is no volume; the text is Docker's.
pub fn parse(values: &[String]) -> Result<Volumes, String> {
    let mut volumes = Volumes::default();
    for value in values {
        if value.is_empty() {
            return Err("invalid empty volume spec".into());
        }
        let parts: Vec<&str> = value.split(':').collect();
        let wrong = |what| format!("invalid spec: {value}: {what}");
        if parts.iter().any(|p| p.is_empty()) {
            return Err(wrong("empty section between colons"));
        }
        match parts.as_slice() {
            [target] => {
                volumes.anonymous.insert((*target).to_owned(), Empty);
            }
            [source, rest @ ..] if rest.len() <= 2 => {
                let bind = format!("{}:{}", super::absolute_if_relative(source), rest.join(":"));
                if !volumes.binds.contains(&bind) {
                    volumes.binds.push(bind);
                }
            }
            _ => return Err(wrong("too many colons")),
        }
    }
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_targets() {
        let here = std::env::current_dir().unwrap();
        let v = parse(&["/a:/b:ro".into(), "data:/d".into(), "/anon".into(), "./x:/x".into()]).unwrap();
        assert_eq!(v.binds, ["/a:/b:ro".to_owned(), "data:/d".into(), format!("{}/x:/x", here.display())]);
        assert!(v.anonymous.contains_key("/anon"));
        assert_eq!(parse(&["a:b:c:d".into()]).unwrap_err(), "invalid spec: a:b:c:d: too many colons");
        assert_eq!(parse(&["a::b".into()]).unwrap_err(), "invalid spec: a::b: empty section between colons");
    }
}
