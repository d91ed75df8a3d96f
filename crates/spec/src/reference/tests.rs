//! The grammar by example: what Docker takes, shows and refuses.

use super::*;

fn digest() -> String {
    format!("sha256:{}", "ab".repeat(32))
}

#[test]
fn familiar_and_canonical_forms() {
    let d = digest();
    for (text, canonical, familiar) in [
        ("nginx", "docker.io/library/nginx".to_string(), "nginx".to_string()),
        ("nginx:1.27", "docker.io/library/nginx:1.27".into(), "nginx:1.27".into()),
        ("me/app", "docker.io/me/app".into(), "me/app".into()),
        ("docker.io/nginx", "docker.io/library/nginx".into(), "nginx".into()),
        ("index.docker.io/nginx", "docker.io/library/nginx".into(), "nginx".into()),
        ("docker.io/library/a/b", "docker.io/library/a/b".into(), "library/a/b".into()),
        ("localhost/app", "localhost/app".into(), "localhost/app".into()),
        ("localhost:5000/app:v1", "localhost:5000/app:v1".into(), "localhost:5000/app:v1".into()),
        (
            "ghcr.io/a/b__c-d--e.f:T_1.x-y",
            "ghcr.io/a/b__c-d--e.f:T_1.x-y".into(),
            "ghcr.io/a/b__c-d--e.f:T_1.x-y".into(),
        ),
        ("[::1]:5000/x", "[::1]:5000/x".into(), "[::1]:5000/x".into()),
        ("Host/x", "Host/x".into(), "Host/x".into()),
        (&format!("nginx@{d}"), format!("docker.io/library/nginx@{d}"), format!("nginx@{d}")),
        (&format!("nginx:1@{d}"), format!("docker.io/library/nginx:1@{d}"), format!("nginx:1@{d}")),
        ("localhost:5000", "docker.io/library/localhost:5000".into(), "localhost:5000".into()),
    ] {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(Reference::parse(&canonical).unwrap(), reference, "{text}");
        let json = serde_json::to_string(&reference).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
    }
}

#[test]
fn refuses_with_dockers_words() {
    let identifier = "a".repeat(64);
    let long = format!("a/{}", "b".repeat(255));
    let long_tag = format!("a:{}", "t".repeat(129));
    for (text, message) in [
        ("", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a@", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("../x", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a-", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a._b", "invalid reference format"),
        ("a:.x", "invalid reference format"),
        ("a:x:y", "invalid reference format"),
        ("ho_st:80/x", "invalid reference format"),
        ("host:x/y", "invalid reference format"),
        ("a@sha256:abc", "invalid reference format"),
        ("a:b@c@d", "invalid reference format"),
        ("\u{e9}", "invalid reference format"),
        (long_tag.as_str(), "invalid reference format"),
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("x.io/Foo:v1", "invalid reference format: repository name (Foo) must be lowercase"),
        (long.as_str(), "repository name must not be more than 255 characters"),
        (
            identifier.as_str(),
            "invalid repository name (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa), cannot specify 64-byte hexadecimal strings",
        ),
        ("a@sha256:abababababababababababababababab", "invalid checksum digest length"),
        ("a@md5:abababababababababababababababab", "unsupported digest algorithm"),
    ] {
        match Reference::parse(text) {
            Ok(reference) => panic!("{text:?} was taken as {reference}"),
            Err(error) => assert_eq!(error.to_string(), message, "{text:?}"),
        }
    }
}

#[test]
fn tags_and_digests_are_exchanged() {
    let reference = Reference::parse("app").unwrap();
    assert_eq!(reference.clone().tagged().familiar(), "app:latest");
    assert_eq!(reference.with_tag("v1").unwrap().familiar(), "app:v1");
    assert_eq!(reference.with_tag("-").unwrap_err(), ReferenceError::Tag);
    let pinned = reference.with_tag("v1").unwrap().with_digest(digest().parse().unwrap());
    assert_eq!(pinned.familiar(), format!("app@{}", digest()));
    assert_eq!(pinned.clone().tagged(), pinned);
    assert_eq!(pinned.without_tag(), reference);
}

proptest::proptest! {
    #[test]
    fn what_is_taken_is_taken_again(text in "[a-zA-Z0-9.:/@_\\[\\]-]{0,40}") {
        if let Ok(reference) = Reference::parse(&text) {
            let again = Reference::parse(&reference.to_string());
            proptest::prop_assert_eq!(again, Ok(reference));
        }
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,60}") {
        let _ = Reference::parse(&text);
        let _ = text.parse::<crate::Digest>();
        let _ = text.parse::<crate::Platform>();
    }
}
