//! TLS of a host: which authorities are trusted, and which certificate proves who we are.

use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;
use crate::hosts::TlsSettings;

/// The TLS configuration for a host: the machine's authorities, `ca_certs` (PEM bundles) and the host's own.
pub(crate) fn tls(ca_certs: &[Vec<u8>], settings: &TlsSettings) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(invalid)?;
    let verified = if settings.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.as_ref().clone())))
    } else {
        builder.with_root_certificates(authorities(ca_certs, settings)?)
    };
    if settings.client.is_empty() {
        return Ok(verified.with_no_client_auth());
    }
    let certified = settings.client.iter().map(|(chain, key)| certified(chain, key, &provider));
    let certificates = ClientCertificates(certified.collect::<Result<_, _>>()?);
    Ok(verified.with_client_cert_resolver(Arc::new(certificates)))
}

/// TLS of a client that is no registry's: verified against the machine's authorities, or not verified at all.
///
/// # Errors
/// If the configuration cannot be made.
pub fn client_tls(verified: bool) -> Result<rustls::ClientConfig, Error> {
    tls(&[], &TlsSettings { skip_verify: !verified, ..TlsSettings::default() })
}

fn authorities(ca_certs: &[Vec<u8>], settings: &TlsSettings) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "certificate authorities of the host");
    }
    roots.add_parsable_certificates(native.certs);
    let bundles = ca_certs.iter().map(Vec::as_slice);
    add_authorities(&mut roots, bundles.chain(settings.authorities.iter().map(AsRef::as_ref)))?;
    Ok(roots)
}

fn add_authorities<'a>(
    roots: &mut RootCertStore,
    bundles: impl Iterator<Item = &'a [u8]>,
) -> Result<(), Error> {
    for bundle in bundles {
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            roots.add(certificate.map_err(invalid)?).map_err(invalid)?;
        }
    }
    Ok(())
}

/// Refuses bundles which can't be read, before they are needed.
pub(crate) fn check_authorities(bundles: &[Vec<u8>]) -> Result<(), Error> {
    add_authorities(&mut RootCertStore::empty(), bundles.iter().map(Vec::as_slice))
}

fn certified(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(invalid)?;
    if chain.is_empty() {
        return Err(invalid("client certificate: no certificate in the file"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| invalid(format!("client key: {e}")))?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(invalid)
}

fn invalid(problem: impl std::fmt::Display) -> Error {
    Error::InvalidCertificate(problem.to_string())
}

/// The first of our certificates whose key can make a signature that the server takes.
#[derive(Debug)]
struct ClientCertificates(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientCertificates {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|certified| certified.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts any certificate but still checks the handshake's signatures.
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
