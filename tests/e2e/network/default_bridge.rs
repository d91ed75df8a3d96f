//! What flags make of the network `bridge`, and of networks that say nothing.

use dray_harness::{Daemon, fixture};

#[test]
fn the_default_bridge_speaks_ipv6_where_it_is_asked_to() {
    let daemon = Daemon::with_flags(&["--ipv6", "--fixed-cidr-v6=fd00:d7a1:7::/64", "--icc=false"]);
    daemon.load(&fixture::busybox());
    for client in daemon.clients() {
        let shown = client.run([
            "network",
            "inspect",
            "-f",
            "{{.EnableIPv6}} {{(index .IPAM.Config 1).Subnet}} {{index .Options \"com.docker.network.bridge.enable_icc\"}}",
            "bridge",
        ]);
        assert_eq!(shown.expect_success().stdout.trim(), "true fd00:d7a1:7::/64 false");
        client.ok("run -d --name server -p 7000 busybox nc -ll -p 7000 -e echo reached");
        let get = |field: &str| {
            let text = format!("{{{{.NetworkSettings.Networks.bridge.{field}}}}}");
            client.run(["inspect", "-f", &text, "server"]).expect_success().stdout.trim().to_owned()
        };
        let (four, six) = (get("IPAddress"), get("GlobalIPv6Address"));
        assert!(six.starts_with("fd00:d7a1:7:"), "{six}");
        assert_eq!(get("IPv6Gateway"), "fd00:d7a1:7::1");
        // Containers of one bridge are apart, for both families.
        for address in [&four, &six] {
            let asked = client.run(["run", "--rm", "busybox", "nc", "-w", "2", address, "7000"]);
            assert!(!asked.stdout.contains("reached"), "{address} answers");
        }
        client.ok("rm -f server");
    }
}

#[test]
fn another_machine_is_the_gateway_where_one_is_named() {
    let daemon = Daemon::with_flags(&[
        "--ipv6",
        "--fixed-cidr-v6=fd00:d7a3:7::/64",
        "--default-gateway-v6=fd00:d7a3:7::fe",
    ]);
    daemon.load(&fixture::busybox());
    for client in daemon.clients() {
        let shown = "{{with index .IPAM.Config 1}}{{.Gateway}} {{.AuxiliaryAddresses}}{{end}}";
        let shown = client.run(["network", "inspect", "-f", shown, "bridge"]).expect_success();
        let expected = "fd00:d7a3:7::1 map[DefaultGatewayIPv6:fd00:d7a3:7::fe]";
        assert_eq!(shown.stdout.trim(), expected);
        client.ok("run -d --name one busybox sleep 1000");
        let routes = client.ok("exec one ip -6 route");
        assert!(routes.contains("default via fd00:d7a3:7::fe "), "{routes}");
        let found = "{{.NetworkSettings.Networks.bridge.IPv6Gateway}}";
        let found = client.run(["inspect", "-f", found, "one"]).expect_success();
        assert_eq!(found.stdout.trim(), "fd00:d7a3:7::fe");
        client.ok("rm -f one");
    }
}

#[test]
fn pools_and_options_hold_for_networks_that_say_nothing() {
    let daemon = Daemon::with_flags(&[
        "--default-address-pool=base=fd00:d7a2::/48,size=64",
        "--default-network-opt=bridge=com.docker.network.driver.mtu=1300",
    ]);
    daemon.load(&fixture::busybox());
    for client in daemon.clients() {
        client.ok("network create --ipv6 one");
        let shown = "{{range .IPAM.Config}}{{.Subnet}} {{end}}{{.Options}}";
        let shown = client.run(["network", "inspect", "-f", shown, "one"]).expect_success();
        let shown = shown.stdout.trim();
        assert!(shown.starts_with("10.214.") && shown.contains(" fd00:d7a2:"), "{shown}");
        assert!(shown.ends_with("map[com.docker.network.driver.mtu:1300]"), "{shown}");
        assert!(client.ok("run --rm --network one busybox ip link show eth0").contains("mtu 1300"));
        client.ok("network rm one");
    }
}
