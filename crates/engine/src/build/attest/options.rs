//! What is wanted of attestations, in BuildKit's terms (frontend/attestations).

use std::collections::{BTreeMap, HashMap};

use super::super::Error;
use super::super::output::flag;

/// The attestations of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attests {
    /// How it was made.
    pub provenance: Option<ProvenanceOptions>,
    /// What it is made of.
    pub sbom: Option<SbomOptions>,
}

/// How much of a build is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProvenanceMode {
    /// Nothing that might be private: no arguments, no names of secrets, no steps.
    Min,
    /// All of it.
    #[default]
    Max,
}

/// Provenance as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProvenanceOptions {
    /// How much.
    pub mode: ProvenanceMode,
    /// SLSA's version 0.2 rather than 1.
    pub old: bool,
    /// Who built it, an address.
    pub builder_id: String,
    /// It is said to be reproducible.
    pub reproducible: bool,
    /// Only for images.
    pub inline_only: bool,
    /// The file that it is among files.
    pub filename: String,
}

impl ProvenanceOptions {
    /// Whether it is what clients ask for by themselves.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.mode == ProvenanceMode::Min
            && self.inline_only
            && !self.reproducible
            && self.builder_id.is_empty()
    }
}

/// Lists of parts as they are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SbomOptions {
    /// In SPDX.
    pub spdx: bool,
    /// In CycloneDX.
    pub cyclonedx: bool,
}

/// The scanner that is built in goes by the name of BuildKit's.
const SCANNER: &str = "docker/buildkit-syft-scanner";

impl Attests {
    /// Reads attributes `attest:<kind>`, or arguments `BUILDKIT_ATTEST_<KIND>`, whose values are lists of
    /// `key=value`.
    ///
    /// # Errors
    /// [`Error::Output`] naming what is wrong, or what is not done here.
    pub fn read(attrs: &HashMap<String, String>) -> Result<Self, Error> {
        let mut found: BTreeMap<String, &str> = BTreeMap::new();
        for (name, value) in attrs {
            let kind =
                name.strip_prefix("attest:").or_else(|| name.strip_prefix("build-arg:BUILDKIT_ATTEST_"));
            if let Some(kind) = kind {
                found.insert(kind.to_lowercase(), value);
            }
        }
        let mut attests = Attests::default();
        for (kind, value) in found {
            let fields = fields(value);
            let get = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
            if flag("disabled", get("disabled"))? == Some(true) {
                continue;
            }
            match kind.as_str() {
                "provenance" => attests.provenance = Some(provenance(&fields)?),
                "sbom" => attests.sbom = Some(sbom(&fields)?),
                other => return Err(Error::Output(format!("unknown attestation type {other:?}"))),
            }
        }
        Ok(attests)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Attests::default()
    }
}

fn fields(text: &str) -> BTreeMap<String, String> {
    let field = |field: &str| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        (key.trim().to_owned(), value.trim_matches('"').to_owned())
    };
    text.split(',').map(|text| text.trim_matches('"')).filter(|text| !text.is_empty()).map(field).collect()
}

fn provenance(fields: &BTreeMap<String, String>) -> Result<ProvenanceOptions, Error> {
    let get = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let mode = match fields.get("mode").map(String::as_str) {
        None | Some("max" | "full") => ProvenanceMode::Max,
        Some("min") => ProvenanceMode::Min,
        Some(other) => return Err(Error::Output(format!("invalid mode {other:?}"))),
    };
    let old = match get("version") {
        "" | "v1" => false,
        "v0.2" => true,
        other => return Err(Error::Output(format!("invalid provenance SLSA version: {other}"))),
    };
    let is = |name: &str| flag(name, get(name)).map(|flag| flag == Some(true));
    Ok(ProvenanceOptions {
        mode,
        old,
        builder_id: get("builder-id").to_owned(),
        reproducible: is("reproducible")?,
        inline_only: is("inline-only")?,
        filename: Some(get("filename"))
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .unwrap_or("provenance.json")
            .to_owned(),
    })
}

fn sbom(fields: &BTreeMap<String, String>) -> Result<SbomOptions, Error> {
    let get = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let generator = get("generator");
    let name = generator.split_once(':').map_or(generator, |(name, _)| name);
    let own = name.is_empty() || name.trim_start_matches("docker.io/") == SCANNER;
    if !own {
        let text = format!("SBOM generator {generator:?} is not supported by this builder: it has its own");
        return Err(Error::Output(text));
    }
    match get("format") {
        "" | "spdx" => Ok(SbomOptions { spdx: true, cyclonedx: false }),
        "cyclonedx" => Ok(SbomOptions { spdx: false, cyclonedx: true }),
        "both" => Ok(SbomOptions { spdx: true, cyclonedx: true }),
        other => Err(Error::Output(format!("unknown SBOM format {other:?}: spdx, cyclonedx or both"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Attests, String> {
        let attrs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Attests::read(&attrs).map_err(|error| error.to_string())
    }

    #[test]
    fn attributes_are_buildkit_s() {
        assert!(read(&[("platform", "x"), ("attest:sbom", "disabled=true")]).unwrap().is_empty());
        let min = read(&[("attest:provenance", "mode=min,inline-only=true")]).unwrap().provenance.unwrap();
        assert_eq!((min.mode, min.inline_only, min.old), (ProvenanceMode::Min, true, false));
        assert_eq!(min.filename, "provenance.json");
        let max = read(&[("build-arg:BUILDKIT_ATTEST_PROVENANCE", "builder-id=https://b,version=v0.2")]);
        let max = max.unwrap().provenance.unwrap();
        assert_eq!((max.mode, max.builder_id.as_str(), max.old), (ProvenanceMode::Max, "https://b", true));
        let sbom = read(&[("attest:sbom", "generator=docker/buildkit-syft-scanner:stable-1")]).unwrap().sbom;
        assert_eq!(sbom, Some(SbomOptions { spdx: true, cyclonedx: false }));
        let both = read(&[("attest:sbom", "format=both")]).unwrap().sbom.unwrap();
        assert!(both.spdx && both.cyclonedx);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let message = |name: &str, value: &str| read(&[(name, value)]).unwrap_err();
        assert_eq!(message("attest:other", ""), "unknown attestation type \"other\"");
        assert_eq!(message("attest:provenance", "mode=all"), "invalid mode \"all\"");
        assert_eq!(message("attest:provenance", "version=v2"), "invalid provenance SLSA version: v2");
        assert!(
            message("attest:sbom", "generator=example.org/s:1")
                .contains("\"example.org/s:1\" is not supported")
        );
        assert!(message("attest:sbom", "format=x").contains("unknown SBOM format \"x\""));
    }
}
