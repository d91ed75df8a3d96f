//! macvlan and ipvlan through both clients: containers on the network of an interface of the host.

use dray_harness::Daemon;

#[test]
fn macvlan_without_a_parent_links_its_containers() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let id = client.ok("network create -d macvlan --subnet 10.219.20.0/24 -o macvlan_mode=bridge alone");
        let shown = client.run(["network", "inspect", "-f", "{{.Driver}} {{.Options}}", "alone"]);
        assert_eq!(shown.expect_success().stdout.trim(), "macvlan map[macvlan_mode:bridge]");
        assert!(client.ok("network ls --filter driver=macvlan").contains("alone"));
        client.ok("run -d --name server --network alone busybox nc -ll -p 7000 -e echo reached");
        let links = client.ok("exec server ls /sys/class/net");
        assert_eq!(links.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);
        // By name: the resolver is there as on every network of one's own.
        assert_eq!(client.ok("run --rm --network alone busybox nc -w 2 server 7000"), "reached");
        assert!(!client.ok("exec server ip route").contains("default"));
        let parent = format!("dm-{}", &id[..12]);
        assert!(dray_harness::host::links().contains(&parent), "{parent}");
        client.sh("network rm alone").expect_code(1).expect_error("has active endpoints");
        client.ok("network disconnect alone server");
        assert!(!client.ok("exec server ls /sys/class/net").contains("eth0"));
        client.ok("network connect --ip 10.219.20.99 alone server");
        assert!(client.ok("exec server ip addr").contains("10.219.20.99/24"));
        client.ok("rm -f server");
        client.ok("network rm alone");
        assert!(!dray_harness::host::links().contains(&parent), "{parent} stays");
    }
}

#[test]
fn nonsense_is_refused_in_dockers_words() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        for (options, words) in [
            (
                "-d macvlan -o macvlan_mode=l2",
                "requested macvlan mode 'l2' is not valid, 'bridge' mode is the macvlan driver default",
            ),
            (
                "-d ipvlan -o ipvlan_mode=bridge",
                "requested ipvlan mode 'bridge' is not valid, 'l2' mode is the ipvlan driver default",
            ),
            ("-d macvlan -o parent=lo", "loopback interface is not a valid macvlan parent link"),
            (
                "-d ipvlan -o parent=nosuch0",
                "invalid subinterface vlan name nosuch0, example formatting is eth0.10",
            ),
            ("-d nosuch", "could not find plugin nosuch in v1 plugin registry: plugin not found"),
        ] {
            client.sh(&format!("network create {options} bad")).expect_code(1).expect_error(words);
        }
        client.sh("network inspect bad").expect_code(1);
    }
}

#[test]
fn routed_containers_need_no_port_of_the_host() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("network create -o com.docker.network.bridge.gateway_mode_ipv4=routed routed");
        client.ok("network create other");
        client.ok("run -d --name web -p 8080:80 --network routed busybox nc -ll -p 80 -e echo reached");
        client.ok("exec -d web nc -ll -p 81 -e echo closed");
        let get =
            |text: &str| client.run(["inspect", "-f", text, "web"]).expect_success().stdout.trim().to_owned();
        assert_eq!(
            get("{{json .NetworkSettings.Ports}}"),
            r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":""}]}"#
        );
        let address = get("{{.NetworkSettings.Networks.routed.IPAddress}}");
        let from = |port: &str| {
            client.run(["run", "--rm", "--network", "other", "busybox", "nc", "-w", "3", &address, port])
        };
        assert_eq!(from("80").expect_success().stdout.trim(), "reached");
        assert!(!from("81").stdout.contains("closed"), "what is not published stays closed");
        client.ok("rm -f web");
        client.ok("network rm routed other");
        client
            .sh("network create -o com.docker.network.bridge.gateway_mode_ipv4=isolated bad")
            .expect_code(1)
            .expect_error("gateway mode 'isolated' can only be used for an internal network");
        client
            .sh("network create -o com.docker.network.bridge.enable_icc=maybe bad")
            .expect_code(1)
            .expect_error(
                "failed to parse com.docker.network.bridge.enable_icc value: maybe \
                 (strconv.ParseBool: parsing \"maybe\": invalid syntax)",
            );
    }
}
