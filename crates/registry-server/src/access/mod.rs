//! Who may do what.
//!
//! ```text
//! Authorization: Basic  ── htpasswd (bcrypt) ─► User        ─┐
//!                       └─ robot accounts ────► Robot        ├─► allows(repository, action)?
//!                Bearer ── signature, times ──► Token        │
//!                none ────────────────────────► Anonymous   ─┘
//! GET/POST /token: the same check, and a token for what is asked for and allowed
//! ```
//! Without any accounts configured the registry is open: everybody may do everything.

mod grant;
mod htpasswd;
mod issuer;
mod token;

use std::sync::Arc;

use base64::Engine as _;
use http::header;
use http::request::Parts;
use ring::digest::{SHA256, digest};
use ring::hmac;
use serde::Deserialize;

use crate::api::{Link, Problem, now};
use crate::metadata::{self, Metadata, Millis, Robot};
use crate::name::{Repository, random_bytes};
use crate::pattern::Pattern;

pub use grant::{Action, Grant};
pub use htpasswd::{Htpasswd, HtpasswdError};
pub(crate) use issuer::issue;
use token::{Claims, Purpose, Signer};

/// How clients are asked to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Challenge {
    /// A token of our own issuer: anonymous clients get one too, so that some of the registry can be public.
    #[default]
    Token,
    /// User and password with each request.
    Basic,
}

/// A rule that lets some do something.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// Users by name; `@anonymous` for those without a name, `@users` for all with one.
    pub users: Vec<String>,
    /// Repositories.
    pub repositories: Vec<Pattern>,
    /// What they may do.
    pub actions: Vec<Action>,
}

/// What access is decided by.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether everybody may do everything.
    pub open: bool,
    /// Rules; without any, users may do everything.
    pub rules: Vec<AccessRule>,
    /// Whether everybody may pull.
    pub anonymous_pull: bool,
    /// How clients are asked to log in.
    pub challenge: Challenge,
    /// The registry's address as clients see it, where `Host` does not say it.
    pub public_url: Option<String>,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody we know.
    Anonymous,
    /// A user of the password file.
    User(String),
    /// A program's account.
    Robot {
        /// Its name.
        name: String,
        /// What it may do.
        grants: Vec<Grant>,
        /// When its secret ends.
        ends: Millis,
    },
    /// Somebody with a token of ours.
    Token {
        /// Who it was given to; empty for nobody.
        subject: String,
        /// What for.
        grants: Vec<Grant>,
        /// Whether that is a robot account.
        robot: bool,
    },
}

impl Principal {
    /// The name, for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::User(name) | Self::Robot { name, .. } => name,
            Self::Token { subject, .. } => subject,
        }
    }

    /// When the account ends, if it does.
    #[must_use]
    pub fn ends(&self) -> Option<Millis> {
        match self {
            Self::Robot { ends, .. } => Some(*ends),
            _ => None,
        }
    }
}

/// What a request must be allowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// To know that the registry is there.
    Root,
    /// To list repositories.
    Catalog,
    /// To do something to a repository.
    Repository(Repository, Action),
    /// To push to the first, and to mount from the second if that may be pulled from.
    Mount(Repository, Repository),
}

impl Need {
    fn scope(&self) -> Option<String> {
        match self {
            Self::Root => None,
            Self::Catalog => Some("registry:catalog:*".into()),
            Self::Repository(name, Action::Push) => Some(format!("repository:{name}:pull,push")),
            Self::Repository(name, action) => Some(format!("repository:{name}:{}", action.as_str())),
            Self::Mount(to, from) => Some(format!("repository:{to}:pull,push repository:{from}:pull")),
        }
    }
}

/// Decides.
pub struct Access {
    policy: Policy,
    htpasswd: Option<Htpasswd>,
    metadata: Arc<dyn Metadata>,
    signer: Signer,
}

impl Access {
    /// Puts it together; the key of the tokens is one for all instances that share the metadata.
    ///
    /// # Errors
    /// If the metadata fail.
    pub async fn new(
        policy: Policy,
        htpasswd: Option<Htpasswd>,
        metadata: Arc<dyn Metadata>,
    ) -> metadata::Result<Self> {
        let key = metadata.shared("token-key", &random_bytes::<32>()).await?;
        let signer = Signer::new(hmac::Key::new(hmac::HMAC_SHA256, &key));
        Ok(Self { policy, htpasswd, metadata, signer })
    }

    /// Finds out who sent a request and whether they may.
    pub(crate) async fn authorize(
        &self,
        head: &Parts,
        link: &Link,
        need: Option<&Need>,
    ) -> Result<Principal, Problem> {
        if self.policy.open {
            return Ok(Principal::Anonymous);
        }
        let refused = |error| Problem::Unauthorized {
            challenge: self.challenge(head, link, need, error),
            wanted: need.and_then(Need::scope).unwrap_or_default(),
        };
        let who = self.identify(head).await?.ok_or_else(|| refused(Some("invalid_token")))?;
        let Some(need) = need else { return Ok(who) };
        let allowed = match need {
            // A client that is let in here would never send its credentials.
            Need::Root => who != Principal::Anonymous,
            Need::Catalog => match &who {
                Principal::Token { grants, .. } => grants.iter().any(Grant::is_catalog),
                other => *other != Principal::Anonymous || self.policy.anonymous_pull,
            },
            Need::Repository(name, action) => self.allows(&who, name, *action),
            // Who could have had a token for both is asked to come with it, since without there would be no mount.
            Need::Mount(to, from) => {
                let both = self.allows(&who, from, Action::Pull) || !self.may_pull(&who, from);
                self.allows(&who, to, Action::Push) && both
            }
        };
        match (&who, allowed) {
            (_, true) => Ok(who),
            (Principal::Anonymous, false) => Err(refused(None)),
            (Principal::Token { .. }, false) => Err(refused(Some("insufficient_scope"))),
            (_, false) => Err(Problem::Denied(need.scope().unwrap_or_default())),
        }
    }

    /// Lets in whoever has an account.
    pub(crate) async fn authorize_operator(&self, head: &Parts, link: &Link) -> Result<(), Problem> {
        if self.policy.open {
            return Ok(());
        }
        match self.identify(head).await? {
            Some(Principal::User(_)) => Ok(()),
            _ => Err(Problem::Unauthorized {
                challenge: format!("Basic realm=\"{}\"", self.service(head)),
                wanted: link.peer.ip().to_string(),
            }),
        }
    }

    /// Whether somebody may do something to a repository.
    pub(crate) fn allows(&self, who: &Principal, repository: &Repository, action: Action) -> bool {
        if self.policy.open {
            return true;
        }
        match who {
            Principal::Token { grants, .. } | Principal::Robot { grants, .. } => {
                grants.iter().any(|grant| grant.allows(repository, action))
            }
            Principal::User(name) => self.rules_allow(Some(name), repository, action),
            Principal::Anonymous => self.rules_allow(None, repository, action),
        }
    }

    /// Whether somebody could get leave to pull from a repository: a token for something else is no hindrance, if who
    /// it was given to may.
    pub(crate) fn may_pull(&self, who: &Principal, repository: &Repository) -> bool {
        let could = match who {
            // A robot may do what its account says, whoever else is called like it.
            Principal::Token { robot: true, .. } => false,
            Principal::Token { subject, .. } if subject.is_empty() => {
                self.rules_allow(None, repository, Action::Pull)
            }
            Principal::Token { subject, .. } => {
                let known = self.htpasswd.as_ref().is_some_and(|htpasswd| htpasswd.knows(subject));
                known && self.rules_allow(Some(subject), repository, Action::Pull)
            }
            _ => false,
        };
        could || self.allows(who, repository, Action::Pull)
    }

    fn rules_allow(&self, user: Option<&str>, repository: &Repository, action: Action) -> bool {
        if action == Action::Pull && self.policy.anonymous_pull {
            return true;
        }
        if self.policy.rules.is_empty() {
            return user.is_some();
        }
        let meant = |name: &String| match (name.as_str(), user) {
            ("@anonymous", _) => true,
            ("@users", user) => user.is_some(),
            (name, user) => user == Some(name),
        };
        self.policy.rules.iter().any(|rule| {
            rule.actions.contains(&action)
                && rule.users.iter().any(meant)
                && rule.repositories.iter().any(|pattern| pattern.fits(repository.as_str()))
        })
    }

    /// Who sent a request; nothing if they are not who they say.
    async fn identify(&self, head: &Parts) -> Result<Option<Principal>, Problem> {
        let Some(value) = head.headers.get(header::AUTHORIZATION) else {
            return Ok(Some(Principal::Anonymous));
        };
        let Ok(text) = value.to_str() else { return Ok(None) };
        let Some((scheme, rest)) = text.split_once(' ') else { return Ok(None) };
        if scheme.eq_ignore_ascii_case("bearer") {
            let claims = self.signer.verify(rest.trim(), Purpose::Access, now());
            return Ok(claims.map(|claims| Principal::Token {
                subject: claims.sub,
                grants: claims.access,
                robot: claims.robot,
            }));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Ok(None);
        }
        match credentials(rest.trim()) {
            Some((user, password)) => self.log_in(&user, &password).await,
            None => Ok(None),
        }
    }

    /// Checks a name and its password or secret.
    async fn log_in(&self, user: &str, password: &str) -> Result<Option<Principal>, Problem> {
        if let Some(robot) = self.metadata.robot(user).await? {
            return Ok(robot_principal(&robot, password));
        }
        let Some(htpasswd) = &self.htpasswd else { return Ok(None) };
        let right = htpasswd.verify(user, password).await?;
        Ok(right.then(|| Principal::User(user.to_owned())))
    }

    fn challenge(&self, head: &Parts, link: &Link, need: Option<&Need>, error: Option<&str>) -> String {
        let service = self.service(head);
        if self.policy.challenge == Challenge::Basic {
            return format!("Basic realm=\"{service}\"");
        }
        let mut text = format!("Bearer realm=\"{}/token\",service=\"{service}\"", self.base(head, link));
        if let Some(scope) = need.and_then(Need::scope) {
            text += &format!(",scope=\"{scope}\"");
        }
        if let Some(error) = error {
            text += &format!(",error=\"{error}\"");
        }
        text
    }

    /// The address at which the client reaches us.
    fn base(&self, head: &Parts, link: &Link) -> String {
        if let Some(url) = &self.policy.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let scheme = if link.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.service(head))
    }

    /// The host that the client says it means, as far as it is one.
    fn service(&self, head: &Parts) -> String {
        if let Some(url) = &self.policy.public_url {
            return url.split("://").last().unwrap_or_default().trim_end_matches('/').to_owned();
        }
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host =
            host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default();
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]_".contains(&byte));
        if plain { host.to_owned() } else { String::new() }
    }

    fn grants_for(&self, who: &Principal, wanted: &[Grant]) -> Vec<Grant> {
        let mut given = Vec::new();
        for grant in wanted {
            if grant.is_catalog() {
                if *who != Principal::Anonymous {
                    given.push(grant.clone());
                }
                continue;
            }
            let Some(repository) = grant.repository() else { continue };
            let allowed = |action: &Action| self.allows(who, &repository, *action);
            let actions: Vec<Action> = grant.actions().into_iter().filter(allowed).collect();
            if !actions.is_empty() {
                given.push(Grant::exactly(&repository, &actions));
            }
        }
        given
    }

    fn sign(&self, claims: &Claims) -> String {
        self.signer.sign(claims)
    }
}

/// User and password of `Authorization: Basic`.
fn credentials(encoded: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// Digests are compared, not secrets: how far they agree tells nobody anything.
fn robot_principal(robot: &Robot, secret: &str) -> Option<Principal> {
    let given = digest(&SHA256, secret.as_bytes());
    let same = given.as_ref() == robot.secret;
    (same && robot.expires > now()).then(|| Principal::Robot {
        name: robot.name.clone(),
        grants: Grant::list(&robot.scopes),
        ends: robot.expires,
    })
}

/// A new robot account and its secret, which is shown once.
#[must_use]
pub fn new_robot(name: &str, scopes: &str, expires: Millis) -> (Robot, String) {
    let secret = format!("dray_{}", hex::encode(random_bytes::<32>()));
    let robot = Robot {
        name: name.to_owned(),
        secret: digest(&SHA256, secret.as_bytes()).as_ref().to_vec(),
        scopes: scopes.to_owned(),
        created: now(),
        expires,
    };
    (robot, secret)
}
