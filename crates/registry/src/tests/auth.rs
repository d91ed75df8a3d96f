//! Basic credentials, bearer tokens and logins.

use dray_spec::media_type;

use super::{client, download, file, reference, silent};
use crate::testing::{Fixture, Guard};
use crate::{Auth, ErrorKind};

fn ann() -> Auth {
    Auth::Basic { user: "ann".into(), password: "secret".into() }
}

fn basic() -> Guard {
    Guard::Basic { user: "ann".into(), password: "secret".into() }
}

fn bearer(user: &str, expires_in: u64) -> Guard {
    Guard::Bearer { user: user.into(), password: "secret".into(), expires_in }
}

#[tokio::test]
async fn basic_right_wrong_and_none() {
    let fixture = Fixture::start().await;
    fixture.guard(basic());
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    let reference = reference(&fixture, "a");
    client().repository(&reference, &ann()).unwrap().manifest("v1").await.unwrap();
    let wrong = Auth::Basic { user: "ann".into(), password: "guess".into() };
    let error = client().repository(&reference, &wrong).unwrap().manifest("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let error = client().repository(&reference, &Auth::Anonymous).unwrap().manifest("v1").await.unwrap_err();
    let url = format!("http://{}/v2/a/manifests/v1", fixture.host());
    assert_eq!(error.to_string(), format!("Get \"{url}\": no basic auth credentials"));
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn one_token_serves_many_requests() {
    let fixture = Fixture::start().await;
    fixture.guard(bearer("ann", 300));
    let blob = fixture.put_blob("a", media_type::OCI_LAYER_GZIP, b"layer");
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    let repository = client().repository(&reference(&fixture, "a"), &ann()).unwrap();
    for _ in 0..3 {
        repository.manifest("v1").await.unwrap();
        download(&repository, &blob, 0).await.unwrap();
    }
    assert_eq!(fixture.count("GET", "/token"), 1);
    // Another user doesn't get it.
    let other = client().repository(&reference(&fixture, "a"), &Auth::Anonymous).unwrap();
    let error = other.manifest("v1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://{}/v2/a/manifests/v1\": unauthorized: incorrect username or password",
            fixture.host()
        )
    );
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn anonymous_token_where_the_issuer_gives_one() {
    let fixture = Fixture::start().await;
    fixture.guard(bearer("", 300));
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    client().repository(&reference(&fixture, "a"), &Auth::Anonymous).unwrap().manifest("v1").await.unwrap();
    assert!(fixture.seen().iter().any(|s| s.path.contains("scope=repository%3Aa%3Apull")));
}

#[tokio::test]
async fn a_token_that_has_expired_is_asked_for_again() {
    let fixture = Fixture::start().await;
    fixture.guard(bearer("ann", 1));
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    let repository = client().repository(&reference(&fixture, "a"), &ann()).unwrap();
    repository.manifest("v1").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    repository.manifest("v1").await.unwrap();
    assert_eq!(fixture.count("GET", "/token"), 2);
}

#[tokio::test]
async fn pushes_ask_for_push_and_mounts_for_both_repositories() {
    let fixture = Fixture::start().await;
    fixture.guard(bearer("ann", 300));
    let repository = client().repository(&reference(&fixture, "a"), &ann()).unwrap();
    let (_folder, path) = file(b"layer");
    let blob = dray_spec::Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
    repository.upload(None, &path, &blob, silent()).await.unwrap();
    let other = client().repository(&reference(&fixture, "b"), &ann()).unwrap();
    other.mount(&blob.digest, "a").await.unwrap();
    let asked: Vec<String> =
        fixture.seen().into_iter().map(|s| s.path).filter(|p| p.starts_with("/token")).collect();
    assert!(asked.iter().any(|p| p.contains("repository%3Aa%3Apull%2Cpush")), "{asked:?}");
    assert!(
        asked.iter().any(|p| p.contains("repository%3Ab%3Apull%2Cpush")
            && p.contains("repository%3Aa%3Apull")
            && !p.contains("repository%3Aa%3Apull%2C")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn logins() {
    let fixture = Fixture::start().await;
    fixture.guard(basic());
    assert_eq!(client().login(&fixture.host(), &ann()).await.unwrap().identity_token, None);
    let wrong = Auth::Basic { user: "ann".into(), password: "guess".into() };
    let error = client().login(&fixture.host(), &wrong).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("login attempt to http://{}/v2/ failed with status: 401 Unauthorized", fixture.host())
    );
    fixture.guard(bearer("ann", 300));
    let login = client().login(&fixture.host(), &ann()).await.unwrap();
    assert_eq!(login.identity_token.as_deref(), Some("refresh-1"));
    let error = client().login(&fixture.host(), &wrong).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"http://{}/v2/\": unauthorized: incorrect username or password", fixture.host())
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let fixture = Fixture::start().await;
    fixture.guard(bearer("ann", 300));
    fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
    let auth = Auth::IdentityToken { user: "ann".into(), token: "refresh-1".into() };
    client().repository(&reference(&fixture, "a"), &auth).unwrap().manifest("v1").await.unwrap();
    assert_eq!((fixture.count("POST", "/token"), fixture.count("GET", "/token")), (1, 0));
}

#[tokio::test]
async fn an_identity_token_goes_along_no_redirect_to_another_host() {
    let (fixture, elsewhere) = (Fixture::start().await, Fixture::start().await);
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", fixture.host());
    let headers = vec![("www-authenticate".to_owned(), challenge)];
    let asks = crate::testing::What::Answer { status: 401, headers, body: String::new() };
    fixture.fault(crate::testing::Fault::on("/v2/", asks));
    let target = format!("http://{}/token", elsewhere.host());
    fixture.fault(crate::testing::Fault::on("/token", crate::testing::What::redirect(307, &target)));
    let auth = Auth::IdentityToken { user: "ann".into(), token: "refresh-1".into() };
    let repository = client().repository(&reference(&fixture, "a"), &auth).unwrap();
    let error = repository.manifest("v1").await.unwrap_err().to_string();
    assert!(error.contains("it leads to another host"), "{error}");
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn credentials_go_neither_to_another_host_nor_into_errors() {
    let (fixture, elsewhere) = (Fixture::start().await, Fixture::start().await);
    fixture.guard(basic());
    let blob = elsewhere.put_blob("a", media_type::OCI_LAYER_GZIP, b"layer");
    let target = format!("http://{}/v2/a/blobs/{}", elsewhere.host(), blob.digest);
    fixture.fault(crate::testing::Fault::on("/blobs/", crate::testing::What::redirect(307, &target)));
    let repository = client().repository(&reference(&fixture, "a"), &ann()).unwrap();
    assert_eq!(download(&repository, &blob, 0).await.unwrap(), b"layer");
    assert!(fixture.seen().iter().any(|s| s.authorization.is_some()));
    assert!(elsewhere.seen().iter().all(|s| s.authorization.is_none()));
    elsewhere.fault(crate::testing::Fault::on("/blobs/", crate::testing::What::status(403)));
    let (_, error) = download(&repository, &blob, 0).await.unwrap_err();
    assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"));
}
