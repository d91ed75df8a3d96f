//! From an address and the environment to a bucket, over this project's own HTTP client.

use std::sync::Arc;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore};

use crate::storage::{Error, Result};

type Opened = (Arc<dyn ObjectStore>, Arc<dyn MultipartStore>, String);

/// Opens the bucket of an address.
pub(super) fn open(address: &str) -> Result<Opened> {
    let wrong = |problem: String| Error::Address { address: address.to_owned(), problem };
    let url = url::Url::parse(address).map_err(|error| wrong(error.to_string()))?;
    let bucket =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no bucket".into()))?;
    let prefix = match url.path().trim_matches('/') {
        "" => "registry".to_owned(),
        prefix => prefix.to_owned(),
    };
    let refused = |error: object_store::Error| wrong(error.to_string());
    let connector = Connector;
    match url.scheme() {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_http_connector(connector);
            let store = Arc::new(builder.build().map_err(refused)?);
            Ok((store.clone(), store, prefix))
        }
        "gs" => {
            let builder =
                GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_http_connector(connector);
            let store = Arc::new(builder.build().map_err(refused)?);
            Ok((store.clone(), store, prefix))
        }
        "az" => {
            let builder =
                MicrosoftAzureBuilder::from_env().with_container_name(bucket).with_http_connector(connector);
            let store = Arc::new(builder.build().map_err(refused)?);
            Ok((store.clone(), store, prefix))
        }
        other => Err(wrong(format!("{other} is none of s3, gs and az"))),
    }
}

/// Makes clients; all stores of a process need no more than one each.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = hyper_rustls::HttpsConnectorBuilder::new().with_provider_and_native_roots(provider());
        let tls =
            tls.map_err(|source| object_store::Error::Generic { store: "TLS", source: Box::new(source) })?;
        let https = tls.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(HttpClient::new(Service(Client::builder(TokioExecutor::new()).build(https))))
    }
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// One HTTP exchange.
#[derive(Debug)]
struct Service(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let answer = self.0.request(request).await.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        let broken = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(broken))))
    }
}
