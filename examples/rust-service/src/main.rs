//! Counts visits over HTTP. Nothing but the standard library, linked statically: the image is this one file.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static VISITS: AtomicU64 = AtomicU64::new(0);
const ADDRESS: &str = "0.0.0.0:8080";

fn main() {
    // What HEALTHCHECK runs: an image without a shell asks itself.
    if std::env::args().nth(1).as_deref() == Some("--health") {
        exit(if is_well() { 0 } else { 1 });
    }
    let listener = TcpListener::bind(ADDRESS).unwrap_or_else(|error| {
        eprintln!("{}: {}", ADDRESS, error);
        exit(1);
    });
    println!("listening on {}", ADDRESS);
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || {
            if let Err(error) = answer(connection) {
                eprintln!("a client: {}", error);
            }
        });
    }
}

fn answer(connection: TcpStream) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(&connection);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/" => ("200 OK", format!("visit {}\n", VISITS.fetch_add(1, Ordering::Relaxed) + 1)),
        "/health" => ("200 OK", "ok\n".to_owned()),
        _ => ("404 Not Found", "nothing here\n".to_owned()),
    };
    println!("{} {}", request.trim_end(), status);
    let head = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", status, body.len());
    (&connection).write_all((head + &body).as_bytes())
}

fn is_well() -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut connection = TcpStream::connect("127.0.0.1:8080")?;
        connection.set_read_timeout(Some(Duration::from_secs(1)))?;
        connection.write_all(b"GET /health HTTP/1.1\r\n\r\n")?;
        let mut status = String::new();
        BufReader::new(connection).read_line(&mut status)?;
        Ok(status.contains(" 200 "))
    };
    ask().unwrap_or(false)
}
