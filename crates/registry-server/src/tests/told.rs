//! What happens by itself, and who is told of it: retention, webhooks.

use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use super::fixture::Fixture;
use crate::retention;

#[tokio::test]
async fn tags_expire_by_the_rules_and_immutable_ones_do_not() {
    let f =
        Fixture::configured(json!({"immutable-tags": [{"repositories": ["ci/*"], "tags": ["v*"]}]})).await;
    for tag in ["v1", "a", "b", "c"] {
        f.push_image("ci/app", tag, "layer").await;
        f.push_image("other", tag, "layer").await;
    }
    let rules =
        json!([{"repositories": ["ci/*"], "keep-tags": ["a"]}, {"repositories": ["**"], "keep-last": 99}]);
    let rules: Vec<retention::RetentionRule> = serde_json::from_value(rules).unwrap();
    let registry = &f.server.registry;
    let tags = |name: &'static str| {
        let f = &f;
        async move { f.get(&format!("/v2/{name}/tags/list")).await.json()["tags"].clone() }
    };
    for dry_run in [true, false] {
        assert_eq!(tags("ci/app").await, json!(["a", "b", "c", "v1"]));
        let expired = retention::apply(&*registry.metadata, &rules, &registry.rules, dry_run).await.unwrap();
        let mut names: Vec<_> = expired.iter().map(|one| one.tag.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["b", "c"]);
    }
    assert_eq!(tags("ci/app").await, json!(["a", "v1"]));
    assert_eq!(tags("other").await, json!(["a", "b", "c", "v1"]));
}

#[tokio::test]
async fn webhooks_are_told_signed_and_again_after_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (posts, mut posted) = unbounded_channel();
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((stream, _)) = listener.accept().await {
            // The first connection is refused an answer.
            if std::mem::take(&mut first) {
                continue;
            }
            let posts = posts.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let posts = posts.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    posts.send((head.headers, body)).unwrap();
                    Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let hook = json!({"url": url, "repositories": ["team/*"], "actions": ["push"], "secret": "s"});
    let f = Fixture::configured(json!({"webhooks": [hook]})).await;
    f.push_image("other", "v1", "layer").await;
    let digest = f.push_image("team/app", "v1", "layer").await;
    let mut events: Vec<Value> = Vec::new();
    while events.len() < 3 {
        let (headers, body) = posted.recv().await.unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s");
        let signature = format!("sha256={}", hex::encode(ring::hmac::sign(&key, &body)));
        assert_eq!(headers["x-dray-signature"], signature.as_str());
        assert_eq!(headers["content-type"], "application/vnd.docker.distribution.events.v2+json");
        let envelope: Value = serde_json::from_slice(&body).unwrap();
        events.extend(envelope["events"].as_array().unwrap().clone());
    }
    assert!(
        events.iter().all(|event| event["target"]["repository"] == "team/app" && event["action"] == "push")
    );
    let last = events.last().unwrap();
    assert_eq!((&last["target"]["digest"], &last["target"]["tag"]), (&json!(digest), &json!("v1")));
}

#[tokio::test]
async fn an_address_that_is_none_is_named() {
    let error = crate::report::Hooks::start(&[serde_json::from_value(json!({"url": "nonsense"})).unwrap()]);
    assert_eq!(error.err().unwrap().to_string(), "webhook \"nonsense\" is no http or https URL");
}
