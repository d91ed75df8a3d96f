//! Signatures and keys as they are found, and the policy that asks for them: what nobody has signed is never believed.
#![no_main]

use std::sync::OnceLock;

use dray_spec::{Digest, Reference};
use dray_trust::{Algorithm, Claim, KeyPair, Policy, PublicKey, Signature};
use libfuzzer_sys::fuzz_target;

fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(Algorithm::Ed25519).expect("a key"))
}

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (text, signature, payload) = (part(), part(), part().as_bytes());
    if let Ok(public) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&public.to_pem()).expect("its own form").to_pem(), public.to_pem());
    }
    let found = Signature { payload: payload.to_vec(), signature: signature.to_owned() };
    assert!(found.claim(&[key().public()]).is_err(), "nobody has signed it");
    // What is signed is read whatever it is.
    let digest = Digest::sha256_of(payload);
    let claim = Claim { reference: text.to_owned(), digest: digest.clone(), annotations: Default::default() };
    let signed = Signature::make(&claim, key()).expect("signed");
    assert_eq!(signed.claim_about(&[digest], &[key().public()]).expect("ours"), claim);
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("policy.json");
    std::fs::write(&file, text).expect("written");
    if let (Ok(Some(policy)), Ok(reference)) = (Policy::read(&file), Reference::parse("reg.test/a/b:1")) {
        policy.of(&reference).needs_signatures();
    }
});
