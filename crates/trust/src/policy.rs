//! The policy: which images may be pulled. The file is containers-policy.json(5), as Podman and CRI-O read it.
//!
//! ```json
//! {"default": [{"type": "reject"}],
//!  "transports": {"docker": {
//!    "reg.test":         [{"type": "sigstoreSigned", "keyPath": "/etc/dray/team.pub"}],
//!    "reg.test/scratch": [{"type": "insecureAcceptAnything"}],
//!    "*.example.test":   [{"type": "reject"}]}}}
//! ```
//!
//! The most exact scope decides: the name with its tag or digest, the repository, what it lies below, the host, a
//! wildcard of the host's domain, the transport's default, the default. All requirements of a scope must be met. What is
//! not understood makes the whole file invalid: a requirement that is skipped would let things in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_spec::{Digest, Reference};
use serde::Deserialize;

use crate::{PublicKey, Refusal, Signature, TrustError};

/// A policy that has been read.
#[derive(Debug, Clone)]
pub struct Policy {
    path: PathBuf,
    default: Vec<Requirement>,
    scopes: BTreeMap<String, Vec<Requirement>>,
}

/// What a policy asks of one image.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The scope that decides; none for the default.
    scope: Option<&'a str>,
    requirements: &'a [Requirement],
    reference: &'a Reference,
}

#[derive(Debug, Clone)]
enum Requirement {
    Accept,
    Reject,
    Signed { keys: Vec<PublicKey>, identity: Identity },
}

/// Which names a signature may be about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Identity {
    #[serde(rename = "matchExact")]
    Exact,
    #[serde(rename = "matchRepoDigestOrExact")]
    RepoDigestOrExact,
    #[serde(rename = "matchRepository")]
    Repository,
    #[serde(rename = "exactReference")]
    ExactReference {
        #[serde(rename = "dockerReference")]
        reference: String,
    },
    #[serde(rename = "exactRepository")]
    ExactRepository {
        #[serde(rename = "dockerRepository")]
        repository: String,
    },
    #[serde(rename = "remapIdentity")]
    Remap {
        prefix: String,
        #[serde(rename = "signedPrefix")]
        signed_prefix: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Vec<Entry>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<Entry>>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Entry {
    #[serde(rename = "insecureAcceptAnything")]
    Accept,
    #[serde(rename = "reject")]
    Reject,
    #[serde(rename = "sigstoreSigned", rename_all = "camelCase")]
    Signed {
        #[serde(default)]
        key_path: Option<PathBuf>,
        #[serde(default)]
        key_paths: Vec<PathBuf>,
        #[serde(default)]
        key_data: Option<String>,
        #[serde(default)]
        key_datas: Vec<String>,
        #[serde(default)]
        signed_identity: Option<Identity>,
    },
}

impl Policy {
    /// Reads the policy; none if there is no such file, which lets everything in.
    ///
    /// # Errors
    /// If it can't be read or understood, or one of its keys can't.
    pub fn read(path: &Path) -> Result<Option<Self>, TrustError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TrustError::Read { path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, TrustError> {
        let invalid = |problem: String| TrustError::Policy { path: path.to_owned(), problem };
        let file: File = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let mut scopes = BTreeMap::new();
        for (scope, entries) in
            file.transports.into_iter().filter(|(name, _)| name == "docker").flat_map(|(_, s)| s)
        {
            scopes.insert(
                scope.clone(),
                requirements(entries).map_err(|p| invalid(format!("{scope:?}: {p}")))?,
            );
        }
        let default = requirements(file.default).map_err(|problem| invalid(format!("default: {problem}")))?;
        Ok(Policy { path: path.to_owned(), default, scopes })
    }

    /// What is asked of an image of this name.
    #[must_use]
    pub fn of<'a>(&'a self, reference: &'a Reference) -> Decision<'a> {
        for scope in scopes_of(reference) {
            if let Some((scope, requirements)) = self.scopes.get_key_value(&scope) {
                return Decision { scope: Some(scope), requirements, reference };
            }
        }
        Decision { scope: None, requirements: &self.default, reference }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The scopes an image lies in, the most exact one first.
fn scopes_of(reference: &Reference) -> Vec<String> {
    let mut scopes = vec![reference.to_string()];
    let mut name = reference.name();
    loop {
        scopes.push(name.clone());
        match name.rsplit_once('/') {
            Some((above, _)) => name = above.to_owned(),
            None => break,
        }
    }
    let mut domain = reference.domain().split(':').next().unwrap_or_default();
    while let Some((_, above)) = domain.split_once('.') {
        scopes.push(format!("*.{above}"));
        domain = above;
    }
    scopes.push(String::new());
    scopes
}

fn requirements(entries: Vec<Entry>) -> Result<Vec<Requirement>, String> {
    if entries.is_empty() {
        return Err("the list of requirements is empty".into());
    }
    entries.into_iter().map(requirement).collect()
}

fn requirement(entry: Entry) -> Result<Requirement, String> {
    let (paths, datas, identity) = match entry {
        Entry::Accept => return Ok(Requirement::Accept),
        Entry::Reject => return Ok(Requirement::Reject),
        Entry::Signed { key_path, key_paths, key_data, key_datas, signed_identity } => {
            let ways = [key_path.is_some(), !key_paths.is_empty(), key_data.is_some(), !key_datas.is_empty()];
            if ways.iter().filter(|way| **way).count() != 1 {
                return Err("exactly one of keyPath, keyPaths, keyData and keyDatas must be given".into());
            }
            let paths: Vec<PathBuf> = key_path.into_iter().chain(key_paths).collect();
            let datas: Vec<String> = key_data.into_iter().chain(key_datas).collect();
            (paths, datas, signed_identity.unwrap_or(Identity::RepoDigestOrExact))
        }
    };
    let mut keys = Vec::new();
    for path in paths {
        keys.push(PublicKey::read(&path).map_err(|error| match error {
            TrustError::Read { .. } => error.to_string(),
            other => format!("{}: {other}", path.display()),
        })?);
    }
    for data in datas {
        let text = STANDARD.decode(&data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or("keyData is not the base64 of a PEM file")?;
        keys.push(PublicKey::parse(&text).map_err(|error| error.to_string())?);
    }
    Ok(Requirement::Signed { keys, identity })
}

impl Decision<'_> {
    /// Whether signatures have to be looked for.
    #[must_use]
    pub fn needs_signatures(&self) -> bool {
        let signed = |requirement: &Requirement| matches!(requirement, Requirement::Signed { .. });
        self.requirements.iter().any(signed) && !self.rejects()
    }

    fn rejects(&self) -> bool {
        self.requirements.iter().any(|requirement| matches!(requirement, Requirement::Reject))
    }

    /// Decides, given the signatures that were found for the digests the image is known by.
    ///
    /// # Errors
    /// The reason, in words, why the image must not be used.
    pub fn check(&self, digests: &[Digest], signatures: &[Signature]) -> Result<(), String> {
        let scope = match self.scope {
            Some(scope) => format!("scope {scope:?}"),
            None => "default".to_owned(),
        };
        for requirement in self.requirements {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return Err(format!("rejected by the policy ({scope})")),
                Requirement::Signed { keys, identity } => {
                    self.signed(keys, identity, digests, signatures)
                        .map_err(|reason| format!("a signature was required ({scope}), but {reason}"))?;
                }
            }
        }
        Ok(())
    }

    fn signed(
        &self,
        keys: &[PublicKey],
        identity: &Identity,
        digests: &[Digest],
        signatures: &[Signature],
    ) -> Result<(), String> {
        let mut refusals = Vec::new();
        for signature in signatures {
            let claim = match signature.claim_about(digests, keys) {
                Ok(claim) => claim,
                Err(refusal) => {
                    refusals.push(refusal.to_string());
                    continue;
                }
            };
            if identity.accepts(self.reference, &claim.reference) {
                return Ok(());
            }
            refusals.push(Refusal::Identity(claim.reference).to_string());
        }
        refusals.dedup();
        Err(match refusals.as_slice() {
            [] => "no signature exists".to_owned(),
            [one] => format!("the one that exists does not count: {one}"),
            many => format!("none that exists counts: {}", many.join("; ")),
        })
    }
}

impl Identity {
    /// Whether a signature for `signed` counts for an image that is asked for as `wanted`.
    fn accepts(&self, wanted: &Reference, signed: &str) -> bool {
        let Ok(signed) = Reference::parse(signed) else { return false };
        let exact = |wanted: &Reference| wanted.to_string() == signed.to_string();
        let same_repository = |name: &str| name == signed.name();
        let by_digest_or_exact = |wanted: &Reference| match wanted.digest() {
            Some(_) => same_repository(&wanted.name()),
            None => exact(wanted),
        };
        match self {
            Identity::Exact => exact(wanted),
            Identity::RepoDigestOrExact => by_digest_or_exact(wanted),
            Identity::Repository => same_repository(&wanted.name()),
            Identity::ExactReference { reference } => {
                Reference::parse(reference).is_ok_and(|reference| exact(&reference))
            }
            Identity::ExactRepository { repository } => {
                Reference::parse(repository).is_ok_and(|repository| same_repository(&repository.name()))
            }
            Identity::Remap { prefix, signed_prefix } => {
                remapped(wanted, prefix, signed_prefix).is_some_and(|wanted| by_digest_or_exact(&wanted))
            }
        }
    }
}

/// The name with one prefix in the place of another; unchanged where it hasn't that prefix.
fn remapped(wanted: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let whole = wanted.to_string();
    match whole.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', ':', '@']) => {
            // A prefix that is a host alone ends where its port would begin.
            if rest.starts_with(':') && !prefix.contains('/') {
                return Some(wanted.clone());
            }
            Reference::parse(&format!("{signed_prefix}{rest}")).ok()
        }
        _ => Some(wanted.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::tests::recorded;
    use crate::{Algorithm, Claim, KeyPair};

    fn policy(text: &str) -> Result<Policy, String> {
        Policy::parse(text, Path::new("/p.json")).map_err(|error| error.to_string())
    }

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap().tagged()
    }

    #[test]
    fn the_most_exact_scope_decides() {
        let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
        let reject = r#"[{"type":"reject"}]"#;
        let policy = policy(&format!(
            r#"{{"default":{reject},"transports":{{"docker":{{"reg.test:5000":{reject},"reg.test:5000/a":{accept},
            "reg.test:5000/a/b:v1":{reject},"*.example.test":{accept},"docker.io/library":{accept}}},
            "docker-daemon":{{"":{reject}}}}}}}"#
        ))
        .unwrap();
        for (name, accepted) in [
            ("other.test/x", false),
            ("reg.test:5000/x", false),
            ("reg.test:5000/a", true),
            ("reg.test:5000/a/b", true),
            ("reg.test:5000/a/b:v1", false),
            ("reg.test:5000/ab", false),
            ("reg.test:5001/a", false),
            ("deep.down.example.test/x", true),
            ("example.test/x", false),
            ("busybox", true),
            ("someone/busybox", false),
        ] {
            let reference = reference(name);
            assert_eq!(policy.of(&reference).check(&[], &[]).is_ok(), accepted, "{name}");
        }
        let refused = reference("reg.test:5000/x");
        let words = policy.of(&refused).check(&[], &[]).unwrap_err();
        assert_eq!(words, "rejected by the policy (scope \"reg.test:5000\")");
    }

    #[test]
    fn a_file_that_is_not_understood_lets_nothing_in() {
        for (text, problem) in [
            ("{}", "missing field `default`"),
            (r#"{"default":[]}"#, "default: the list of requirements is empty"),
            (r#"{"default":[{"type":"signedBy"}]}"#, "unknown variant `signedBy`"),
            (r#"{"default":[{"type":"reject"}],"more":1}"#, "unknown field `more`"),
            (r#"{"default":[{"type":"sigstoreSigned"}]}"#, "exactly one of keyPath"),
            (
                r#"{"default":[{"type":"sigstoreSigned","keyPath":"/nowhere.pub"}]}"#,
                "open /nowhere.pub: No such file",
            ),
            (r#"{"default":[{"type":"sigstoreSigned","keyData":"eA=="}]}"#, "no PEM block"),
            (
                r#"{"default":[{"type":"sigstoreSigned","keyData":"eA==","fulcio":{}}]}"#,
                "unknown field `fulcio`",
            ),
        ] {
            let error = policy(text).unwrap_err();
            assert!(
                error.starts_with("trust policy /p.json: ") && error.contains(problem),
                "{text}: {error}"
            );
        }
        assert!(Policy::read(Path::new("/nowhere/policy.json")).unwrap().is_none());
    }

    /// A policy that asks for cosign's recorded key, with an identity.
    fn signed(identity: &str) -> Policy {
        let key = STANDARD.encode(include_str!("../fixtures/cosign.pub"));
        policy(&format!(r#"{{"default":[{{"type":"sigstoreSigned","keyData":"{key}"{identity}}}]}}"#))
            .unwrap()
    }

    #[test]
    fn cosign_s_recorded_signatures_count_by_identity() {
        let digest = Digest::sha256_of(include_bytes!("../fixtures/single.manifest.json"));
        let single = recorded(include_str!("../fixtures/single.json"));
        let tagged = recorded(include_str!("../fixtures/tagged.json"));
        let check = |identity: &str, name: &str, signatures: &[Signature]| {
            let (policy, reference) = (signed(identity), Reference::parse(name).unwrap());
            policy.of(&reference).check(std::slice::from_ref(&digest), signatures)
        };
        let repository = r#","signedIdentity":{"type":"matchRepository"}"#;
        let name = "192.168.64.2:5000/cosign-signed-single-sample";
        check(repository, &format!("{name}:latest"), std::slice::from_ref(&single)).unwrap();
        // cosign's claims have no tag, so by default they count for digests only.
        check("", &format!("{name}@{digest}"), std::slice::from_ref(&single)).unwrap();
        let words = check("", &format!("{name}:latest"), std::slice::from_ref(&single)).unwrap_err();
        assert_eq!(
            words,
            format!(
                "a signature was required (default), but the one that exists does not count: it is for {name}"
            )
        );
        check("", "192.168.64.2:5000/skopeo-signed:tag", std::slice::from_ref(&tagged)).unwrap();
        assert!(check("", "192.168.64.2:5000/skopeo-signed:other", std::slice::from_ref(&tagged)).is_err());
        let both = [single, tagged];
        let exact = r#","signedIdentity":{"type":"exactReference","dockerReference":"192.168.64.2:5000/skopeo-signed:tag"}"#;
        check(exact, "elsewhere.test/x:v1", &both).unwrap();
        let exact = r#","signedIdentity":{"type":"exactRepository","dockerRepository":"192.168.64.2:5000/skopeo-signed"}"#;
        check(exact, "elsewhere.test/x:v1", &both).unwrap();
        let remap = r#","signedIdentity":{"type":"remapIdentity","prefix":"mirror.test/m","signedPrefix":"192.168.64.2:5000"}"#;
        check(remap, "mirror.test/m/skopeo-signed:tag", &both).unwrap();
        assert!(check(remap, "mirror.test/mm/skopeo-signed:tag", &both).is_err());
        assert_eq!(
            check("", "x.test/y:v1", &[]).unwrap_err(),
            "a signature was required (default), but no signature exists"
        );
    }

    #[test]
    fn another_key_and_another_digest_do_not_count() {
        let pair = KeyPair::generate(Algorithm::P256).unwrap();
        let digest = Digest::sha256_of(b"image");
        let claim =
            Claim { reference: "reg.test/a:v1".into(), digest: digest.clone(), annotations: BTreeMap::new() };
        let ours = Signature::make(&claim, &pair).unwrap();
        let wanted = reference("reg.test/a:v1");
        let words = signed("")
            .of(&wanted)
            .check(std::slice::from_ref(&digest), std::slice::from_ref(&ours))
            .unwrap_err();
        assert!(words.ends_with("made by none of the keys"), "{words}");
        let key = STANDARD.encode(pair.public().to_pem());
        let policy =
            policy(&format!(r#"{{"default":[{{"type":"sigstoreSigned","keyData":"{key}"}}]}}"#)).unwrap();
        let decision = policy.of(&wanted);
        assert!(decision.needs_signatures());
        decision.check(std::slice::from_ref(&digest), std::slice::from_ref(&ours)).unwrap();
        let words = decision.check(&[Digest::sha256_of(b"other")], &[ours]).unwrap_err();
        assert!(words.ends_with(&format!("it is for {digest}")), "{words}");
    }
}
