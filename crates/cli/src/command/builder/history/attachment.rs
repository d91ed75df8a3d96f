//! `builder history inspect attachment`: a document of a build: what its outputs are, and what is said of them.

use std::io::Write as _;

use dray_client::api::build::BuildAttachment;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    text("platform", NONE, "Only of this platform"),
    text("type", NONE, "index, manifest, image, provenance, sbom, or a type as inspect shows it"),
];

/// `builder history inspect attachment`
pub static COMMAND: Command = Command::new(
    "inspect attachment",
    &["[OPTIONS] [BUILD [DIGEST]]"],
    Args::AtMost(2),
    "Print a document that belongs to a build",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

async fn run(app: &App, p: Parsed) -> Done {
    let build = p.args.first().map_or("", String::as_str);
    let (kind, platform) = (p.get("type"), p.get("platform"));
    let digest = match p.args.get(1) {
        Some(digest) => digest.clone(),
        None if kind.is_empty() && platform.is_empty() => {
            let text = "at least one of --type, --platform or DIGEST must be specified";
            return Err(Error::Refused(text.into()));
        }
        None => {
            let attachments = app.client()?.build_inspect(build).await?.attachments;
            let found = attachments.into_iter().find(|of| fits(of, kind, platform));
            let none = || Error::Refused(format!("no matching attachment found for ref {build:?}"));
            found.ok_or_else(none)?.digest
        }
    };
    let bytes = app.client()?.build_attachment(build, &digest).await?;
    std::io::stdout().lock().write_all(&bytes).map_err(Error::io("write the output"))?;
    Ok(0)
}

fn fits(attachment: &BuildAttachment, kind: &str, platform: &str) -> bool {
    let types: &[&str] = match kind {
        "index" => &["application/vnd.oci.image.index.v1+json"],
        "manifest" => &["application/vnd.oci.image.manifest.v1+json"],
        "image" => &["application/vnd.oci.image.config.v1+json"],
        "provenance" => &["https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"],
        "sbom" => &["https://spdx.dev/Document"],
        kind => &[kind],
    };
    (kind.is_empty() || types.contains(&attachment.kind.as_str()))
        && (platform.is_empty() || attachment.platform == platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_go_by_short_names_too() {
        let of = |kind: &str, platform: &str| BuildAttachment {
            digest: "sha256:1".into(),
            platform: platform.into(),
            kind: kind.into(),
        };
        let provenance = of("https://slsa.dev/provenance/v0.2", "linux/amd64");
        assert!(fits(&provenance, "provenance", "") && fits(&provenance, "", "linux/amd64"));
        assert!(fits(&provenance, "https://slsa.dev/provenance/v0.2", "linux/amd64"));
        assert!(!fits(&provenance, "provenance", "linux/arm64") && !fits(&provenance, "sbom", ""));
        assert!(fits(&of("https://spdx.dev/Document", ""), "sbom", ""));
    }
}
