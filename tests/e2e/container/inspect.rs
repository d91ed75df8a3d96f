//! `inspect`, `top`, `stats`, `diff`, `port`, `update`: looking at one container.

use dray_harness::Daemon;

#[test]
fn inspect_gives_what_was_asked_for() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box --memory 64m --label a=b -e K=V --restart no busybox sleep 1000");
        let field = |template: &str| client.ok(&format!("inspect -f {template} box"));
        assert_eq!(field("{{.Name}}"), "/box");
        assert_eq!(field("{{.State.Running}}"), "true");
        assert_eq!(field("{{.HostConfig.Memory}}"), "67108864");
        assert_eq!(field("{{.Config.Labels.a}}"), "b");
        assert_eq!(field("{{.Path}}"), "sleep");
        let arguments = client.run(["inspect", "-f", "{{json .Args}}", "box"]).expect_success();
        assert_eq!(arguments.stdout.trim(), "[\"1000\"]");
        assert!(field("{{.NetworkSettings.Networks.bridge.IPAddress}}").starts_with("10.213."));
        let pid: u32 = field("{{.State.Pid}}").parse().expect("a pid");
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        client.sh("inspect nosuch").expect_code(1).expect_error("nosuch");
        client.ok("rm -f box");
    }
}

#[test]
fn top_stats_diff_port() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.ok("run -d --name box -p 127.0.0.1:0:80 -p 127.0.0.1:0:53/udp busybox sleep 1000");
        client.ok("exec box touch /new");
        client.ok("exec box rm /etc/group");
        assert!(client.ok("top box").contains("sleep 1000"));
        let diff = client.ok("diff box");
        for line in ["A /new", "C /etc", "D /etc/group"] {
            assert!(diff.lines().any(|have| have == line), "{line} is not in\n{diff}");
        }
        assert!(client.ok("port box 80").starts_with("127.0.0.1:"));
        assert!(client.ok("port box").contains("53/udp -> 127.0.0.1:"));
        let stats = client.ok("stats --no-stream --format {{.Name}},{{.MemUsage}},{{.PIDs}} box");
        assert!(stats.starts_with("box,") && stats.ends_with(",1"), "{stats}");
        client.ok("rm -f box");
    }
}

#[test]
fn export_and_commit_keep_the_files() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .run(["run", "--name", "made", "busybox", "sh", "-c", "echo kept > /made; rm /etc/group"])
            .expect_success();
        client.run(["commit", "-c", "CMD [\"cat\", \"/made\"]", "made", "committed:v1"]).expect_success();
        assert_eq!(client.ok("run --rm committed:v1"), "kept");
        client.sh("run --rm committed:v1 ls /etc/group").expect_code(1);
        let file = daemon.scratch("export").join(client.name());
        client.run(["export", "-o", &file.to_string_lossy(), "made"]).expect_success();
        client.run(["import", &file.to_string_lossy(), "imported:v1"]).expect_success();
        assert_eq!(client.ok("run --rm imported:v1 cat /made"), "kept");
        client.ok("rm made");
        client.ok("rmi committed:v1 imported:v1");
    }
}
