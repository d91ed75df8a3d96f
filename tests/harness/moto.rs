//! An S3 server for tests: moto, from PyPI, in a Python environment of its own that is kept between runs.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::azurite::elements;
use crate::client::eventually;
use crate::registry::free_port;
use crate::{cache_dir, http};

const VERSION: &str = "5.2.5";

/// A running server with an empty bucket; it ends when dropped.
pub struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    /// Starts one with this bucket, which asks for no credentials.
    pub fn start(bucket: &str) -> Self {
        Self::launch(bucket, &[])
    }

    /// The same; once it has its bucket it knows nobody.
    pub fn that_knows_nobody(bucket: &str) -> Self {
        Self::launch(bucket, &[("INITIAL_NO_AUTH_ACTION_COUNT", "1")])
    }

    fn launch(bucket: &str, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let process = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server");
        let moto = Self { process, port };
        eventually("the S3 server answers", || moto.make(bucket).is_some_and(|line| line.contains(" 200 ")));
        moto
    }

    fn make(&self, bucket: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let request = format!(
            "PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 0\r\nConnection: close\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line)
    }

    /// Names of the objects of a bucket.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        let path = format!("/{bucket}?list-type=2");
        let answer = http::get_with(("127.0.0.1", self.port), &path, "Authorization: Bearer x\r\n");
        elements(&answer.expect("the list").text(), "Key")
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a client finds in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.address()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_REGION", "us-east-1".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// What a client of Google's finds: its XML interface is S3's.
    pub fn google_environment(&self) -> Vec<(String, String)> {
        vec![("STORAGE_EMULATOR_HOST".into(), self.address())]
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's program, installed when first asked for.
fn program() -> PathBuf {
    let folder = cache_dir().join(format!("moto-{VERSION}"));
    let program = folder.join("bin/moto_server");
    if !program.exists() {
        // Another test may be at it: whoever is done last has the same.
        let lock = std::fs::File::create(cache_dir().join("moto.lock")).expect("a lock");
        lock.lock().expect("a lock");
        if !program.exists() {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
            let package = format!("moto[server]=={VERSION}");
            run(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", &package]));
        }
    }
    program
}

fn run(command: &mut Command) {
    let line = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
