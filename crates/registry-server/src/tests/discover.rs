//! Lists: tags, repositories, referrers; page by page.

use dray_spec::Digest;
use http::Method;
use serde_json::{Value, json};

use super::fixture::{Fixture, INDEX, MANIFEST, image};

fn next(answer: &super::fixture::Answer) -> Option<String> {
    let link = answer.header("link");
    let target = link.strip_prefix('<')?.split_once('>')?;
    assert_eq!(target.1, "; rel=\"next\"");
    Some(target.0.to_owned())
}

#[tokio::test]
async fn lists_come_in_pages() {
    let f = Fixture::start().await;
    for (at, tag) in ["b", "B", "a", "c", "1"].iter().enumerate() {
        f.push_image("tags", tag, "layer").await;
        f.push_image(&format!("many/{at}"), "v", "layer").await;
    }
    for (path, field, all) in [
        ("/v2/tags/tags/list", "tags", json!(["1", "B", "a", "b", "c"])),
        ("/v2/_catalog", "repositories", json!(["many/0", "many/1", "many/2", "many/3", "many/4", "tags"])),
    ] {
        let whole = f.get(path).await.expect(200);
        assert_eq!(whole.json()[field], all);
        assert_eq!(next(&whole), None);
        let (mut pages, mut at) = (Vec::new(), Some(format!("{path}?n=2")));
        while let Some(path) = at {
            let page = f.get(&path).await.expect(200);
            pages.extend(page.json()[field].as_array().unwrap().clone());
            at = next(&page);
        }
        assert_eq!(Value::Array(pages), all);
        let none = f.get(&format!("{path}?n=0")).await.expect(200);
        assert_eq!((none.json()[field].clone(), next(&none)), (json!([]), None));
        f.get(&format!("{path}?n=-1")).await.refused(400, "UNSUPPORTED");
        let exact = f.get(&format!("{path}?n={}", all.as_array().unwrap().len())).await.expect(200);
        assert_eq!(next(&exact), None, "there is nothing after the last");
    }
    f.get("/v2/none/tags/list").await.refused(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn referrers_are_those_with_the_subject() {
    let f = Fixture::start().await;
    let subject = f.push_image("a", "v1", "layer").await;
    let mut about: Value = serde_json::from_str(&image("layer")).unwrap();
    about["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": image("layer").len()});
    about["annotations"] = json!({"k": "v"});
    let mut digests = Vec::new();
    for kind in ["sbom", "signature"] {
        about["artifactType"] = json!(kind);
        let content = about.to_string();
        let digest = Digest::sha256_of(content.as_bytes());
        let answer = f.put_manifest("a", digest.as_str(), MANIFEST, &content).await.expect(201);
        assert_eq!(answer.header("oci-subject"), subject.as_str());
        digests.push(digest);
    }
    let path = format!("/v2/a/referrers/{subject}");
    let all = f.get(&path).await.expect(200);
    assert_eq!((all.header("content-type"), all.header("oci-filters-applied")), (INDEX, ""));
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    let one = f.get(&format!("{path}?artifactType=sbom")).await.expect(200);
    assert_eq!(one.header("oci-filters-applied"), "artifactType");
    let listed = &one.json()["manifests"][0];
    assert_eq!((&listed["digest"], &listed["annotations"]["k"]), (&json!(digests[0]), &json!("v")));
    f.delete(&format!("/v2/a/manifests/{}", digests[0])).await.expect(202);
    assert_eq!(f.get(&path).await.json()["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(
        f.get(&format!("/v2/none/referrers/{subject}")).await.expect(200).json()["manifests"],
        json!([])
    );
    f.get("/v2/a/referrers/sha256:x").await.refused(400, "DIGEST_INVALID");
}

/// More annotations than clients read in one manifest.
#[tokio::test]
async fn long_lists_of_referrers_come_in_pages() {
    let f = Fixture::start().await;
    let subject = f.push_image("a", "v1", "layer").await;
    let mut about: Value = serde_json::from_str(&image("layer")).unwrap();
    about["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    about["artifactType"] = json!("x");
    for at in 0..5 {
        about["annotations"] = json!({"k": format!("{at}{}", "v".repeat(1_000_000))});
        f.put_manifest("a", &format!("r{at}"), MANIFEST, &about.to_string()).await.expect(201);
    }
    let (mut found, mut pages, mut at) = (0, 0, Some(format!("/v2/a/referrers/{subject}?artifactType=x")));
    while let Some(path) = at {
        let page = f.get(&path).await.expect(200);
        assert!(page.body.len() < 4 * 1024 * 1024);
        found += page.json()["manifests"].as_array().unwrap().len();
        pages += 1;
        at = next(&page);
    }
    assert_eq!(found, 5);
    assert!(pages > 1);
}

/// What is more than an answer can hold hides neither itself nor the others.
#[tokio::test]
async fn annotations_without_end_do_not_make_a_list_unreadable() {
    let f = Fixture::start().await;
    let subject = f.push_image("a", "v1", "layer").await;
    let mut about: Value = serde_json::from_str(&image("layer")).unwrap();
    about["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 1});
    for length in [10, 5_000_000, 20] {
        about["annotations"] = json!({"k": "v".repeat(length)});
        f.put_manifest("a", &format!("r{length}"), MANIFEST, &about.to_string()).await.expect(201);
    }
    let (mut found, mut at) = (Vec::new(), Some(format!("/v2/a/referrers/{subject}")));
    while let Some(path) = at {
        let page = f.get(&path).await.expect(200);
        assert!(page.body.len() < 4 * 1024 * 1024);
        let entries = page.json()["manifests"].as_array().unwrap().clone();
        found.extend(entries.iter().map(|entry| entry["annotations"]["k"].as_str().map_or(0, str::len)));
        at = next(&page);
    }
    found.sort_unstable();
    assert_eq!(found, [0, 10, 20]);
}

#[tokio::test]
async fn operators_get_their_answers() {
    let f = Fixture::start().await;
    f.get("/livez").await.expect(200);
    f.get("/readyz").await.expect(200);
    f.push_image("a", "v1", "layer").await;
    let figures = f.get("/metrics").await.expect(200);
    assert!(String::from_utf8_lossy(&figures.body).contains("dray_registry_tags 1\n"));
    assert_eq!(f.get("/v2/").await.expect(200).header("docker-distribution-api-version"), "registry/2.0");
    for (method, path) in
        [(Method::PATCH, "/v2/a/manifests/v1"), (Method::POST, "/v2/"), (Method::PUT, "/v2/_catalog")]
    {
        f.request(method, path, &[], "").await.refused(405, "UNSUPPORTED");
    }
    f.server.stop();
}
