//! What the bench runs inside of containers: a server that answers bytes with bytes, and clients that count. It is this
//! program, mounted into the containers: the same bytes on all sides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

/// What may be given to `cargo xtask probe`.
#[derive(Subcommand)]
pub enum Options {
    /// Answers every byte of every connection with itself
    Serve { port: u16 },
    /// Round trips of one byte over one connection: microseconds of one, on average
    RoundTrips { address: SocketAddr, count: u32 },
    /// Connections that are opened, used for one byte and closed: how many in a second
    Connections { address: SocketAddr, seconds: u64 },
    /// Questions to a resolver: how many are answered in a second
    Questions { resolver: SocketAddr, name: String, seconds: u64 },
}

/// How many clients or servers work at once.
const THREADS: usize = 4;

/// Does what was asked for, and prints the number.
pub fn run(options: &Options) -> Result<()> {
    match options {
        Options::Serve { port } => serve(*port),
        Options::RoundTrips { address, count } => {
            println!("{}", round_trips(*address, *count)?);
            Ok(())
        }
        Options::Connections { address, seconds } => {
            println!("{}", per_second(*seconds, || connect(*address))?);
            Ok(())
        }
        Options::Questions { resolver, name, seconds } => {
            println!("{}", questions(*resolver, name, *seconds)?);
            Ok(())
        }
    }
}

fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).context("listen")?;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok((mut client, _)) = listener.accept() {
                    let _ = client.set_nodelay(true);
                    let mut byte = [0];
                    while client.read_exact(&mut byte).is_ok() && client.write_all(&byte).is_ok() {}
                }
            });
        }
    });
    Ok(())
}

fn round_trips(address: SocketAddr, count: u32) -> Result<f64> {
    let mut stream = TcpStream::connect(address).context("connect")?;
    stream.set_nodelay(true)?;
    let mut byte = [7];
    let begun = Instant::now();
    for _ in 0..count {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

fn connect(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut byte = [7];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    // The client's ports must not run out: no time of waiting at its end.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(())
}

/// How often something is done in a second, by all threads together.
fn per_second(seconds: u64, work: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let one = || {
        let mut count = 0u32;
        while Instant::now() < until {
            work()?;
            count += 1;
        }
        Ok::<_, anyhow::Error>(count)
    };
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(one)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("a thread of the probe"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    Ok(f64::from(counts.into_iter().sum::<u32>()) / begun.elapsed().as_secs_f64())
}

fn questions(resolver: SocketAddr, name: &str, seconds: u64) -> Result<f64> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).context("a name of DNS")?);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    per_second(seconds, || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect(resolver)?;
        let mut answer = [0; 512];
        // One socket for many: a program keeps its own.
        for _ in 0..100 {
            socket.send(&query)?;
            let len = socket.recv(&mut answer)?;
            ensure!(len > query.len() && answer[3] & 15 == 0, "{name} has no address");
        }
        Ok(())
    })
    .map(|hundreds| hundreds * 100.0)
}
