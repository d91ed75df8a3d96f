//! `network exposure`, and ports that obey the host's INPUT rules.

use dray_harness::{Daemon, fixture};

/// The lines of a listing, each cut where columns are.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells =
        |line: &str| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect();
    text.lines().map(cells).collect()
}

#[test]
fn what_is_reachable_is_listed_with_its_reason() {
    let daemon = Daemon::start();
    let client = daemon.dray();
    client.ok("network create -o dray.network.publish_mode=firewall-aware guarded");
    client.ok("network create --internal inside");
    let web = client.ok("run -d --name web -p 80 --network guarded busybox sleep 1000");
    client.ok("run -d --name api -p 127.0.0.1::81/udp busybox sleep 1000");
    client.ok("run -d --name db --network inside busybox sleep 1000");
    client.ok("run -d --name monitor --network host busybox sleep 1000");
    let table = rows(&client.ok("network exposure"));
    assert_eq!(table[0], ["CONTAINER", "PORT", "AT", "FROM", "WHY"]);
    let of = |container: &str| -> Vec<&[String]> {
        table.iter().filter(|row| row[0] == container).map(|row| &row[1..]).collect()
    };
    let port = client.ok("port web 80/tcp");
    let port = port.lines().next().and_then(|line| line.strip_prefix("0.0.0.0:")).expect("a port");
    let published = of("web");
    assert_eq!(published[0][..3], ["80/tcp", &format!("0.0.0.0:{port}"), "INPUT rules"]);
    assert!(published[0][3].starts_with("firewall-aware: "), "{published:?}");
    let own = published.last().expect("its own address");
    assert_eq!((own[0].as_str(), own[2].as_str()), ("all", "network guarded"));
    assert_eq!((of("api")[0][0].as_str(), of("api")[0][2].as_str()), ("81/udp", "this host"));
    assert_eq!(of("db").len(), 1);
    assert_eq!(of("monitor")[0][..3], ["all", "this host", "INPUT rules"]);

    let filtered = client.ok("network exposure --filter from=host --format {{.Container}}");
    assert_eq!(filtered, "api");
    let filtered =
        client.ok(&format!("network exposure --filter container={} --format {{{{.Network}}}}", &web[..12]));
    assert!(filtered.lines().all(|line| line == "guarded"), "{filtered}");
    let json = client.ok("network exposure --filter container=db --format json");
    assert!(json.contains("\"Container\":\"db\""), "{json}");
    client
        .sh("network exposure --filter from=mars")
        .expect_code(1)
        .expect_error("invalid filter 'from=mars': anyone, input-rules, host, network, parent");
}

#[test]
fn guarded_ports_are_reached_where_the_host_lets_everybody_in() {
    let daemon = Daemon::with_flags(&["--publish-mode=firewall-aware"]);
    daemon.load(&fixture::busybox());
    for client in daemon.clients() {
        client.ok("network create app");
        client.ok("run -d --name web -p 80 --network app busybox nc -ll -p 80 -e echo reached");
        let port = client.ok("port web 80/tcp");
        let port = port.lines().next().and_then(|line| line.rsplit(':').next()).expect("a port").to_owned();
        let gateway = "{{(index .IPAM.Config 0).Gateway}}";
        let gateway = client.run(["network", "inspect", "-f", gateway, "bridge"]).expect_success();
        let line = format!("run --rm busybox nc -w 5 {} {port}", gateway.stdout.trim());
        assert_eq!(client.ok(&line), "reached", "from another network, through INPUT");
        client.ok("rm -f web");
        client.ok("network rm app");
        client
            .sh("network create -o dray.network.publish_mode=open bad")
            .expect_code(1)
            .expect_error("failed to parse dray.network.publish_mode value: open (nat or firewall-aware)");
    }
}
