//! Containers on VLANs and on ipvlan networks, reached over a wire by another machine: packets are tagged, routed and
//! answered by the kernel alone.

use std::sync::Arc;

use dray_harness::client::eventually;
use dray_harness::machine::Machine;
use dray_harness::{Client, Daemon};

/// A daemon on a machine whose interface `wire` (192.0.2.1) leads to another one (192.0.2.2).
struct Scene {
    daemon: Daemon,
    here: Arc<Machine>,
    there: Machine,
}

impl Scene {
    fn new() -> Self {
        let (here, there) = (Arc::new(Machine::new()), Machine::new());
        here.wire(&["192.0.2.1/24"], &there, &["192.0.2.2/24"]);
        Self { daemon: Daemon::spawn_on(&here, &[]), here, there }
    }

    /// What the other machine hears at an address.
    fn heard(&self, address: &str) -> String {
        self.there.sh(&format!("timeout 5 bash -c 'cat < /dev/tcp/{address}/7000' 2>&1 || true"))
    }

    fn links(&self) -> String {
        self.here.sh("ip -o -d link")
    }
}

fn serve(client: &Client, name: &str, network: &str) {
    let words = format!("run -d --name {name} --network {network} busybox nc -ll -p 7000 -e echo {name}");
    client.ok(&words);
}

#[test]
#[ignore = "needs 802.1Q: runs in `cargo xtask vm`"]
fn a_vlan_is_made_and_goes_with_its_last_network() {
    let scene = Scene::new();
    scene.there.sh("ip link add link wire name wire.10 type vlan id 10 && ip link set wire.10 up");
    scene.there.sh("ip addr add 10.219.10.1/24 dev wire.10");
    for client in scene.daemon.clients() {
        for driver in ["macvlan", "ipvlan"] {
            assert!(!scene.links().contains("wire.10"));
            client.ok(&format!(
                "network create -d {driver} -o parent=wire.10 --subnet 10.219.10.0/24 --gateway 10.219.10.1 \
                 --ip-range 10.219.10.128/25 tagged"
            ));
            let links = scene.links();
            let made =
                links.lines().find(|line| line.contains(" wire.10@wire:")).expect("the VLAN's interface");
            assert!(made.contains("vlan protocol 802.1Q id 10 "), "{made}");
            serve(&client, "web", "tagged");
            let address = client.ok("inspect -f {{.NetworkSettings.Networks.tagged.IPAddress}} web");
            assert!(address.starts_with("10.219.10."), "{address}");
            eventually("it answers", || scene.heard(&address) == "web\n");
            client.ok("exec web ping -c 1 -W 5 10.219.10.1");
            assert!(client.ok("exec web ip route").contains("default via 10.219.10.1 dev eth0"));
            // Without the tag nobody is there.
            scene.there.sh("ip addr add 10.219.10.2/24 dev wire && ip link set wire.10 down");
            assert!(!scene.heard(&address).contains("web"));
            scene.there.sh("ip addr del 10.219.10.2/24 dev wire && ip link set wire.10 up");
            scene.there.sh(
                "ip addr show dev wire.10 | grep -q 10.219.10.1 || ip addr add 10.219.10.1/24 dev wire.10",
            );
            client.ok("rm -f web");
            client.ok("network rm tagged");
            assert!(!scene.links().contains("wire.10"), "it went with the network");
        }
    }
}

#[test]
#[ignore = "needs 802.1Q: runs in `cargo xtask vm`"]
fn a_vlan_that_was_there_stays() {
    let mut scene = Scene::new();
    let client = scene.daemon.docker();
    scene.here.sh("ip link add link wire name wire.20 type vlan id 20");
    client.ok("network create -d macvlan -o parent=wire.20 --subnet 10.219.20.0/24 theirs");
    client.ok("network create -d macvlan -o parent=wire.30 --subnet 10.219.30.0/25 one");
    client.ok("network create -d macvlan -o parent=wire.30 --subnet 10.219.30.128/25 two");
    client.ok("network rm theirs");
    assert!(scene.links().contains("wire.20"), "the machine's own");
    client.ok("network rm one");
    assert!(scene.links().contains("wire.30"), "another network needs it");
    // A machine that starts anew has no such interfaces.
    scene.daemon.stop();
    scene.here.sh("ip link del wire.30 2> /dev/null || true");
    scene.daemon.launch();
    assert!(scene.links().contains("wire.30"), "made again");
    serve(&client, "web", "two");
    client.ok("rm -f web");
    client.ok("network rm two");
    assert!(!scene.links().contains("wire.30"));
    for (parent, words) in [
        ("wire.5000", "vlan id must be between 1-4094, received: 5000"),
        ("wire.x", "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)"),
        ("nosuch.10", "could not be used"),
    ] {
        let refused = client.sh(&format!("network create -d macvlan -o parent={parent} bad")).expect_code(1);
        assert!(refused.stderr.contains(words) || words == "could not be used", "{}", refused.stderr);
    }
}

#[test]
#[ignore = "needs ipvlan: runs in `cargo xtask vm`"]
fn ipvlan_shares_the_parents_address_on_layer_2() {
    let scene = Scene::new();
    for client in scene.daemon.clients() {
        client.ok("network create -d ipvlan -o parent=wire --subnet 192.0.2.0/24 --gateway 192.0.2.2 \
                   --ip-range 192.0.2.64/26 flat");
        serve(&client, "web", "flat");
        let address = client.ok("inspect -f {{.NetworkSettings.Networks.flat.IPAddress}} web");
        eventually("it answers", || scene.heard(&address) == "web\n");
        let of = |text: String| {
            text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).map(str::to_owned)
        };
        let parent = of(scene.here.sh("ip -o link show wire"));
        assert!(
            parent.is_some() && of(client.ok("exec web ip -o link show eth0")) == parent,
            "one address for both"
        );
        assert_eq!(
            client.ok("run --rm --network flat busybox nc -w 5 web 7000"),
            "web",
            "by name, from beside"
        );
        client.sh("network rm flat").expect_code(1).expect_error("has active endpoints");
        client.ok("network disconnect flat web");
        assert!(!client.ok("exec web ls /sys/class/net").contains("eth0"));
        client.ok("network connect --ip 192.0.2.99 flat web");
        eventually("it answers again", || scene.heard("192.0.2.99") == "web\n");
        client.ok("restart -t 0 web");
        eventually("it answers once more", || scene.heard("192.0.2.99") == "web\n");
        client.ok("rm -f web");
        client.ok("network rm flat");
    }
}

#[test]
#[ignore = "needs ipvlan: runs in `cargo xtask vm`"]
fn ipvlan_routes_on_layer_3() {
    let scene = Scene::new();
    scene.there.sh("ip route add 10.219.40.0/23 via 192.0.2.1");
    for client in scene.daemon.clients() {
        for mode in ["l3", "l3s"] {
            client.ok(&format!(
                "network create -d ipvlan -o parent=wire -o ipvlan_mode={mode} --subnet 10.219.40.0/24 \
                 --subnet 10.219.41.0/24 routed"
            ));
            client
                .ok("run -d --name web --network routed --ip 10.219.40.7 busybox nc -ll -p 7000 -e echo web");
            assert_eq!(
                client.ok("exec web ip route").lines().next().map(str::trim),
                Some("default dev eth0 scope link")
            );
            eventually("it answers", || scene.heard("10.219.40.7") == "web\n");
            client.ok("exec web ping -c 1 -W 5 192.0.2.2");
            // Its networks are one to it.
            let ask = "run --rm --network routed --ip 10.219.41.9 busybox nc -w 5 10.219.40.7 7000";
            assert_eq!(client.ok(ask), "web", "{mode}");
            client.ok("rm -f web");
            client.ok("network rm routed");
        }
    }
}

#[test]
#[ignore = "needs ipvlan: runs in `cargo xtask vm`"]
fn ipvlan_without_a_parent_leads_nowhere() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let id = client.ok("network create -d ipvlan --subnet 10.219.50.0/24 alone");
        serve(&client, "web", "alone");
        assert_eq!(client.ok("run --rm --network alone busybox nc -w 5 web 7000"), "web");
        assert!(!client.ok("exec web ip route").contains("default"));
        let parent = format!("di-{}", &id[..12]);
        assert!(dray_harness::host::links().contains(&parent));
        client.ok("rm -f web");
        client.ok("network rm alone");
        assert!(!dray_harness::host::links().contains(&parent));
    }
}
