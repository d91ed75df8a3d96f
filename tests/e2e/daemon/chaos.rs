//! Many clients that do anything to few things at once, and a daemon that is killed again and again meanwhile: afterwards
//! what the daemon says is what there is, and nothing is left of what is gone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dray_harness::client::eventually;
use dray_harness::{Daemon, host, http};

const CLIENTS: u64 = 6;
const KILLS: usize = 4;

/// Numbers that are the same in each run; how they meet is not.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("few")]
    }
}

const CONTAINERS: &[&str] = &["c0", "c1", "c2", "c3", "c4", "c5"];
const NETWORKS: &[&str] = &["n0", "n1"];
const VOLUMES: &[&str] = &["v0", "v1"];

/// What one client does next: method, path, body.
fn request(dice: &mut Dice) -> (&'static str, String, Option<String>) {
    let container = dice.of(CONTAINERS);
    let on = |action: &str| ("POST", format!("/containers/{container}/{action}"), None);
    match dice.below(24) {
        0..=4 => {
            let program = dice.of(&[
                "sleep 1000",
                "sleep 0.2; exit 7",
                "exit 7",
                "trap 'exit 0' TERM; sleep 1000 & wait",
            ]);
            let network = dice.of(&["default", "n0", "n1", "none"]);
            let (volume, restart) = (dice.of(VOLUMES), dice.of(&["no", "no", "on-failure", "always"]));
            let auto_remove = restart == "no" && dice.below(3) == 0;
            let body = format!(
                r#"{{"Image":"busybox","Cmd":["sh","-c","{program}"],"Volumes":{{"/anonymous":{{}}}},"HostConfig":{{
                    "NetworkMode":"{network}","Binds":["{volume}:/data"],"AutoRemove":{auto_remove},
                    "RestartPolicy":{{"Name":"{restart}"}}}}}}"#
            );
            ("POST", format!("/containers/create?name={container}"), Some(body))
        }
        5..=8 => on("start"),
        9 => on("stop?t=1"),
        10 => on("kill"),
        11 => on("restart?t=0"),
        12 | 13 => ("DELETE", format!("/containers/{container}?force=1&v=1"), None),
        14 => ("DELETE", format!("/containers/{container}"), None),
        15 => on(&format!("rename?name={}", dice.of(CONTAINERS))),
        16 => on(dice.of(&["pause", "unpause"])),
        17 => {
            let (network, action) = (dice.of(NETWORKS), dice.of(&["connect", "disconnect"]));
            let body = format!(r#"{{"Container":"{container}","Force":true}}"#);
            ("POST", format!("/networks/{network}/{action}"), Some(body))
        }
        18 => ("POST", "/networks/create".to_owned(), Some(format!(r#"{{"Name":"{}"}}"#, dice.of(NETWORKS)))),
        19 => ("DELETE", format!("/networks/{}", dice.of(NETWORKS)), None),
        20 => ("DELETE", format!("/volumes/{}", dice.of(VOLUMES)), None),
        21 => ("POST", format!("/{}/prune", dice.of(&["containers", "networks", "volumes"])), None),
        22 => ("GET", format!("/containers/{container}/logs?stdout=1"), None),
        _ => ("POST", format!("/containers/{container}/exec"), Some(r#"{"Cmd":["true"]}"#.to_owned())),
    }
}

/// Does one thing after the other; gives what the daemon took the blame for.
fn client(socket: &Path, mut dice: Dice, done: &AtomicBool) -> Vec<String> {
    let mut blame = Vec::new();
    while !done.load(Ordering::Acquire) {
        let (method, path, body) = request(&mut dice);
        // The daemon is killed now and then: then there is no answer.
        let Ok(answer) = http::unix_request(socket, method, &path, body.as_deref()) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        // That one is Docker's.
        if answer.status >= 500 && !answer.text().contains("is not paused") {
            blame.push(format!("{method} {path}: {} {}", answer.status, answer.text()));
        }
        if answer.status == 201 && path.ends_with("/exec") {
            let id = answer.json()["Id"].as_str().unwrap_or_default().to_owned();
            let _ =
                http::unix_request(socket, "POST", &format!("/exec/{id}/start"), Some(r#"{"Detach":true}"#));
        }
    }
    blame
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// What the daemon says, held against what there is.
fn differences(daemon: &Daemon) -> Vec<String> {
    let get = |path: &str| http::unix_get(&daemon.socket(), path).expect("an answer").json();
    let (mut all, mut running, mut with_network) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for container in get("/containers/json?all=1").as_array().expect("a list") {
        let id = container["Id"].as_str().expect("an id").to_owned();
        let inspected = get(&format!("/containers/{id}/json"));
        let state = &inspected["State"];
        let up = state["Running"] == true && state["Restarting"] == false;
        let alive =
            state["Pid"].as_u64().is_some_and(|pid| pid > 0 && Path::new(&format!("/proc/{pid}")).exists());
        if up != alive
            || !matches!(state["Status"].as_str(), Some("created" | "running" | "paused" | "exited"))
        {
            wrong.push(format!("{id}: {state}"));
        }
        if up {
            running.insert(id.clone());
            if inspected["HostConfig"]["NetworkMode"] != "host" {
                with_network.insert(id.clone());
            }
        }
        all.insert(id);
    }
    let volumes = get("/volumes")["Volumes"].as_array().cloned().unwrap_or_default();
    let volumes = volumes.iter().filter_map(|volume| volume["Name"].as_str().map(str::to_owned)).collect();
    let runs = daemon.run_root().join("c");
    let shims: BTreeSet<String> = host::processes_naming(&runs.to_string_lossy())
        .into_iter()
        .map(host::command_line)
        .filter_map(|line| line.split("/c/").nth(1).map(|id| id.trim().to_owned()))
        .collect();
    let mut compare = |what: &str, said: &BTreeSet<String>, is: BTreeSet<String>| {
        if *said != is {
            wrong.push(format!("{what}: said {said:?}, is {is:?}"));
        }
    };
    compare("shims", &running, shims);
    compare("run directories", &running, names_in(&runs));
    compare("network namespaces", &with_network, names_in(&daemon.run_root().join("netns")));
    compare("containers' folders", &all, names_in(&daemon.data_root().join("containers")));
    compare("volumes' folders", &volumes, names_in(&daemon.data_root().join("volumes")));
    wrong
}

fn settle(daemon: &Daemon, when: &str) {
    let mut wrong = Vec::new();
    for _ in 0..100 {
        wrong = differences(daemon);
        if wrong.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{when}:\n{}", wrong.join("\n"));
}

#[test]
fn whatever_meets_what_is_said_is_what_there_is() {
    let mut daemon = Daemon::spawn();
    let done = AtomicBool::new(false);
    let socket = daemon.socket();
    let mut blame: Vec<String> = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|n| {
                let (socket, done) = (&socket, &done);
                scope.spawn(move || client(socket, Dice(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)), done))
            })
            .collect();
        for _ in 0..KILLS {
            std::thread::sleep(Duration::from_millis(1200));
            daemon.kill();
            std::thread::sleep(Duration::from_millis(100));
            daemon.launch();
        }
        std::thread::sleep(Duration::from_millis(1500));
        done.store(true, Ordering::Release);
        for client in clients {
            blame.extend(client.join().expect("a client"));
        }
    });
    blame.sort();
    blame.dedup();
    assert!(blame.is_empty(), "the daemon's own failures:\n{}", blame.concat());
    // Those that their policy starts again and again would never stand still.
    let client = daemon.dray();
    for id in client.ok("ps -aq --filter status=restarting --filter status=running").split_whitespace() {
        client.ok(&format!("update --restart no {id}"));
    }
    eventually("nothing is started again any more", || {
        client.ok("ps -q --filter status=restarting").is_empty()
    });
    settle(&daemon, "after the clients");
    daemon.crash_and_restart();
    settle(&daemon, "after one more kill");
    for id in client.ok("ps -aq").split_whitespace() {
        client.ok(&format!("rm -fv {id}"));
    }
    for name in CONTAINERS {
        client.ok(&format!("create --name {name} busybox true"));
        client.ok(&format!("rm {name}"));
    }
    client.ok("volume prune -af");
    settle(&daemon, "after all was removed");
    assert_eq!(names_in(&daemon.data_root().join("volumes")), BTreeSet::new());
}
