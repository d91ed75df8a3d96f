//! Containers that come and go leave nothing: no descriptor, thread, interface, mount, rule or element.

mod lab;

use std::time::{Duration, Instant};

use dray_network::Config;
use dray_network::Proto::{Tcp, Udp};
use lab::*;

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).expect(folder).count()
}

#[test]
fn a_hundred_containers_leave_nothing() {
    lab(|lab| {
        let net = dray_network::Network::open(Config { ready_sandboxes: 2, ..lab.config() }).expect("open");
        let front = network("front", "10.10.0.0/24");
        net.create(&front).expect("create");
        let cycle = |round: usize| {
            let web = run(&net, &format!("c{round}"), &[&front]);
            assert_eq!(web.ip().to_string(), "10.10.0.2", "round {round}");
            let wanted = [port(Tcp, None, 8080, 80), port(Udp, None, 5353, 53)];
            net.publish(&web.endpoints[0], &wanted).expect("publish");
            net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        };
        let settle = || std::thread::sleep(Duration::from_millis(300));
        (0..5).for_each(cycle);
        settle();
        let (files, threads) = (count("/proc/self/fd"), count("/proc/self/task"));
        let (rules, links) = (lab.ruleset(), sh("ip -o link | wc -l"));
        (5..105).for_each(cycle);
        let start = Instant::now();
        while count("/proc/self/fd") > files || count("/proc/self/task") > threads {
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{} descriptors more",
                count("/proc/self/fd") - files
            );
            settle();
        }
        assert_eq!(lab.ruleset(), rules);
        assert_eq!(sh("ip -o link | wc -l"), links);
        assert_eq!(count(&lab.root.path().join("netns").display().to_string()), 0);
        net.purge().expect("purge");
    });
}
