//! `certs.d`: authorities and client certificates of a registry, in both forms, and mirrors of `hosts.toml`.

use std::path::Path;
use std::sync::Arc;

use dray_spec::{Reference, media_type};
use rcgen::{CertificateParams, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::client_with;
use super::tls::proxy_to;
use crate::testing::Fixture;
use crate::{Auth, Client, ClientConfig, ProxyConfig};

/// `registry.test` behind TLS that lets in clients only with a certificate of its authority.
struct Guarded {
    proxy: ProxyConfig,
    authority: String,
    client: (String, String),
    fixture: Arc<Fixture>,
}

impl Guarded {
    async fn start() -> Self {
        let fixture = Arc::new(Fixture::start().await);
        fixture.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, b"{}");
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = signed("registry.test");
        let (client, client_key) = signed("client.test");
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = fixture.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(socket).await {
                    served.serve(stream);
                }
            }
        });
        let (proxy, _) = proxy_to(port).await;
        Guarded {
            proxy: ProxyConfig::new("", &format!("http://localhost:{proxy}"), ""),
            authority: authority.pem(),
            client: (client.pem(), client_key.serialize_pem()),
            fixture,
        }
    }

    fn client(&self, certs: &Path) -> Client {
        let certs_dirs = vec![certs.to_owned()];
        client_with(ClientConfig { proxy: self.proxy.clone(), certs_dirs, ..ClientConfig::default() })
    }

    /// Writes authority, certificate and key into `folder` under Docker's names.
    fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("ca.crt"), &self.authority).unwrap();
        std::fs::write(folder.join("client.cert"), &self.client.0).unwrap();
        std::fs::write(folder.join("client.key"), &self.client.1).unwrap();
    }
}

async fn pull(client: &Client, reference: &str) -> Result<(), crate::Error> {
    let sources = client.sources(&Reference::parse(reference).unwrap(), &Auth::Anonymous)?;
    sources[0].repository.manifest("v1").await.map(drop)
}

#[tokio::test]
async fn docker_s_form() {
    let guarded = Guarded::start().await;
    let certs = tempfile::tempdir().unwrap();
    let folder = certs.path().join("registry.test");
    let client = guarded.client(certs.path());
    let unknown = pull(&client, "registry.test/a").await.unwrap_err().to_string();
    assert!(unknown.ends_with("certificate signed by unknown authority"), "{unknown}");
    // What is put there counts at once.
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ca.crt"), &guarded.authority).unwrap();
    let nobody = pull(&client, "registry.test/a").await.unwrap_err().to_string();
    assert!(nobody.contains("CertificateRequired"), "{nobody}");
    guarded.write(&folder);
    pull(&client, "registry.test/a").await.unwrap();
    std::fs::write(folder.join("client.key"), "no key").unwrap();
    let bad = pull(&client, "registry.test/a").await.unwrap_err().to_string();
    assert!(bad.starts_with("invalid certificate: client key: "), "{bad}");
}

#[tokio::test]
async fn containerd_s_form_with_a_mirror_of_any_registry() {
    let guarded = Guarded::start().await;
    let certs = tempfile::tempdir().unwrap();
    let folder = certs.path().join("ghcr.io");
    guarded.write(&folder);
    std::fs::write(
        folder.join("hosts.toml"),
        "[host.'https://registry.test']\ncapabilities=['pull','resolve']\nca='ca.crt'\n\
         client=[['client.cert','client.key']]\n[host.'https://registry.test'.header]\nx-team='build'",
    )
    .unwrap();
    pull(&guarded.client(certs.path()), "ghcr.io/a").await.unwrap();
    let paths: Vec<String> = guarded.fixture.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v2/", "/v2/a/manifests/v1?ns=ghcr.io"]);
}
