//! What is to become of a build's result: outputs as clients ask for them, with BuildKit's names of their attributes
//! (exporter/containerimage/exptypes).

use std::collections::{BTreeMap, HashMap};

use dray_image::export::{ImageFormat, Packing, platform_matches};
use dray_spec::{Platform, Reference};

use super::Error;

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where the result goes.
    pub kind: OutputKind,
    /// The names it gets there.
    pub names: Vec<Reference>,
    /// It is pushed under its names.
    pub push: bool,
    /// How the image is written out, annotations aside.
    pub format: ImageFormat,
    /// Folders by platform: without it, only several platforms have one each.
    pub platform_split: Option<bool>,
    /// It gets no name there: what it is known by is its digest.
    pub by_digest: bool,
    /// Statements are an artifact rather than something that looks like an image.
    pub artifact: bool,
    /// Docker's media types were asked for by name.
    pub(super) without_oci: bool,
    annotations: Vec<Annotation>,
}

/// Where a result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// The daemon's own store.
    Image,
    /// An OCI image layout.
    Oci,
    /// An archive for `docker load`.
    Docker,
    /// The files as a tar.
    Tar,
    /// The files in a folder of the client.
    Local,
}

/// A note, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Annotation {
    on: Annotated,
    /// On images of this platform only.
    platform: Option<String>,
    key: String,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Annotated {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

impl Output {
    /// The output that `docker build -t` without more means.
    #[must_use]
    pub fn image(names: Vec<Reference>) -> Self {
        Output {
            kind: OutputKind::Image,
            names,
            push: false,
            format: ImageFormat::default(),
            platform_split: None,
            by_digest: false,
            artifact: true,
            without_oci: false,
            annotations: Vec::new(),
        }
    }

    /// Reads an output: its kind and attributes. What nobody knows is passed over, as BuildKit does.
    ///
    /// # Errors
    /// [`Error::Output`] naming what is wrong, or what is not done here.
    pub fn read(kind: &str, attrs: &HashMap<String, String>) -> Result<Self, Error> {
        let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
        let wrong = |text: String| Error::Output(text);
        let flag = |name: &str| flag(name, get(name));
        let kind_of = match kind {
            // `registry` is an image that is pushed.
            "moby" | "image" | "registry" => OutputKind::Image,
            "oci" => OutputKind::Oci,
            "docker" => OutputKind::Docker,
            "tar" => OutputKind::Tar,
            "local" => OutputKind::Local,
            other => return Err(wrong(format!("exporter {other:?} could not be found"))),
        };
        if matches!(kind_of, OutputKind::Oci | OutputKind::Docker) && flag("tar")? == Some(false) {
            return Err(wrong("tar=false is not supported by this builder".to_owned()));
        }
        if get("mode") == "delete" {
            return Err(wrong("mode=delete is not supported by this builder".to_owned()));
        }
        let output = Output {
            kind: kind_of,
            names: names(get("name"))?,
            push: kind == "registry" || flag("push")? == Some(true),
            format: format(kind_of, attrs)?,
            platform_split: flag("platform-split")?,
            by_digest: flag("push-by-digest")? == Some(true),
            artifact: flag("oci-artifact")? != Some(false),
            without_oci: flag("oci-mediatypes")? == Some(false),
            annotations: annotations(attrs)?,
        };
        if output.push && output.names.is_empty() {
            return Err(wrong("tag is needed when pushing to registry".to_owned()));
        }
        Ok(output)
    }

    /// The format for an image of this platform.
    #[must_use]
    pub fn format_for(&self, platform: &Platform) -> ImageFormat {
        let of = |on: Annotated| {
            let fits = |a: &&Annotation| {
                a.on == on && a.platform.as_ref().is_none_or(|named| platform_matches(named, platform))
            };
            let pair = |a: &Annotation| (a.key.clone(), a.value.clone());
            self.annotations.iter().filter(fits).map(pair).collect::<BTreeMap<_, _>>()
        };
        ImageFormat {
            annotations: of(Annotated::Manifest),
            entry_annotations: of(Annotated::ManifestDescriptor),
            ..self.format.clone()
        }
    }

    /// The format for an image of this platform; within an index it has OCI's types, unless Docker's were asked for.
    pub(super) fn format_of(&self, platform: &Platform, in_index: bool) -> ImageFormat {
        let format = self.format_for(platform);
        ImageFormat { oci: format.oci || (in_index && !self.without_oci), ..format }
    }

    /// Annotations of the index, and of its entry in an archive.
    #[must_use]
    pub fn index_annotations(&self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let of = |on: Annotated| {
            let found = self.annotations.iter().filter(|a| a.on == on);
            found.map(|a| (a.key.clone(), a.value.clone())).collect()
        };
        (of(Annotated::Index), of(Annotated::IndexDescriptor))
    }

    /// Whether the image needs a manifest of its own before anything is pushed.
    #[must_use]
    pub fn needs_manifest(&self) -> bool {
        !self.format.is_usual() || !self.annotations.is_empty() || self.by_digest
    }
}

pub(super) fn flag(name: &str, text: &str) -> Result<Option<bool>, Error> {
    match text {
        "" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(Error::Output(format!("non-bool value specified for {name}: {other:?}"))),
    }
}

fn names(text: &str) -> Result<Vec<Reference>, Error> {
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let reference = Reference::parse(name)?;
        if reference.digest().is_some() {
            return Err(Error::TagWithDigest);
        }
        let reference = reference.tagged();
        if !names.contains(&reference) {
            names.push(reference);
        }
    }
    Ok(names)
}

pub(super) fn format(kind: OutputKind, attrs: &HashMap<String, String>) -> Result<ImageFormat, Error> {
    let get = |name: &str| attrs.get(name).map(String::as_str).unwrap_or_default();
    let packing = match get("compression") {
        "" => None,
        text => Some(text.parse::<Packing>().map_err(|error| Error::Output(error.to_string()))?),
    };
    let level = match get("compression-level") {
        "" => None,
        text => {
            let levels = packing.unwrap_or(Packing::Gzip).levels();
            let level = text.parse().ok().filter(|level| levels.contains(level));
            let (least, most) = (levels.start(), levels.end());
            let wrong = || format!("compression-level {text:?} is no number from {least} to {most}");
            Some(level.ok_or_else(|| Error::Output(wrong()))?)
        }
    };
    let oci = flag("oci-mediatypes", get("oci-mediatypes"))?;
    Ok(ImageFormat {
        packing,
        level,
        force: flag("force-compression", get("force-compression"))? == Some(true),
        oci: oci.unwrap_or(kind == OutputKind::Oci),
        ..ImageFormat::default()
    })
}

/// `annotation.<key>`, `annotation-<on what>.<key>`, `annotation[<platform>].<key>` and so on.
fn annotations(attrs: &HashMap<String, String>) -> Result<Vec<Annotation>, Error> {
    let mut found = Vec::new();
    for (name, value) in attrs {
        let Some(rest) = name.strip_prefix("annotation") else { continue };
        let Some((on, key)) = rest.split_once('.') else { continue };
        // The platform may have a dot in its brackets.
        let (on, key) = match (on.contains('['), rest.find("].")) {
            (true, Some(end)) => (&rest[..=end], &rest[end + 2..]),
            _ => (on, key),
        };
        let (on, platform) = match on.split_once('[') {
            Some((on, platform)) => (on, Some(platform.trim_end_matches(']').to_owned())),
            None => (on, None),
        };
        let on = match on {
            "" | "-manifest" => Annotated::Manifest,
            "-manifest-descriptor" => Annotated::ManifestDescriptor,
            "-index" => Annotated::Index,
            "-index-descriptor" => Annotated::IndexDescriptor,
            other => {
                let kind = other.trim_start_matches('-');
                return Err(Error::Output(format!("unknown annotation type {kind:?}")));
            }
        };
        found.push(Annotation { on, platform, key: key.to_owned(), value: value.clone() });
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, attrs: &[(&str, &str)]) -> Result<Output, String> {
        let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Output::read(kind, &attrs).map_err(|error| error.to_string())
    }

    #[test]
    fn attributes_are_buildkit_s() {
        let output = read(
            "image",
            &[
                ("name", "a,localhost:5000/b:v1"),
                ("push", "true"),
                ("compression", "zstd"),
                ("compression-level", "19"),
                ("force-compression", "1"),
                ("annotation.who", "me"),
                ("annotation-manifest[linux/arm64].only", "arm"),
                ("annotation-index.all", "index"),
            ],
        )
        .unwrap();
        let names: Vec<String> = output.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/library/a:latest", "localhost:5000/b:v1"]);
        assert!(output.push && output.needs_manifest());
        let format = output.format_for(&"linux/amd64".parse().unwrap());
        assert_eq!((format.packing, format.level, format.force), (Some(Packing::Zstd), Some(19), true));
        assert_eq!(format.annotations, [("who".to_owned(), "me".to_owned())].into());
        assert_eq!(output.format_for(&"linux/arm64".parse().unwrap()).annotations.len(), 2);
        assert_eq!(output.index_annotations().0["all"], "index");
        assert!(read("oci", &[]).unwrap().format.oci);
        assert!(!read("docker", &[]).unwrap().format.oci);
        assert!(read("registry", &[("name", "a")]).unwrap().push);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let message = |kind: &str, attrs: &[(&str, &str)]| read(kind, attrs).unwrap_err();
        assert_eq!(message("nosuch", &[]), "exporter \"nosuch\" could not be found");
        assert_eq!(message("image", &[("push", "true")]), "tag is needed when pushing to registry");
        assert_eq!(message("oci", &[("compression", "lz4")]), "unsupported layer compression type lz4");
        assert_eq!(
            message("oci", &[("compression-level", "10")]),
            "compression-level \"10\" is no number from 0 to 9"
        );
        assert_eq!(message("image", &[("push", "maybe")]), "non-bool value specified for push: \"maybe\"");
        assert_eq!(message("oci", &[("annotation-x.k", "v")]), "unknown annotation type \"x\"");
        assert!(message("image", &[("name", "UPPER")]).contains("invalid reference format"));
    }
}
