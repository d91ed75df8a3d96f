//! The web server that a registry's pull of large blobs is held against: Debian's nginx, with the same bytes in files.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dray_harness::registry::free_port;
use tempfile::TempDir;

use super::client::{digest, noise};
use super::server::{Server, with_clients};
use super::{LAYER, LAYERS, Work, print_rate};
use crate::bench::table::Table;

/// A running nginx.
struct Nginx {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dray-peer-nginx-").tempdir()?;
        let port = free_port();
        let root = folder.path().display();
        let text = format!(
            "daemon off; user root; worker_processes auto; pid {root}/pid; error_log stderr error;
             events {{ }}
             http {{
                 access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
                 client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
                 fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
                 server {{ listen 127.0.0.1:{port}; root {root}/files; }}
             }}\n"
        );
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, text)?;
        fs::create_dir(folder.path().join("files"))?;
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(configuration)
            .stdin(Stdio::null())
            .spawn()
            .context("start nginx")?;
        let nginx = Self { process, port, folder };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(start.elapsed() < Duration::from_secs(10), "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked.
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

/// Four blobs of 64 MiB pulled from Dray's registry, and the same files from nginx on the same disk.
pub fn pull(servers: &[Server], table: &Table) -> Result<()> {
    let dray = servers.first().context("no server")?;
    let nginx = Nginx::start()?;
    let layers: Vec<Vec<u8>> = (0..LAYERS).map(|n| noise(n as u64 + 9_000, LAYER)).collect();
    let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    dray.with_clients(LAYERS, |client, n| client.push_blob("files", &digests[n], &layers[n]))?;
    for (digest, layer) in digests.iter().zip(&layers) {
        fs::write(nginx.file(digest), layer)?;
    }
    let sides = [(dray.port(), "/v2/files/blobs/"), (nginx.port, "/")];
    let mut pulled = [Work::default(), Work::default()];
    for round in 0..=table.rounds() {
        for ((port, folder), work) in sides.iter().zip(&mut pulled) {
            let start = Instant::now();
            with_clients(*port, LAYERS, |client, n| {
                let length = client.pull(&format!("{folder}{}", digests[n]))?;
                ensure!(length == LAYER, "{length} bytes instead of {LAYER}");
                Ok(())
            })?;
            if round > 0 {
                work.add((LAYERS * LAYER) as f64 / 1e6, start.elapsed(), Vec::new());
            }
        }
    }
    let table = Table::new(table.rounds(), &["dray", "nginx"]);
    print_rate(&table, "pull of 4 blobs of 64 MiB", "MB/s", &pulled);
    Ok(())
}
