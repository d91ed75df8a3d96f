//! How long things take: `cargo test --release -p dray-network --test speed -- --ignored --nocapture`.

mod lab;

use std::time::{Duration, Instant};

use dray_network::Proto::Tcp;
use dray_network::{Config, EndpointConfig, Network};
use lab::*;

fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let (p10, median, p90) = (times[times.len() / 10], times[times.len() / 2], times[times.len() * 9 / 10]);
    println!("{what:<58} p10 {p10:>9.1?}  median {median:>9.1?}  p90 {p90:>9.1?}");
    median
}

fn timed<T>(times: &mut Vec<Duration>, task: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = task();
    times.push(start.elapsed());
    value
}

fn starts(lab: &Lab, ready: usize, default_bridge: bool) {
    let net = Network::open(Config { ready_sandboxes: ready, ..lab.config() }).expect("open");
    let config = if default_bridge { net.default_bridge("d0") } else { network("front", "10.10.0.0/16") };
    net.create(&config).expect("create");
    let (mut sandboxes, mut attaches, mut both, mut removes) = (vec![], vec![], vec![], vec![]);
    for round in 0..100 {
        if ready > 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = format!("c{round:063}");
        let start = Instant::now();
        let sandbox = timed(&mut sandboxes, || net.sandbox(&id).expect("sandbox"));
        let endpoint = EndpointConfig { name: id.clone(), ..Default::default() };
        timed(&mut attaches, || net.attach(&sandbox, &config.id, &endpoint).expect("attach"));
        both.push(start.elapsed());
        drop(sandbox);
        timed(&mut removes, || net.remove_sandbox(&id).expect("remove"));
    }
    let kind = if default_bridge { "default bridge" } else { "with DNS" };
    println!("-- {ready} namespaces ready, {kind}");
    report("sandbox", sandboxes);
    report("attach", attaches);
    report("sandbox + attach", both);
    report("remove", removes);
    net.purge().expect("purge");
}

#[test]
#[ignore = "measures"]
fn sandbox_and_attach() {
    lab(|lab| {
        starts(lab, 0, true);
        starts(lab, 2, true);
        starts(lab, 2, false);
    });
}

#[test]
#[ignore = "measures"]
fn fifty_at_once() {
    lab(|lab| {
        let net = Network::open(Config { ready_sandboxes: 2, ..lab.config() }).expect("open");
        let config = net.default_bridge("d0");
        net.create(&config).expect("create");
        let start = Instant::now();
        std::thread::scope(|scope| {
            for round in 0..50 {
                let (net, config) = (&net, &config);
                scope.spawn(move || {
                    let id = format!("c{round:063}");
                    let sandbox = net.sandbox(&id).expect("sandbox");
                    let endpoint = EndpointConfig { name: id, ..Default::default() };
                    net.attach(&sandbox, &config.id, &endpoint).expect("attach");
                });
            }
        });
        println!("50 sandboxes and attaches at once: {:.1?}", start.elapsed());
        net.purge().expect("purge");
    });
}

#[test]
#[ignore = "measures"]
fn publishing() {
    lab(|lab| {
        let net = lab.open();
        let front = network("front", "10.10.0.0/16");
        net.create(&front).expect("create");
        let web = run(&net, "web", &[&front]);
        for already in [0, 1000] {
            let others = run(&net, &format!("others{already}"), &[&front]);
            let wanted: Vec<_> = (0..already).map(|n| port(Tcp, Some("0.0.0.0"), 10_000 + n, 80)).collect();
            net.publish(&others.endpoints[0], &wanted).expect("publish");
            let (mut adds, mut removes) = (vec![], vec![]);
            for _ in 0..200 {
                let one = [port(Tcp, None, 8080, 80)];
                timed(&mut adds, || net.publish(&web.endpoints[0], &one).expect("publish"));
                timed(&mut removes, || net.unpublish(web.sandbox.container_id()).expect("unpublish"));
            }
            report(&format!("publish 1 port (IPv4 and IPv6) beside {already}"), adds);
            report(&format!("unpublish it beside {already}"), removes);
        }
        net.purge().expect("purge");
    });
}
