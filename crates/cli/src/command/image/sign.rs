//! `image sign` and `image generate-key-pair`: signatures in cosign's form, made here with a key that stays here.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_client::api::image::ImageSignature;
use dray_spec::Digest;
use dray_trust::{Algorithm, Claim, KeyPair, Signature, UnknownAlgorithm};

use super::pull::{auth_for, parse};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, text};
use crate::spec::{Args, Command, Done};
use crate::terminal::{self, ask_secret};

/// The variable with the key's password, as cosign has it.
const PASSWORD: &str = "COSIGN_PASSWORD";

/// `image sign`
pub static SIGN: Command = Command::new(
    "sign",
    &["[OPTIONS] NAME[:TAG|@DIGEST]"],
    Args::Exactly(1),
    "Sign an image at its registry",
    |a, p| Box::pin(sign(a, p)),
)
.flags(&[&[
    text("key", NONE, "Private key, sealed with a password (cosign.key)").default("cosign.key"),
    list("annotation", 'a', "Note to sign along: key=value"),
] as &[Flag]])
.details(
    "The digest that the name stands for at its registry is signed, in the form that cosign has, and the signature is kept \
     there as a referrer. The key's password is asked for, or taken from COSIGN_PASSWORD.",
);

/// `image generate-key-pair`
pub static GENERATE: Command = Command::new(
    "generate-key-pair",
    &["[OPTIONS] [PREFIX]"],
    Args::AtMost(1),
    "Make a key pair to sign images with",
    |a, p| Box::pin(generate(a, p)),
)
.flags(&[&[text(
    "signing-algorithm",
    NONE,
    "Kind of key (\"ecdsa-sha2-256-nistp256\", \"ecdsa-sha2-384-nistp384\", \"ed25519\")",
)
.default("ecdsa-sha2-256-nistp256")] as &[Flag]])
.details(
    "Writes PREFIX.key, sealed with a password, and PREFIX.pub; the prefix is cosign where none is given.",
);

async fn sign(app: &App, p: Parsed) -> Done {
    let reference = parse(&p.args[0])?.tagged();
    let annotations = annotations(&p.all("annotation"))?;
    let key = p.get("key");
    let sealed = std::fs::read_to_string(key).map_err(Error::file("open", Path::new(key)))?;
    let key = KeyPair::parse(&sealed, password(app, false).await?.as_bytes()).map_err(refused)?;
    let auth = auth_for(app, &reference);
    let name = reference.to_string();
    let digest = app.client()?.image_signatures(&name, &auth).await?.digest;
    let digest: Digest = digest.parse().map_err(|_| Error::Refused(format!("invalid digest {digest:?}")))?;
    // A name by digest says nothing of a tag.
    let signed_name = if reference.digest().is_some() { reference.name() } else { name.clone() };
    let claim = Claim { reference: signed_name, digest: digest.clone(), annotations };
    let signature = Signature::make(&claim, &key).map_err(refused)?;
    let signature = ImageSignature {
        digest: digest.to_string(),
        payload: STANDARD.encode(&signature.payload),
        signature: signature.signature,
    };
    app.client()?.image_sign(&name, &signature, &auth).await?;
    app.print(format!("{}@{digest}\n", reference.familiar_name()))?;
    Ok(0)
}

fn annotations(given: &[String]) -> Result<BTreeMap<String, serde_json::Value>, Error> {
    let pair = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::Refused(format!("invalid annotation {text:?}: expected key=value")))?;
        Ok((key.to_owned(), value.into()))
    };
    given.iter().map(pair).collect()
}

async fn generate(app: &App, p: Parsed) -> Done {
    let prefix = p.args.first().map_or("cosign", String::as_str);
    let algorithm: Algorithm = p
        .get("signing-algorithm")
        .parse()
        .map_err(|error: UnknownAlgorithm| Error::Refused(error.to_string()))?;
    let (private, public) = (format!("{prefix}.key"), format!("{prefix}.pub"));
    for file in [&private, &public] {
        if Path::new(file).exists() {
            return Err(Error::Refused(format!("{file} exists already; a key is never overwritten")));
        }
    }
    let pair = KeyPair::generate(algorithm).map_err(refused)?;
    let sealed = pair.to_pem(password(app, true).await?.as_bytes()).map_err(refused)?;
    write(&private, 0o600, &sealed)?;
    write(&public, 0o644, &pair.public().to_pem())?;
    app.print(format!("{private}\n{public}\n"))?;
    Ok(0)
}

fn write(file: &str, mode: u32, text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = Path::new(file);
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(Error::file("create", path))?;
    out.write_all(text.as_bytes()).map_err(Error::file("write", path))
}

/// The key's password: from the variable, else asked for; twice where it is a new one.
async fn password(app: &App, new: bool) -> Result<String, Error> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    if !terminal::is_terminal(rustix::stdio::stdin()) {
        return Err(Error::Refused(format!("no terminal to ask for the key's password at: set {PASSWORD}")));
    }
    let password = ask_secret(app, "Password of the private key: ").await?;
    if new && ask_secret(app, "Once more: ").await? != password {
        return Err(Error::Refused("the passwords differ".into()));
    }
    Ok(password)
}

/// A key's or signature's failure, in its own words.
pub(super) fn refused(error: dray_trust::TrustError) -> Error {
    Error::Refused(error.to_string())
}
