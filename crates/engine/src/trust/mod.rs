//! The host's certificate authorities for containers and build steps (`--trust-host-ca`).
//!
//! They are lent at run time: a read-only mount of the host's bundle and the variables that the usual
//! programs look at. Nothing of it is written into a layer or an image's configuration.

use std::path::{Path, PathBuf};

/// Where the bundle is seen in a container.
pub const BUNDLE: &str = "/run/dray/host-ca.crt";

/// Variables that name a bundle of certificates.
const VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "NIX_SSL_CERT_FILE",
];

/// Where hosts keep their bundle, by distribution.
const HOST_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The host's bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTrust {
    bundle: PathBuf,
}

impl HostTrust {
    /// The bundle of this host, if it has one where hosts have it.
    pub fn detect() -> Option<Self> {
        HOST_BUNDLES.iter().map(Path::new).find(|path| path.is_file()).map(Self::new)
    }

    /// This bundle.
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self { bundle: bundle.into() }
    }

    /// The variables to set where the program's own environment does not.
    pub fn env(&self) -> Vec<String> {
        VARIABLES.iter().map(|name| format!("{name}={BUNDLE}")).collect()
    }

    /// The read-only mounts to make: source on the host, destination in the container.
    pub fn mounts(&self) -> Vec<(PathBuf, String)> {
        vec![(self.bundle.clone(), BUNDLE.to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_point_at_the_mount() {
        let trust = HostTrust::new("/etc/ssl/certs/ca-certificates.crt");
        assert!(trust.env().contains(&format!("SSL_CERT_FILE={BUNDLE}")));
        assert!(trust.env().contains(&format!("NODE_EXTRA_CA_CERTS={BUNDLE}")));
        assert_eq!(
            trust.mounts(),
            [(PathBuf::from("/etc/ssl/certs/ca-certificates.crt"), BUNDLE.to_owned())]
        );
    }
}
