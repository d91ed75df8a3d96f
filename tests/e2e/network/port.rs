//! Published ports: from the host, from localhost in both families, from other containers; in use; removed.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use dray_harness::client::eventually;
use dray_harness::registry::free_port;
use dray_harness::{Daemon, http};

const SERVER: &str = "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -p 80 -h /www";

fn serve(daemon: &Daemon, publish: &str, name: &str) {
    let line = ["run", "-d", "--name", name, "-p", publish, "busybox", "sh", "-c", SERVER];
    daemon.docker().run(line).expect_success();
}

#[test]
fn reachable_from_localhost_and_from_containers() {
    let daemon = Daemon::start();
    let port = free_port();
    serve(&daemon, &format!("{port}:80"), "web");
    for address in ["127.0.0.1", "::1"] {
        eventually(&format!("{address} answers"), || {
            http::get((address, port), "/").is_ok_and(|answer| answer.text() == "hello\n")
        });
    }
    let client = daemon.dray();
    let gateway = client
        .run(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"])
        .expect_success();
    let url = format!("http://{}:{port}/", gateway.stdout.trim());
    assert_eq!(client.ok(&format!("run --rm busybox wget -qO- {url}")), "hello", "another container");
    assert_eq!(client.ok(&format!("exec web wget -qO- {url}")), "hello", "itself");
    client.ok("network create other");
    assert_eq!(
        client.ok(&format!("run --rm --network other busybox wget -qO- {url}")),
        "hello",
        "another network"
    );
}

#[test]
fn udp_too() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    let port = free_port();
    daemon.load(&dray_harness::fixture::debian());
    let echo = "$s = IO::Socket::INET->new(LocalPort => 5353, Proto => 'udp'); while ($s->recv($b, 99)) { $s->send($b) }";
    let publish = format!("{port}:5353/udp");
    let line =
        ["run", "-d", "-p", &publish, "debian:bookworm-slim", "perl", "-MIO::Socket::INET", "-e", echo];
    client.run(line).expect_success();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("timeout");
    let mut answer = [0u8; 16];
    eventually("udp comes back", || {
        let _ = socket.send_to(b"ping\n", ("127.0.0.1", port));
        socket.recv(&mut answer).is_ok_and(|n| &answer[..n] == b"ping\n")
    });
}

#[test]
fn random_ports_and_ranges() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name many -p 127.0.0.1::80 -p 127.0.0.1:42310-42312:90-92 busybox sleep 1000");
        let random = client.ok("port many 80");
        assert!(
            random
                .rsplit(':')
                .next()
                .and_then(|port| port.parse::<u16>().ok())
                .is_some_and(|port| port >= 1024),
            "{random}"
        );
        assert_eq!(client.ok("port many 91"), "127.0.0.1:42311");
        client.ok("rm -f many");
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let daemon = Daemon::start();
    let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
    let port = listener.local_addr().expect("address").port();
    for client in daemon.clients() {
        let done = client.sh(&format!("run -d --name late -p {port}:80 busybox sleep 1000")).expect_code(125);
        assert!(done.stderr.contains(&format!("0.0.0.0:{port}")), "{}", done.stderr);
        client.ok("rm -f late");
    }
    drop(listener);
    let client = daemon.dray();
    client.ok(&format!("run -d --name first -p {port}:80 busybox sleep 1000"));
    client
        .sh(&format!("run -d --name second -p {port}:80 busybox sleep 1000"))
        .expect_code(125)
        .expect_error("port is already allocated");
    assert!(TcpListener::bind(("0.0.0.0", port)).is_err(), "another program may not take a published port");
}

#[test]
fn a_removed_container_frees_its_port() {
    let daemon = Daemon::start();
    let port = free_port();
    serve(&daemon, &format!("{port}:80"), "web");
    eventually("it answers", || http::get(("127.0.0.1", port), "/").is_ok());
    daemon.dray().ok("rm -f web");
    eventually("nobody answers", || {
        TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(1)).is_err()
    });
    drop(TcpListener::bind(("0.0.0.0", port)).expect("the port is free"));
}

#[test]
fn a_local_address_stays_local() {
    let daemon = Daemon::start();
    let port = free_port();
    serve(&daemon, &format!("127.0.0.1:{port}:80"), "web");
    eventually("it answers", || http::get(("127.0.0.1", port), "/").is_ok());
    let client = daemon.dray();
    let gateway = client
        .run(["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"])
        .expect_success();
    let url = format!("http://{}:{port}/", gateway.stdout.trim());
    let tried = client.sh(&format!("run --rm busybox wget -T 2 -qO- {url}"));
    assert!(tried.code != 0 && !tried.stdout.contains("hello"), "a port of 127.0.0.1 answers at the bridge");
}
