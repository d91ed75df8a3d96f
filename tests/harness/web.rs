//! Files of a folder behind HTTP on a free loopback port, as a plain web server has them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Serves a folder's files until the test ends; gives the address (`127.0.0.1:port`).
pub fn serve(folder: PathBuf) -> String {
    serve_for(folder, None)
}

/// As [`serve`], only to those who say this in their `Authorization` header.
pub fn serve_guarded(folder: PathBuf, authorization: &str) -> String {
    serve_for(folder, Some(authorization.to_owned()))
}

fn serve_for(folder: PathBuf, authorization: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &folder, authorization.as_deref());
        }
    });
    address
}

fn answer(mut stream: TcpStream, folder: &Path, authorization: Option<&str>) {
    let mut lines = BufReader::new(stream.try_clone().expect("clone")).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let mut given = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            given = Some(value.trim().to_owned());
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or_default();
    let (status, body) = match std::fs::read(folder.join(path.trim_start_matches('/'))) {
        _ if authorization.is_some() && given.as_deref() != authorization => {
            ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"", b"who?".to_vec())
        }
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", b"gone".to_vec()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // Who has heard enough may be gone.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
}
