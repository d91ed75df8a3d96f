//! A real dockerd on the same host: both work, and each keeps its own.

mod lab;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dray_network::Proto::Tcp;
use lab::*;

/// Docker's daemon in the calling thread's namespace, on folders of its own.
struct Docker {
    child: Child,
}

impl Drop for Docker {
    fn drop(&mut self) {
        // It ends its containerd when it is asked to stop.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn docker(lab: &Lab) -> Option<Docker> {
    if Command::new("dockerd").arg("--version").output().is_err() {
        return None;
    }
    let root = lab.root.path().join("docker");
    std::fs::create_dir_all(&root).expect("folder");
    let log = std::fs::File::create(root.join("log")).expect("log");
    let at = |name: &str| root.join(name).display().to_string();
    let child = Command::new("dockerd")
        .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
        .args(["-H", &format!("unix://{}", at("socket")), "--storage-driver", "vfs"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("log"))
        .stderr(log)
        .spawn()
        .expect("dockerd");
    let docker = Docker { child };
    let start = Instant::now();
    let ready = || {
        std::path::Path::new(&at("socket")).exists()
            && sh("nft list ruleset").contains("DOCKER-USER")
            && std::fs::read_to_string(root.join("log")).is_ok_and(|l| l.contains("Daemon has completed"))
    };
    while !ready() {
        if start.elapsed() > Duration::from_secs(30) {
            eprintln!(
                "dockerd does not start here:\n{}",
                std::fs::read_to_string(root.join("log")).expect("log")
            );
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(docker)
}

#[test]
fn dray_works_beside_docker_and_leaves_its_tables_alone() {
    lab(|lab| {
        let Some(docker) = docker(lab) else { return };
        let tables = || sh("iptables-save | grep -v '^#' | sed 's/\\[.*\\]//'; nft list tables");
        let before = tables();
        assert!(before.contains(":FORWARD DROP"), "{before}");
        let net = lab.open();
        let bridge = net.default_bridge("d0");
        let state = net.create(&bridge).expect("create");
        let addr = sh("ip -o -4 addr show dev docker0");
        let subnet = state.subnets[0].subnet;
        let own = subnet.to_string();
        assert!(!addr.contains(own.split(".0/").next().expect("prefix")), "{own} is Docker's own: {addr}");
        let web = run(&net, "web", &[&bridge]);
        let _servers = (serve_tcp(&web.namespace, 80, "web"), serve_tcp(&lab.outside, 99, "far"));
        net.publish(&web.endpoints[0], &[port(Tcp, None, 8080, 80)]).expect("publish");
        let works = || {
            assert_eq!(ask_tcp(&web.namespace, "192.0.2.2:99"), "far 192.0.2.1");
            assert_eq!(ask_tcp(&lab.outside, "192.0.2.1:8080"), "web 192.0.2.2");
        };
        works();
        net.remove_sandbox(web.sandbox.container_id()).expect("remove");
        net.shutdown().expect("shutdown");
        assert_eq!(tables(), before);
        drop(docker);
        let _ = &lab;
    });
}
