//! `--output`, `--push`, `--load` and `--annotation` of builds, as buildx reads them.

use std::collections::{BTreeMap, HashMap};

use dray_client::api::build::BuildOutput;

use super::csv;

/// An output, and where on this machine it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// What the daemon is asked for.
    pub asked: BuildOutput,
    /// Where it is to be taken; none for what stays with the daemon.
    pub place: Option<Place>,
}

/// Where an output goes on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Standard output.
    Stdout,
    /// A file.
    File(String),
    /// A folder, into which files are unpacked.
    Folder(String),
}

/// Reads the outputs. With `push` the image is pushed, with `load` it is in the daemon's store, too.
///
/// # Errors
/// What buildx says.
pub fn outputs(
    texts: &[String],
    push: bool,
    load: bool,
    annotations: &[String],
) -> Result<Vec<Output>, String> {
    let mut outputs = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        outputs.push(output(text)?);
    }
    let is_image = |output: &Output| output.asked.kind == "image";
    if push && !outputs.iter().any(is_image) {
        outputs.push(image(HashMap::new()));
    }
    if push {
        for output in outputs.iter_mut().filter(|output| is_image(output)) {
            attrs(output).insert("push".to_owned(), "true".to_owned());
        }
    }
    if load && !outputs.iter().any(is_image) {
        outputs.push(image(HashMap::new()));
    }
    if outputs.is_empty() && !annotations.is_empty() {
        outputs.push(image(HashMap::new()));
    }
    for (key, value) in self::annotations(annotations)? {
        for output in
            outputs.iter_mut().filter(|output| !matches!(output.asked.kind.as_str(), "tar" | "local"))
        {
            attrs(output).insert(key.clone(), value.clone());
        }
    }
    Ok(outputs)
}

fn image(attrs: HashMap<String, String>) -> Output {
    Output { asked: BuildOutput { kind: "image".to_owned(), attrs: Some(attrs) }, place: None }
}

fn attrs(output: &mut Output) -> &mut HashMap<String, String> {
    output.asked.attrs.get_or_insert_default()
}

/// `type=…,dest=…,…`, a folder, or `-` for a tar on standard output.
fn output(text: &str) -> Result<Output, String> {
    let fields = csv(text)?;
    let (mut kind, mut dest, mut attrs) = (String::new(), String::new(), HashMap::new());
    if fields.len() == 1 && !text.starts_with("type=") {
        kind = if text == "-" { "tar" } else { "local" }.to_owned();
        dest = text.to_owned();
    } else {
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.trim().to_lowercase().as_str() {
                "type" => kind = value.to_owned(),
                "dest" => dest = value.to_owned(),
                key => drop(attrs.insert(key.to_owned(), value.to_owned())),
            }
        }
    }
    let place = place(&mut kind, dest, &mut attrs)?;
    Ok(Output { asked: BuildOutput { kind, attrs: Some(attrs) }, place })
}

/// Where a kind of output goes; the kind becomes what the daemon sends for it.
fn place(
    kind: &mut String,
    dest: String,
    attrs: &mut HashMap<String, String>,
) -> Result<Option<Place>, String> {
    match kind.as_str() {
        "" => Err("type is required for output".to_owned()),
        "local" if dest.is_empty() => Err("output directory is required for local exporter".to_owned()),
        "local" if dest == "-" => Err("output file not supported by local exporter".to_owned()),
        "local" => {
            // Files come as one tar and are unpacked here.
            *kind = "tar".to_owned();
            Ok(Some(Place::Folder(dest)))
        }
        "registry" => {
            *kind = "image".to_owned();
            attrs.insert("push".to_owned(), "true".to_owned());
            Ok(None)
        }
        "docker" if dest.is_empty() => {
            *kind = "image".to_owned();
            Ok(None)
        }
        "tar" | "oci" | "docker" if dest.is_empty() || dest == "-" => Ok(Some(Place::Stdout)),
        "tar" | "oci" | "docker" => Ok(Some(Place::File(dest))),
        other if dest.is_empty() => {
            let known = matches!(other, "image" | "cacheonly");
            if known { Ok(None) } else { Err(format!("exporter {other:?} could not be found")) }
        }
        other => Err(format!("invalid output: dest is not supported by {other} exporter")),
    }
}

/// `[TYPE[PLATFORM],…:]KEY=VALUE` as attributes of exporters.
fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut attrs = BTreeMap::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let wrong = || format!("invalid annotation {text:?}, expected key=value");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let Some((kinds, key)) = name.split_once(':') else {
            attrs.insert(format!("annotation.{name}"), value.to_owned());
            continue;
        };
        for kind in kinds.split(',') {
            let (kind, platform) = match kind.split_once('[') {
                Some((kind, rest)) => (kind, format!("[{rest}")),
                None => (kind, String::new()),
            };
            let known = ["manifest", "manifest-descriptor", "index", "index-descriptor"];
            if !known.contains(&kind) {
                return Err(format!("unknown annotation type {kind:?}"));
            }
            attrs.insert(format!("annotation-{kind}{platform}.{key}"), value.to_owned());
        }
    }
    Ok(attrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str], push: bool, load: bool) -> Vec<(String, Option<Place>, bool)> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let outputs = outputs(&texts, push, load, &[]).unwrap();
        let pushed = |o: &Output| o.asked.attrs.as_ref().is_some_and(|attrs| attrs.contains_key("push"));
        outputs.into_iter().map(|o| (o.asked.kind.clone(), o.place.clone(), pushed(&o))).collect()
    }

    #[test]
    fn outputs_are_buildx_s() {
        let folder = |path: &str| Some(Place::Folder(path.to_owned()));
        let file = |path: &str| Some(Place::File(path.to_owned()));
        assert_eq!(read(&["out"], false, false), [("tar".to_owned(), folder("out"), false)]);
        assert_eq!(read(&["-"], false, false), [("tar".to_owned(), Some(Place::Stdout), false)]);
        let several = ["type=oci,dest=a.tar,compression=zstd", "type=local,dest=b", "type=registry"];
        assert_eq!(
            read(&several, false, false),
            [
                ("oci".to_owned(), file("a.tar"), false),
                ("tar".to_owned(), folder("b"), false),
                ("image".to_owned(), None, true),
            ]
        );
        assert_eq!(read(&["type=docker"], true, false), [("image".to_owned(), None, true)]);
        assert_eq!(
            read(&["type=docker,dest=-"], false, true),
            [("docker".to_owned(), Some(Place::Stdout), false), ("image".to_owned(), None, false)]
        );
        assert!(read(&[], false, false).is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |text: &str| outputs(&[text.to_owned()], false, false, &[]).unwrap_err();
        assert_eq!(message("dest=x,a=b"), "type is required for output");
        assert_eq!(message("type=local"), "output directory is required for local exporter");
        assert_eq!(message("type=oci,x"), "invalid value x");
        assert_eq!(message("type=nosuch"), "exporter \"nosuch\" could not be found");
        let annotation = |text: &str| annotations(&[text.to_owned()]);
        assert_eq!(annotation("x").unwrap_err(), "invalid annotation \"x\", expected key=value");
        assert_eq!(annotation("x:k=v").unwrap_err(), "unknown annotation type \"x\"");
        let both = annotation("index,manifest[linux/arm64]:k=v=w").unwrap();
        let keys: Vec<&str> = both.keys().map(String::as_str).collect();
        assert_eq!(keys, ["annotation-index.k", "annotation-manifest[linux/arm64].k"]);
        assert_eq!(both["annotation-index.k"], "v=w");
    }
}
