//! The address of a database: `postgres://user:password@host:port/database?sslmode=…`; pure but for the file of
//! authorities.
//!
//! Modes of TLS are libpq's, and mean what they mean there: `disable`; `prefer` (the default) and `require` encrypt
//! without asking who is at the other end; `verify-ca` and `verify-full` trust only a certificate of an authority
//! (`sslrootcert=FILE`, else the host's) for the host's name. `require` with `sslrootcert` verifies too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::metadata::{Error, Result};

/// A server that does not answer for so long is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// What was sent and is not acknowledged for so long is lost: the machine at the other end is gone.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(30);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Where a database is, and how it is spoken to.
pub(super) struct Address {
    /// What the library needs.
    pub(super) config: Config,
    /// For servers that speak TLS.
    pub(super) tls: Arc<rustls::ClientConfig>,
    /// The address without its secrets.
    pub(super) shown: String,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// It is none, or its file of authorities cannot be used.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |problem: String| Error::Address { problem };
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(wrong("it does not begin with postgres://".into()));
        }
        let (front, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut authorities, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => mode = Some(value),
                "sslrootcert" => {
                    let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
                    authorities = Some(decoded.map_err(|error| wrong(format!("sslrootcert: {error}")))?);
                }
                _ => rest.push(pair),
            }
        }
        let plain = format!("{front}?{}", rest.join("&"));
        let mut config: Config = plain.parse().map_err(|error| wrong(explained(&error)))?;
        let verified = match mode.unwrap_or("prefer") {
            "disable" => {
                config.ssl_mode(SslMode::Disable);
                false
            }
            "prefer" => false,
            "require" => {
                config.ssl_mode(SslMode::Require);
                authorities.is_some()
            }
            "verify-ca" | "verify-full" => {
                config.ssl_mode(SslMode::Require);
                true
            }
            other => {
                return Err(wrong(format!(
                    "sslmode {other:?} is none of disable, prefer, require, verify-ca and verify-full"
                )));
            }
        };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("it names no host".into()));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_LIMIT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(ACKNOWLEDGE_LIMIT);
        }
        if config.get_application_name().is_none() {
            config.application_name("dray-registry");
        }
        config.keepalives_idle(KEEPALIVE_IDLE);
        let tls = tls(verified, authorities.as_deref().filter(|file| *file != "system"))?;
        Ok(Self { config, tls: Arc::new(tls), shown: without_secrets(front) })
    }
}

/// An error of the library with what it hides: its display names only the kind.
pub(in crate::metadata) fn explained(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The address with its user but without its password.
fn without_secrets(front: &str) -> String {
    let Some((scheme, rest)) = front.split_once("://") else { return String::new() };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => format!("{}@{host}", user.split(':').next().unwrap_or_default()),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}/{path}")
}

fn tls(verified: bool, authorities: Option<&str>) -> Result<rustls::ClientConfig> {
    let failed = |problem: String| Error::Address { problem };
    let Some(file) = authorities.filter(|_| verified) else {
        return dray_registry::client_tls(verified).map_err(|error| failed(error.to_string()));
    };
    let unusable = |problem: String| failed(format!("sslrootcert {file}: {problem}"));
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(Path::new(file)).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| unusable(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Address::parse(text).err().expect("it is none").to_string()
    }

    #[test]
    fn what_is_no_address_is_named() {
        assert!(problem("mysql://x").ends_with("it does not begin with postgres://"));
        assert!(problem("postgres://u@h/d?sslmode=maybe").contains("sslmode \"maybe\""));
        assert!(problem("postgres://u@h/d?colour=red").contains("colour"));
        assert!(problem("postgres:///d").ends_with("it names no host"));
        assert!(problem("postgres://u@h/d?sslmode=verify-full&sslrootcert=/none").contains("/none"));
    }

    #[test]
    fn modes_mean_what_they_mean_to_libpq() {
        for (mode, expected) in [
            ("", SslMode::Prefer),
            ("?sslmode=disable", SslMode::Disable),
            ("?sslmode=prefer", SslMode::Prefer),
            ("?sslmode=require", SslMode::Require),
            ("?sslmode=verify-full&sslrootcert=system", SslMode::Require),
        ] {
            let address = Address::parse(&format!("postgres://u:p@h:1,g:2/d{mode}")).unwrap();
            assert_eq!(address.config.get_ssl_mode(), expected, "{mode}");
            assert_eq!(address.config.get_ports(), [1, 2]);
        }
    }

    #[test]
    fn what_is_shown_holds_no_password() {
        let shown = |text: &str| Address::parse(text).unwrap().shown;
        assert_eq!(shown("postgres://u:se@cret@h:1/d?sslmode=disable"), "postgres://u@h:1/d");
        assert_eq!(shown("postgresql://%2Frun%2Fpostgresql/d"), "postgresql://%2Frun%2Fpostgresql/d");
        assert_eq!(shown("postgres:///d?host=/run&password=x"), "postgres:///d");
    }
}
