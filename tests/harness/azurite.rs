//! Azure Blob Storage for tests: Azurite, Microsoft's emulator, from npm and kept between runs. It checks signatures.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::client::eventually;
use crate::registry::free_port;
use crate::{cache_dir, http};

/// The last that runs with Debian's Node.js and has no telemetry among its packages.
const VERSION: &str = "3.33.0";
/// The account that every Azurite has unless it is told others.
const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which the makers have published.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running server; it ends when dropped, and what it stored goes with it.
pub struct Azurite {
    process: Option<Child>,
    port: u16,
    root: TempDir,
}

impl Azurite {
    /// Starts one.
    pub fn start() -> Self {
        let root = tempfile::Builder::new().prefix("dray-azurite-").tempdir().expect("a folder");
        let mut azurite = Self { process: None, port: free_port(), root };
        azurite.start_again();
        azurite
    }

    /// Starts it after [`Self::stop`], on what it has stored.
    pub fn start_again(&mut self) {
        let process = Command::new("node")
            .arg(program())
            .args(["--silent", "--blobHost", "127.0.0.1", "--blobPort", &self.port.to_string(), "--location"])
            .arg(self.root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("node");
        self.process = Some(process);
        eventually("Azurite answers", || http::get(("127.0.0.1", self.port), "/").is_ok());
    }

    /// Ends it; it has time to write down what it knows.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = rustix::process::Pid::from_raw(process.id().cast_signed()).expect("a process");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = process.wait();
    }

    /// Makes a container, whose list anybody may read.
    pub fn make(&self, container: &str) {
        let date =
            Command::new("date").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C").output();
        let date = String::from_utf8(date.expect("date").stdout).expect("date");
        let headers = format!(
            "x-ms-blob-public-access:container\nx-ms-date:{}\nx-ms-version:2021-08-06\n",
            date.trim()
        );
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container");
        let signed = format!("PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}{resource}");
        let signature = STANDARD.encode(hmac(&STANDARD.decode(KEY).expect("the key"), signed.as_bytes()));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("Azurite");
        let head = format!(
            "PUT /{ACCOUNT}/{container}?restype=container HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0\nConnection: close\n{headers}Authorization: SharedKey {ACCOUNT}:{signature}\n\n"
        );
        stream.write_all(head.replace('\n', "\r\n").as_bytes()).expect("Azurite");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("Azurite");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// Names of the objects of a container.
    pub fn objects(&self, container: &str) -> Vec<String> {
        let path = format!("/{ACCOUNT}/{container}?restype=container&comp=list");
        let answer = http::get(("127.0.0.1", self.port), &path).expect("the list");
        assert_eq!(answer.status, 200, "{}", answer.text());
        elements(&answer.text(), "Name")
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What its makers' portal would give.
    pub fn connection_string(&self) -> String {
        format!("AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={}/{ACCOUNT};", self.address())
    }

    /// What a client finds in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("AZURE_STORAGE_USE_EMULATOR".into(), "true".into()),
            ("AZURITE_BLOB_STORAGE_URL".into(), self.address()),
        ]
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What stands in the elements of this name.
pub(crate) fn elements(xml: &str, name: &str) -> Vec<String> {
    let inside = |rest: &str| rest.split("</").next().unwrap_or_default().to_owned();
    xml.split(&format!("<{name}>")).skip(1).map(inside).collect()
}

/// RFC 2104 over SHA-256, for keys of up to a block.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte ^= of_key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// The server's program, installed when first asked for.
fn program() -> PathBuf {
    let folder = cache_dir().join(format!("azurite-{VERSION}"));
    // Another test may be at it.
    let lock = File::create(cache_dir().join("azurite.lock")).expect("a lock");
    lock.lock().expect("a lock");
    if !folder.exists() {
        let draft = folder.with_extension("draft");
        let _ = fs::remove_dir_all(&draft);
        let output = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(&draft)
            .arg(format!("azurite@{VERSION}"))
            .output()
            .expect("npm: installed by `cargo xtask test`");
        assert!(output.status.success(), "npm: {}", String::from_utf8_lossy(&output.stderr));
        fs::rename(draft, &folder).expect("the package in its place");
    }
    folder.join("node_modules/azurite/dist/src/blob/main.js")
}
