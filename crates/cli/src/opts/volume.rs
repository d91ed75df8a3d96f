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
        // What is wrong with a source, target or option is the daemon's to say.
        match value.split_once(':') {
            None => {
                volumes.anonymous.insert(value.clone(), Empty);
            }
            Some((source, rest)) => {
                let bind = format!("{}:{rest}", super::absolute_if_relative(source));
                if !volumes.binds.contains(&bind) {
                    volumes.binds.push(bind);
                }
            }
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
        assert_eq!(parse(&[String::new()]).unwrap_err(), "invalid empty volume spec");
    }
}
