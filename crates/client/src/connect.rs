//! Opens connections to the daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::endpoint::{Endpoint, Host};
use crate::error::Error;

/// TLS files and whether the server's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authority that signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// The client's key.
    pub key: Option<PathBuf>,
    /// Whether the server must prove itself.
    pub verify: bool,
}

/// A connection, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the endpoint.
///
/// # Errors
/// Nothing listens, access is denied, a TLS file cannot be used, the handshake fails.
pub async fn connect(endpoint: &Endpoint) -> Result<Box<dyn Stream>, Error> {
    match &endpoint.host {
        Host::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|e| failure(endpoint, e))?;
            Ok(Box::new(stream))
        }
        Host::Ssh(ssh) => Ok(Box::new(ssh.connect(&endpoint.text)?)),
        Host::Tcp { name, port } => {
            let stream =
                TcpStream::connect((name.as_str(), *port)).await.map_err(|e| failure(endpoint, e))?;
            stream.set_nodelay(true).map_err(|e| failure(endpoint, e))?;
            let Some(tls) = &endpoint.tls else { return Ok(Box::new(stream)) };
            let config = tls_config(tls)?;
            let server =
                ServerName::try_from(name.clone()).map_err(|_| Error::Host(endpoint.text.clone()))?;
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
                .connect(server, stream)
                .await
                .map_err(|source| Error::Connect { host: endpoint.text.clone(), source })?;
            Ok(Box::new(stream))
        }
    }
}

/// Sorts a failed connect.
pub fn failure(endpoint: &Endpoint, source: io::Error) -> Error {
    let host = endpoint.text.clone();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NoDaemon { host, source },
        io::ErrorKind::PermissionDenied => Error::Denied { host },
        _ => Error::Connect { host, source },
    }
}

fn broken(path: &Path) -> impl Fn(rustls::pki_types::pem::Error) -> Error {
    let path = path.display().to_string();
    move |e| Error::Tls { path: path.clone(), what: e.to_string() }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_file_iter(path).map_err(broken(path))?.collect::<Result<_, _>>().map_err(broken(path))
}

fn tls_config(tls: &Tls) -> Result<rustls::ClientConfig, Error> {
    let refused =
        |path: &Path, e: rustls::Error| Error::Tls { path: path.display().to_string(), what: e.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(Path::new("(provider)"), e))?;
    let builder = if tls.verify {
        let mut roots = rustls::RootCertStore::empty();
        let path = tls.ca.as_deref().unwrap_or(Path::new("ca.pem"));
        for cert in certificates(path)? {
            roots.add(cert).map_err(|e| refused(path, e))?;
        }
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    };
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(builder.with_no_client_auth()) };
    if !tls.verify && !cert.exists() {
        return Ok(builder.with_no_client_auth());
    }
    let chain = certificates(cert)?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(broken(key))?;
    builder.with_client_auth_cert(chain, key_der).map_err(|e| refused(cert, e))
}

/// Accepts any certificate: `--tls` without `--tlsverify`, as the user asked.
#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
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
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
