//! Checking credentials, for `POST /auth`.

use http::{Method, StatusCode};

use crate::answer::{challenges, refusal};
use crate::auth::{Auth, TokenRequest, issue};
use crate::challenge::Challenge;
use crate::client::{Client, base_url, host_for};
use crate::error::{Error, Verb, shown};
use crate::transport::{Repeat, Request};

/// What a registry gave for good credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// To be kept instead of the password, where the issuer gives one.
    pub identity_token: Option<String>,
}

impl Client {
    /// Checks `auth` at the registry `server` (a host, or a URL as old clients send it).
    ///
    /// # Errors
    /// If the registry refuses the credentials or can't be reached.
    pub async fn login(&self, server: &str, auth: &Auth) -> Result<Login, Error> {
        let host = self.login_host(&server_host(server)?)?;
        let endpoint = self.endpoint(&host).await?;
        let bearer = endpoint.challenges.iter().find_map(|c| match c {
            Challenge::Bearer(challenge) => Some(challenge),
            Challenge::Basic => None,
        });
        if let (Some(challenge), false) = (bearer, matches!(auth, Auth::RegistryToken(_))) {
            let wanted = TokenRequest {
                challenge,
                scopes: &[],
                auth,
                plain: endpoint.root.scheme() == "http",
                offline: matches!(auth, Auth::Basic { .. }),
                speak: Some((&endpoint.root, &host.settings)),
            };
            let refused = |source| Error::authorization(Verb::of(&Method::GET), &endpoint.root, source);
            let issued = issue(self.transport(), &wanted).await.map_err(refused)?;
            return Ok(Login { identity_token: issued.refresh_token });
        }
        let mut request = Request::new(Method::GET, endpoint.root.clone());
        request.speak_as(&endpoint.root, &host.settings);
        Client::basic_or_none(&mut request, auth);
        let answer = self.transport().send(&request, Repeat::Always).await?;
        match answer.status {
            StatusCode::OK => Ok(Login { identity_token: None }),
            StatusCode::UNAUTHORIZED if !challenges(&answer.headers).is_empty() => {
                Err(Error::LoginRefused { url: shown(&answer.url), status: answer.status })
            }
            _ => Err(refusal(answer).await),
        }
    }
}

/// `https://index.docker.io/v1/`, `host:port`, `http://host` … → the host.
fn server_host(server: &str) -> Result<String, Error> {
    let bare = server.trim().trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    let host = if host.is_empty() { "docker.io" } else { host };
    base_url(&format!("https://{host}/"))?;
    Ok(host_for(host))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn servers_as_clients_send_them() {
        let host = |s: &str| server_host(s).unwrap();
        assert_eq!(host("https://index.docker.io/v1/"), "registry-1.docker.io");
        assert_eq!(host(""), "registry-1.docker.io");
        assert_eq!(host("localhost:5000"), "localhost:5000");
        assert_eq!(host("http://reg.test:80/v2/"), "reg.test:80");
        assert!(server_host("a b").is_err());
    }
}
