//! The registry's certificate, read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or not PEM.
    #[error("TLS: read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or the certificate is no good.
    #[error("TLS: certificate {} with key {}: {source}", cert.display(), key.display())]
    Certificate {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// A certificate that may change.
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<(Arc<ServerConfig>, Stamp)>,
}

type Stamp = [Option<SystemTime>; 2];

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub(crate) fn open(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let stamp = stamp(&cert, &key);
        let current = RwLock::new((read(&cert, &key)?, stamp));
        Ok(Self { cert, key, current })
    }

    /// What the next connection is accepted with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone())
    }

    /// Reads the files again if they have changed. Files that do not fit leave all as it was: they may be in the
    /// middle of being replaced.
    pub(crate) fn refresh(&self) {
        let stamp = stamp(&self.cert, &self.key);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).1 == stamp {
            return;
        }
        match read(&self.cert, &self.key) {
            Ok(config) => {
                tracing::info!(certificate = %self.cert.display(), "TLS certificate read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = (config, stamp);
            }
            Err(error) => tracing::warn!(%error, "the TLS certificate is kept as it was"),
        }
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unread = |path: &Path, source| TlsError::Read { path: path.to_path_buf(), source };
    let chain = CertificateDer::pem_file_iter(cert).map_err(|source| unread(cert, source))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|source| unread(cert, source))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| unread(key, source))?;
    let failed = |source| TlsError::Certificate { cert: cert.to_path_buf(), key: key.to_path_buf(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(failed)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, private).map_err(failed)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
