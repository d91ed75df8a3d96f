//! An S3 server for tests: moto, from PyPI, in a Python environment of its own that is kept between runs.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::cache_dir;
use crate::client::eventually;
use crate::registry::free_port;

const VERSION: &str = "5.2.5";

/// A running server with an empty bucket; it ends when dropped.
pub struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    /// Starts one with this bucket.
    pub fn start(bucket: &str) -> Self {
        let port = free_port();
        let process = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
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

    /// What a client finds in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".into()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_REGION", "us-east-1".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
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
