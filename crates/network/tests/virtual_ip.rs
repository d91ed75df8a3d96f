//! One address for all containers of a service on a network.

mod lab;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use dray_network::{EndpointConfig, Network, NetworkConfig, Readiness, VirtualService};
use lab::*;

const QUESTIONS: usize = 60;

fn replica(net: &Network, name: &str, network: &NetworkConfig) -> (Container, Server) {
    let service = VirtualService { name: "web".into(), ..Default::default() };
    let config = EndpointConfig { aliases: vec!["web".into()], service: Some(service), ..Default::default() };
    net.share(&container_id(name), None, Readiness::Ready);
    let container = run_with(net, name, &[network], &config);
    let server = serve_tcp(&container.namespace, 80, name);
    (container, server)
}

fn answering(from: &OwnedFd, address: &str) -> BTreeSet<String> {
    let ask = |_| ask_tcp(from, address).split(' ').next().unwrap_or_default().to_owned();
    (0..QUESTIONS).map(ask).collect()
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

/// The IPv4 addresses of a name, for a container.
fn look_up(container: &Container, name: &str) -> BTreeSet<String> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("short"));
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let answer = within(&container.namespace, || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        socket.send_to(&query, "127.0.0.11:53").expect("send");
        let mut buffer = [0; 1024];
        let len = socket.recv(&mut buffer).expect("an answer");
        buffer[..len].to_vec()
    });
    // Answers follow the question: a pointer to its name, type, class, time, length, address.
    let records = answer[query.len()..].chunks(16).filter(|record| record.len() == 16);
    records.map(|r| Ipv4Addr::new(r[12], r[13], r[14], r[15]).to_string()).collect()
}

#[test]
fn a_service_is_one_address_that_leads_to_those_that_are_fit() {
    for internal in [false, true] {
        lab(|lab| {
            let net = lab.open();
            let back = NetworkConfig { internal, ..network("back", "10.10.0.0/24") };
            net.create(&back).expect("create");
            let early = run(&net, "early", &[&back]);
            let (a, _a) = replica(&net, "a", &back);
            let (b, b_serves) = replica(&net, "b", &back);
            let late = run(&net, "late", &[&back]);
            let service = a.endpoints[0].service.clone().expect("an address");
            let address = service.ip.expect("IPv4");
            assert_eq!(b.endpoints[0].service.as_ref().and_then(|s| s.ip), Some(address));
            assert!(![a.ip(), b.ip()].contains(&address.into()));
            for client in [&early, &late, &a] {
                assert_eq!(look_up(client, "web"), names(&[&address.to_string()]));
                let tasks = names(&[&a.ip().to_string(), &b.ip().to_string()]);
                assert_eq!(look_up(client, "tasks.web"), tasks);
                assert_eq!(answering(&client.namespace, &format!("{address}:80")), names(&["a", "b"]));
            }
            let answer = ask_tcp(&late.namespace, &format!("{address}:80"));
            assert_eq!(answer.split(' ').nth(1), Some(late.ip().to_string().as_str()), "who asks is seen");

            let id = container_id("b");
            net.set_readiness(&id, Readiness::Unhealthy).expect("set");
            assert_eq!(answering(&late.namespace, &format!("{address}:80")), names(&["a"]));
            net.set_readiness(&id, Readiness::Ready).expect("set");
            assert_eq!(answering(&late.namespace, &format!("{address}:80")), names(&["a", "b"]));
            net.set_readiness(&id, Readiness::Away).expect("set");
            assert_eq!(net.shared_connections(&id).expect("count"), Some(0));
            drop(b_serves);
            net.remove_sandbox(&id).expect("remove");
            assert_eq!(answering(&late.namespace, &format!("{address}:80")), names(&["a"]));
            assert_eq!(net.shared_connections(&container_id("a")).expect("count"), None, "the last one");

            // The address goes with the last one, and who leaves the network knows it no more.
            net.detach(&early.endpoints[0]).expect("detach");
            assert!(!early.sh("nft list tables").contains("dray_vip"));
            assert!(late.sh("nft list tables").contains("dray_vip"));
            net.remove_sandbox(&container_id("a")).expect("remove");
            assert!(!late.sh("nft list tables").contains("dray_vip"));
            refused_tcp(&late.namespace, &format!("{address}:80"));
            net.purge().expect("purge");
        });
    }
}

#[test]
fn it_is_reached_by_ipv6_too() {
    lab(|lab| {
        let net = lab.open();
        let dual = NetworkConfig { ipv6: true, ..network("dual", "10.10.0.0/24") };
        net.create(&dual).expect("create");
        let _all = ["a", "b"].map(|name| replica(&net, name, &dual));
        let near = run(&net, "near", &[&dual]);
        let address = _all[0].0.endpoints[0].service.as_ref().and_then(|s| s.ip6).expect("IPv6");
        assert_eq!(answering(&near.namespace, &format!("[{address}]:80")), names(&["a", "b"]));
        net.purge().expect("purge");
    });
}

#[test]
fn the_next_daemon_knows_the_address() {
    lab(|lab| {
        let net = lab.open();
        let back = network("back", "10.10.0.0/24");
        let state = net.create(&back).expect("create");
        let (a, _a) = replica(&net, "a", &back);
        let near = run(&net, "near", &[&back]);
        let address = a.endpoints[0].service.as_ref().and_then(|s| s.ip).expect("IPv4");
        drop(net);
        assert_eq!(answering(&near.namespace, &format!("{address}:80")), names(&["a"]), "meanwhile");
        let net = lab.open();
        net.restore(&state).expect("restore");
        for container in [&a, &near] {
            let sandbox = net.open_sandbox(container.sandbox.container_id()).expect("found");
            net.share(sandbox.container_id(), None, Readiness::Ready);
            net.restore_endpoint(&sandbox, &container.endpoints[0]).expect("endpoint");
        }
        net.restore_done().expect("done");
        assert_eq!(look_up(&near, "web"), names(&[&address.to_string()]));
        let (b, _b) = replica(&net, "b", &back);
        assert_eq!(b.endpoints[0].service.as_ref().and_then(|s| s.ip), Some(address));
        assert_eq!(answering(&near.namespace, &format!("{address}:80")), names(&["a", "b"]));
        net.purge().expect("purge");
    });
}
