//! `image verify`: whether somebody with one of the keys has signed what a name stands for.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_client::api::image::ImageSignature;
use dray_spec::{Digest, Reference};
use dray_trust::{Claim, PublicKey, Refusal, Signature};

use super::pull::{auth_for, parse};
use super::sign::refused;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list};
use crate::spec::{Args, Command, Done};

/// `image verify`
pub static COMMAND: Command = Command::new(
    "verify",
    &["[OPTIONS] NAME[:TAG|@DIGEST]"],
    Args::Exactly(1),
    "Verify an image's signatures at its registry",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[&[
    list("annotation", 'a', "Note that must be signed along: key=value"),
    list("key", NONE, "Public key (cosign.pub); one of several is enough"),
] as &[Flag]])
.details("Prints what is signed, as JSON, and fails where no signature counts.");

async fn run(app: &App, p: Parsed) -> Done {
    let reference = parse(&p.args[0])?.tagged();
    let keys = keys(&p.all("key"))?;
    let found = app.client()?.image_signatures(&reference.to_string(), &auth_for(app, &reference)).await?;
    let digest: Digest =
        found.digest.parse().map_err(|_| Error::Refused(format!("invalid digest {:?}", found.digest)))?;
    let (mut good, mut refusals) = (Vec::new(), Vec::new());
    for signature in &found.signatures {
        match claim(signature, &digest, &keys) {
            Ok(claim) if annotated(&claim, &p.all("annotation")) => good.push(claim),
            Ok(_) => refusals.push("it lacks an annotation".to_owned()),
            Err(refusal) => refusals.push(refusal.to_string()),
        }
    }
    if good.is_empty() {
        refusals.dedup();
        let why = if refusals.is_empty() { "no signatures found".to_owned() } else { refusals.join("; ") };
        return Err(Error::Refused(format!(
            "no matching signatures of {}: {why}",
            shown(&reference, &digest)
        )));
    }
    let claims: Vec<serde_json::Value> =
        good.iter().filter_map(|claim| serde_json::from_slice(&claim.to_bytes()).ok()).collect();
    app.print(format!("{}\n", serde_json::Value::Array(claims)))?;
    Ok(0)
}

fn keys(files: &[String]) -> Result<Vec<PublicKey>, Error> {
    let default = ["cosign.pub".to_owned()];
    let files = if files.is_empty() { &default } else { files };
    files.iter().map(|file| PublicKey::read(Path::new(file)).map_err(refused)).collect()
}

fn claim(signature: &ImageSignature, digest: &Digest, keys: &[PublicKey]) -> Result<Claim, Refusal> {
    let payload = STANDARD.decode(&signature.payload).map_err(|_| Refusal::Encoding)?;
    let signature = Signature { payload, signature: signature.signature.clone() };
    signature.claim_about(std::slice::from_ref(digest), keys)
}

fn annotated(claim: &Claim, wanted: &[String]) -> bool {
    wanted.iter().all(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        claim.annotations.get(key).and_then(serde_json::Value::as_str) == Some(value)
    })
}

fn shown(reference: &Reference, digest: &Digest) -> String {
    format!("{} ({digest})", reference.familiar())
}
