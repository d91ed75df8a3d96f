//! Who may do what, over the wire: passwords, tokens, robots, rules.

use base64::Engine as _;
use http::Method;
use serde_json::{Value, json};

use super::fixture::{Answer, Fixture};
use crate::access::new_robot;
use crate::api::now;

/// A server with users `ann` and `bob`, whose passwords are their names.
async fn with_users(mut config: Value) -> Fixture {
    let root = tempfile::tempdir().unwrap();
    let line = |user: &str| format!("{user}:{}\n", bcrypt::hash(user, 4).unwrap());
    std::fs::write(root.path().join("htpasswd"), line("ann") + &line("bob")).unwrap();
    config["htpasswd"] = json!(root.path().join("htpasswd"));
    config["audit-log"] = json!(root.path().join("audit"));
    Fixture::at(root, config).await
}

fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

async fn as_user(f: &Fixture, user: &str, method: Method, path: &str) -> Answer {
    f.request(method, path, &[("authorization", &basic(user, user))], "").await
}

async fn token(f: &Fixture, user: Option<&str>, scope: &str) -> String {
    let path = format!("/token?service=x&scope={scope}");
    let answer = match user {
        Some(user) => as_user(f, user, Method::GET, &path).await,
        None => f.get(&path).await,
    };
    answer.expect(200).json()["token"].as_str().unwrap().to_owned()
}

async fn with_token(f: &Fixture, token: &str, method: Method, path: &str) -> Answer {
    f.request(method, path, &[("authorization", &format!("Bearer {token}"))], "").await
}

#[tokio::test]
async fn a_stranger_is_told_where_to_log_in() {
    let f = with_users(json!({})).await;
    let answer = f.get("/v2/").await.refused(401, "UNAUTHORIZED");
    let realm = format!("Bearer realm=\"http://{0}/token\",service=\"{0}\"", f.address);
    assert_eq!(answer.header("www-authenticate"), realm);
    let answer =
        f.request(Method::POST, "/v2/a/b/blobs/uploads/", &[], "").await.refused(401, "UNAUTHORIZED");
    assert_eq!(answer.header("www-authenticate"), format!("{realm},scope=\"repository:a/b:pull,push\""));
    let evil = f.request(Method::GET, "/v2/", &[("host", "a\",scope=\"x")], "").await.expect(401);
    assert!(!evil.header("www-authenticate").contains("scope"), "{}", evil.header("www-authenticate"));
    let basic = with_users(json!({"challenge": "basic"})).await;
    let answer = basic.get("/v2/").await.expect(401);
    assert_eq!(answer.header("www-authenticate"), format!("Basic realm=\"{}\"", basic.address));
}

#[tokio::test]
async fn passwords_open_and_wrong_ones_do_not() {
    let f = with_users(json!({})).await;
    as_user(&f, "ann", Method::GET, "/v2/").await.expect(200);
    as_user(&f, "ann", Method::POST, "/v2/a/blobs/uploads/").await.expect(202);
    for bad in [
        basic("ann", "wrong"),
        basic("nobody", "x"),
        "Basic !!!".into(),
        "Nonsense x".into(),
        "Bearer x".into(),
    ] {
        let answer = f.request(Method::GET, "/v2/", &[("authorization", &bad)], "").await;
        answer.refused(401, "UNAUTHORIZED");
    }
    f.get("/metrics").await.expect(401);
    as_user(&f, "ann", Method::GET, "/metrics").await.expect(200);
    f.get("/livez").await.expect(200);
}

#[tokio::test]
async fn tokens_hold_what_is_allowed_and_no_more() {
    let f = with_users(json!({"access": [
        {"users": ["ann"], "repositories": ["**"], "actions": ["pull", "push", "delete"]},
        {"users": ["@users"], "repositories": ["team/*"], "actions": ["pull", "push"]},
        {"users": ["@anonymous"], "repositories": ["public/*"], "actions": ["pull"]},
    ]}))
    .await;
    let push = |repository: &str| format!("/v2/{repository}/blobs/uploads/");
    let both = token(&f, Some("bob"), "repository:team/a:pull,push,delete").await;
    with_token(&f, &both, Method::POST, &push("team/a")).await.expect(202);
    with_token(&f, &both, Method::GET, "/v2/team/a/tags/list").await.expect(404);
    with_token(&f, &both, Method::DELETE, "/v2/team/a/manifests/x").await.refused(401, "UNAUTHORIZED");
    let answer = with_token(&f, &both, Method::POST, &push("team/b")).await.refused(401, "UNAUTHORIZED");
    assert!(answer.header("www-authenticate").ends_with(",error=\"insufficient_scope\""));
    let none = token(&f, Some("bob"), "repository:secret/a:pull").await;
    with_token(&f, &none, Method::GET, "/v2/secret/a/tags/list").await.expect(401);
    let all = token(&f, Some("ann"), "repository:secret/a:*").await;
    with_token(&f, &all, Method::DELETE, "/v2/secret/a/manifests/x").await.expect(404);
    let anonymous = token(&f, None, "repository:public/a:pull,push").await;
    with_token(&f, &anonymous, Method::GET, "/v2/public/a/tags/list").await.expect(404);
    with_token(&f, &anonymous, Method::POST, &push("public/a")).await.expect(401);
    // Without tokens the same rules hold.
    as_user(&f, "bob", Method::POST, &push("secret/a")).await.refused(403, "DENIED");
    f.get("/v2/public/a/tags/list").await.expect(404);
    // A token is no way to another token.
    let path = "/token?scope=repository:secret/a:pull";
    with_token(&f, &all, Method::GET, path).await.expect(401);
}

#[tokio::test]
async fn a_refresh_token_stands_for_the_password() {
    let f = with_users(json!({})).await;
    let form = "grant_type=password&access_type=offline&service=x&client_id=docker&username=ann&password=ann";
    let answer = f.request(Method::POST, "/token", &[], form).await.expect(200).json();
    let refresh = answer["refresh_token"].as_str().unwrap().to_owned();
    let form = format!("grant_type=refresh_token&service=x&scope=repository:a:push&refresh_token={refresh}");
    let answer = f.request(Method::POST, "/token", &[], form.clone()).await.expect(200).json();
    let access = answer["access_token"].as_str().unwrap();
    with_token(&f, access, Method::POST, "/v2/a/blobs/uploads/").await.expect(202);
    with_token(&f, &refresh, Method::GET, "/v2/").await.refused(401, "UNAUTHORIZED");
    let form = "grant_type=password&username=ann&password=wrong";
    f.request(Method::POST, "/token", &[], form).await.expect(401);
    let form = format!("grant_type=refresh_token&refresh_token={access}");
    f.request(Method::POST, "/token", &[], form).await.expect(401);
    f.request(Method::POST, "/token", &[], "x".repeat(100_000)).await.expect(400);
}

#[tokio::test]
async fn a_refresh_token_ends_with_the_password() {
    let f = with_users(json!({})).await;
    let form = "grant_type=password&access_type=offline&username=ann&password=ann";
    let answer = f.request(Method::POST, "/token", &[], form).await.expect(200).json();
    let form =
        format!("grant_type=refresh_token&refresh_token={}", answer["refresh_token"].as_str().unwrap());
    f.request(Method::POST, "/token", &[], form.clone()).await.expect(200);
    let file = f.root.path().join("htpasswd");
    std::fs::write(&file, format!("ann:{}\n", bcrypt::hash("new", 4).unwrap())).unwrap();
    // The file is looked at now and then.
    let mut tries = 0;
    while f.request(Method::POST, "/token", &[], form.clone()).await.status != 401 {
        tries += 1;
        assert!(tries < 300, "the old password's token is still good");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_robot_called_like_a_user_may_not_what_the_user_may() {
    let f = with_users(json!({})).await;
    let digest = dray_spec::Digest::sha256_of(b"secret");
    let path = format!("/v2/secret/blobs/uploads/?digest={digest}");
    f.request(Method::POST, &path, &[("authorization", &basic("ann", "ann"))], "secret").await.expect(201);
    let (robot, secret) = new_robot("ann", "repository:team/*:pull,push", now() + 60_000);
    f.server.registry.metadata.put_robot(&robot).await.unwrap();
    let login = [("authorization", basic("ann", &secret))];
    let login = [(login[0].0, login[0].1.as_str())];
    let answer = f.request(Method::GET, "/token?scope=repository:team/a:pull,push", &login, "").await;
    let answer = answer.expect(200).json();
    assert!(answer["expires_in"].as_i64().unwrap() <= 60, "it ends with the account: {answer}");
    let token = answer["token"].as_str().unwrap();
    let mount = format!("/v2/team/a/blobs/uploads/?mount={digest}");
    with_token(&f, token, Method::POST, &mount).await.expect(202);
    with_token(&f, token, Method::GET, &format!("/v2/team/a/blobs/{digest}")).await.expect(404);
}

#[tokio::test]
async fn robots_have_their_scopes_until_they_end() {
    let f = with_users(json!({})).await;
    let metadata = &f.server.registry.metadata;
    let (robot, secret) = new_robot("ci", "repository:team/*:pull,push", now() + 60_000);
    metadata.put_robot(&robot).await.unwrap();
    let (ended, late) = new_robot("old", "repository:**:*", now() - 1);
    metadata.put_robot(&ended).await.unwrap();
    let send = |user: &'static str, secret: String, method: Method, path: &'static str| {
        let f = &f;
        async move { f.request(method, path, &[("authorization", &basic(user, &secret))], "").await }
    };
    let answer = send("ci", secret.clone(), Method::POST, "/v2/team/a/blobs/uploads/").await.expect(202);
    assert!(answer.header("warning").contains("ends in 0 hours"), "{}", answer.header("warning"));
    send("ci", secret.clone(), Method::POST, "/v2/other/blobs/uploads/").await.refused(403, "DENIED");
    send("ci", secret.clone(), Method::DELETE, "/v2/team/a/manifests/x").await.refused(403, "DENIED");
    send("ci", "wrong".into(), Method::GET, "/v2/").await.expect(401);
    send("old", late, Method::GET, "/v2/").await.expect(401);
    let answer = send("ci", secret, Method::GET, "/token?scope=repository:team/a:*").await.expect(200).json();
    let token = answer["token"].as_str().unwrap();
    with_token(&f, token, Method::POST, "/v2/team/a/blobs/uploads/").await.expect(202);
    with_token(&f, token, Method::DELETE, "/v2/team/a/manifests/x").await.expect(401);
}

#[tokio::test]
async fn anonymous_clients_may_pull_where_that_is_allowed() {
    let f = with_users(json!({"anonymous-pull": true})).await;
    f.get("/v2/a/tags/list").await.refused(404, "NAME_UNKNOWN");
    f.get("/v2/_catalog").await.expect(200);
    f.request(Method::POST, "/v2/a/blobs/uploads/", &[], "").await.expect(401);
    f.get("/v2/").await.expect(401);
}

#[tokio::test]
async fn lists_and_mounts_show_nothing_that_is_not_allowed() {
    let f = with_users(json!({"access": [
        {"users": ["ann"], "repositories": ["**"], "actions": ["pull", "push"]},
        {"users": ["bob"], "repositories": ["bob/*"], "actions": ["pull", "push"]},
    ]}))
    .await;
    let digest = dray_spec::Digest::sha256_of(b"secret");
    let path = format!("/v2/ann/app/blobs/uploads/?digest={digest}");
    f.request(Method::POST, &path, &[("authorization", &basic("ann", "ann"))], "secret").await.expect(201);
    assert_eq!(
        as_user(&f, "ann", Method::GET, "/v2/_catalog").await.json(),
        json!({"repositories": ["ann/app"]})
    );
    assert_eq!(as_user(&f, "bob", Method::GET, "/v2/_catalog").await.json(), json!({"repositories": []}));
    for from in ["&from=ann/app", ""] {
        let path = format!("/v2/bob/app/blobs/uploads/?mount={digest}{from}");
        as_user(&f, "bob", Method::POST, &path).await.expect(202);
        let path = format!("/v2/ann/more/blobs/uploads/?mount={digest}{from}");
        as_user(&f, "ann", Method::POST, &path).await.expect(201);
    }
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what() {
    let f = with_users(json!({})).await;
    let digest = dray_spec::Digest::sha256_of(b"blob");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    f.request(Method::POST, &path, &[("authorization", &basic("ann", "ann"))], "blob").await.expect(201);
    as_user(&f, "bob", Method::DELETE, &format!("/v2/a/blobs/{digest}")).await.expect(202);
    f.get("/v2/a/tags/list").await.expect(401);
    let log = f.root.path().join("audit");
    let lines = loop {
        let text = std::fs::read_to_string(&log).unwrap();
        if text.lines().count() == 3 {
            break text;
        }
        tokio::task::yield_now().await;
    };
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["actor"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("push", "ann"), ("delete", "bob"), ("refused", "")]);
    assert_eq!((&lines[0]["repository"], &lines[0]["digest"]), (&json!("a"), &json!(digest)));
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
}
