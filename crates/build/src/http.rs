//! `ADD https://…` over the HTTP client that also talks to registries: its proxies, certificate authorities, time
//! limits and retries hold here too.

use std::io::{self, Read};

use dray_registry::{Client, Download};
use tokio::runtime::Handle;

use crate::Cancel;
use crate::remote::{RemoteError, RemoteFile, RemoteSource};

/// The most that is shown of an error page.
const MAX_SHOWN: usize = 300;

/// Fetches files with an HTTP client. The builder's threads wait; the work is done on a tokio runtime.
#[derive(Clone)]
pub struct HttpSource {
    client: Client,
    runtime: Handle,
}

impl HttpSource {
    /// A source that uses `client` on `runtime`.
    pub fn new(client: Client, runtime: Handle) -> Self {
        HttpSource { client, runtime }
    }
}

impl RemoteSource for HttpSource {
    fn open(&self, url: &str, cancel: &Cancel) -> Result<RemoteFile, RemoteError> {
        let transport = |source: Box<dyn std::error::Error + Send + Sync>| RemoteError::Transport {
            url: url.to_owned(),
            source,
        };
        let answer = self.runtime.block_on(async {
            tokio::select! {
                answer = self.client.download(url) => Some(answer),
                () = cancelled(cancel) => None,
            }
        });
        let Some(answer) = answer else {
            return Err(transport("the build was cancelled".into()));
        };
        let mut download = answer.map_err(|error| transport(error.into()))?;
        if !download.is_success() {
            let status = download.status();
            let first = self.runtime.block_on(download.chunk()).and_then(Result::ok).unwrap_or_default();
            let body = String::from_utf8_lossy(&first[..first.len().min(MAX_SHOWN)]).into_owned();
            return Err(RemoteError::Status { url: url.to_owned(), status, body });
        }
        Ok(RemoteFile {
            filename: download.filename(),
            modified: download.modified(),
            size: download.size(),
            body: Box::new(Body {
                download,
                runtime: self.runtime.clone(),
                cancel: cancel.clone(),
                rest: Vec::new(),
            }),
        })
    }
}

/// Waits until the build is cancelled.
async fn cancelled(cancel: &Cancel) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let _guard = cancel.on_cancel(move || {
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// The body of an answer, read piece by piece.
struct Body {
    download: Download,
    runtime: Handle,
    cancel: Cancel,
    rest: Vec<u8>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let (download, cancel) = (&mut self.download, &self.cancel);
            let chunk = self.runtime.block_on(async {
                tokio::select! {
                    chunk = download.chunk() => chunk,
                    () = cancelled(cancel) => Some(Ok(Default::default())),
                }
            });
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("the build was cancelled"));
            }
            match chunk {
                None => return Ok(0),
                Some(Ok(bytes)) => self.rest = bytes.to_vec(),
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
        let taken = buffer.len().min(self.rest.len());
        buffer[..taken].copy_from_slice(&self.rest[..taken]);
        self.rest.drain(..taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// Answers `requests` requests on a port of its own.
    fn serve(requests: usize) -> (std::thread::JoinHandle<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port");
        let address = format!("http://{}", listener.local_addr().expect("address"));
        let thread = std::thread::spawn(move || {
            for _ in 0..requests {
                let (mut stream, _) = listener.accept().expect("connection");
                let mut request = [0; 2048];
                let read = stream.read(&mut request).expect("request");
                let line = String::from_utf8_lossy(&request[..read]).into_owned();
                let answer = match line.split(' ').nth(1) {
                    Some("/moved") => "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n",
                    Some("/file") => {
                        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                         Content-Disposition: attachment; filename=\"n.txt\"\r\nConnection: close\r\n\r\nhello"
                    }
                    Some("/cut") => "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhello",
                    _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone",
                };
                stream
                    .write_all(
                        answer.replace("302 Found\r\n", "302 Found\r\nConnection: close\r\n").as_bytes(),
                    )
                    .expect("answer");
            }
        });
        (thread, address)
    }

    #[test]
    fn files_are_fetched_and_failures_told() {
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let client = Client::new(dray_registry::ClientConfig::default()).expect("client");
        let source = HttpSource::new(client, runtime.handle().clone());
        let (server, address) = serve(4);
        let mut file = source.open(&format!("{address}/moved"), &Cancel::new()).expect("fetched");
        let mut text = String::new();
        file.body.read_to_string(&mut text).expect("body");
        assert_eq!((text.as_str(), file.size), ("hello", Some(5)));
        assert_eq!((file.filename.as_deref(), file.modified), (Some("n.txt"), Some(784_111_777)));
        let error = source.open(&format!("{address}/x"), &Cancel::new()).err().expect("missing").to_string();
        assert_eq!(error, format!("failed to GET {address}/x with status 404 Not Found: gone"));
        let mut cut = source.open(&format!("{address}/cut"), &Cancel::new()).expect("begun");
        assert!(cut.body.read_to_end(&mut Vec::new()).is_err(), "a cut body is no whole file");
        server.join().expect("server");
        let error = source.open("http://127.0.0.1:1/x", &Cancel::new()).err().expect("refused").to_string();
        assert!(error.contains("refused"), "{error}");
    }
}
