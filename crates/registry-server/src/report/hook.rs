//! Webhooks: what happened is posted to others, in the envelope of docker-registry's notifications
//! (`application/vnd.docker.distribution.events.v2+json`), so that what understands that understands this.
//!
//! Each address has a queue and a task of its own. A post that fails is tried again with pauses that double; while an
//! address is away, what happens waits, up to a bound: what is beyond it is lost, and the log says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Event;
use crate::name::{Repository, UploadId};
use crate::pattern::Pattern;

const MEDIA_TYPE: &str = "application/vnd.docker.distribution.events.v2+json";
/// Events that wait for an address.
const WAITING: usize = 10_000;
/// Events of one post.
const BATCH: usize = 100;
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An address that is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookRule {
    /// Where to post.
    pub url: String,
    /// Of which repositories; all, if there are none.
    #[serde(default)]
    pub repositories: Vec<Pattern>,
    /// What: `pull`, `push`, `mount`, `delete`; the last three, if there are none.
    #[serde(default)]
    pub actions: Vec<String>,
    /// Signs each post: `X-Dray-Signature: sha256=<HMAC of the body>`.
    #[serde(default)]
    pub secret: Option<String>,
}

/// Why there are no webhooks.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// An address that is none.
    #[error("webhook {0:?} is no http or https URL")]
    Address(String),
    /// No certificate authorities.
    #[error("webhooks: read the host's certificate authorities: {0}")]
    Authorities(std::io::Error),
}

type Post = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// All addresses.
pub struct Hooks(Vec<Hook>);

struct Hook {
    rule: WebhookRule,
    queue: Sender<Value>,
    lost: Arc<AtomicU64>,
}

impl Hooks {
    /// Starts their tasks.
    ///
    /// # Errors
    /// [`HookError`].
    pub fn start(rules: &[WebhookRule]) -> Result<Self, HookError> {
        let mut hooks = Vec::new();
        for rule in rules {
            let usable = rule
                .url
                .parse::<http::Uri>()
                .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
            if !usable {
                return Err(HookError::Address(rule.url.clone()));
            }
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            let provider = rustls::crypto::ring::default_provider();
            let tls = hyper_rustls::HttpsConnectorBuilder::new().with_provider_and_native_roots(provider);
            let https =
                tls.map_err(HookError::Authorities)?.https_or_http().enable_http1().wrap_connector(tcp);
            let client = Client::builder(TokioExecutor::new()).build(https);
            let (queue, events) = channel(WAITING);
            tokio::spawn(post_until_closed(client, rule.clone(), events));
            hooks.push(Hook { rule: rule.clone(), queue, lost: Arc::default() });
        }
        Ok(Self(hooks))
    }

    /// Tells those who want to know.
    pub(super) fn tell(&self, event: &Event<'_>) {
        let mut envelope = None;
        for hook in self.0.iter().filter(|hook| hook.rule.wants(event)) {
            let envelope = envelope.get_or_insert_with(|| notification(event));
            if hook.queue.try_send(envelope.clone()).is_err() {
                let lost = hook.lost.fetch_add(1, Ordering::Relaxed) + 1;
                if lost.is_power_of_two() {
                    tracing::error!(url = hook.rule.url, lost, "events for a webhook are lost");
                }
            }
        }
    }
}

impl WebhookRule {
    fn wants(&self, event: &Event<'_>) -> bool {
        let action = match self.actions.is_empty() {
            true => matches!(event.action, "push" | "mount" | "delete"),
            false => self.actions.iter().any(|action| action == event.action),
        };
        let repository =
            self.repositories.is_empty() || self.repositories.iter().any(|p| p.fits(event.repository));
        action && repository && Repository::parse(event.repository).is_some()
    }
}

fn notification(event: &Event<'_>) -> Value {
    let mut target = json!({
        "mediaType": event.media_type, "digest": event.digest, "repository": event.repository,
        "size": event.size, "length": event.size,
    });
    if let Some(tag) = event.tags.first() {
        target["tag"] = json!(tag);
    }
    if let Some(from) = event.from_repository {
        target["fromRepository"] = json!(from);
    }
    json!({
        "id": UploadId::random().as_str(),
        "timestamp": jiff::Timestamp::now().to_string(),
        "action": event.action,
        "target": target,
        "request": { "addr": event.address, "useragent": event.user_agent },
        "actor": { "name": event.actor },
        "source": {},
    })
}

async fn post_until_closed(client: Post, rule: WebhookRule, mut events: Receiver<Value>) {
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, BATCH).await > 0 {
        let body = Bytes::from(json!({ "events": std::mem::take(&mut batch) }).to_string());
        let mut pause = FIRST_PAUSE;
        while let Err(problem) = post(&client, &rule, body.clone()).await {
            tracing::warn!(url = rule.url, problem, "webhook failed; it is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn post(client: &Post, rule: &WebhookRule, body: Bytes) -> Result<(), String> {
    let mut request =
        Request::builder().method(Method::POST).uri(&rule.url).header(header::CONTENT_TYPE, MEDIA_TYPE);
    if let Some(secret) = &rule.secret {
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &body);
        request = request.header("x-dray-signature", format!("sha256={}", hex::encode(signature)));
    }
    let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(ANSWER_LIMIT, client.request(request)).await;
    let answer = answer.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(status.to_string()),
    }
}
