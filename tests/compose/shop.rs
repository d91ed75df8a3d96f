//! `examples/compose-shop` as a person uses it: made, written to, read through every hop, hurt, scaled, taken down and
//! up again, by both Composes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dray_harness::client::{Client, Finished, eventually, fetch, finish_within};
use dray_harness::registry::free_port;
use dray_harness::{Daemon, compose, dray_binary, fixture};
use serde_json::Value;

use crate::load::Load;

struct Shop {
    daemon: Daemon,
    api: u16,
}

impl Shop {
    fn run(&self, program: &Path, args: &[&str]) -> Finished {
        finish_within(self.command(program, args), b"", Duration::from_secs(600))
    }

    fn build(&self, service: &str) {
        fetch(|| self.command(&dray_binary(), &["build", "--quiet", service])).expect_success();
    }

    fn command(&self, program: &Path, args: &[&str]) -> Command {
        let at: Client = self.daemon.dray();
        let mut command = Command::new(program);
        if program.ends_with("dray") {
            command.arg("compose");
        }
        for (name, value) in at.command(Vec::<&str>::new()).get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
            .args(args)
            .current_dir(folder())
            .env("WEB_PORT", "0")
            .env("API_PORT", self.api.to_string())
            .env("DB_PORT", "0")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        self.run(&dray_binary(), args).expect_success().stdout
    }

    fn address(&self) -> String {
        let published = self.ok(&["port", "web", "80"]);
        format!("http://127.0.0.1:{}/orders", published.trim().rsplit(':').next().unwrap_or_default())
    }

    fn ids(&self, service: &str) -> Vec<String> {
        self.ok(&["ps", "-q", service]).lines().map(str::to_owned).collect()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/compose-shop")
        .canonicalize()
        .expect("the example")
}

fn curl(args: &[&str]) -> Option<Value> {
    let answer = Command::new("curl").args(["-fsS", "-m", "20"]).args(args).output().expect("curl");
    serde_json::from_slice(&answer.stdout).ok().filter(|_| answer.status.success())
}

/// What an order's state is.
fn state(address: &str, id: i64) -> Option<String> {
    let orders = curl(&[address])?["orders"].as_array()?.clone();
    let order = orders.into_iter().find(|o| o["id"] == id)?;
    order["state"].as_str().map(str::to_owned)
}

/// Makes an order and waits until the worker has done it: through web, api, database and queue.
fn order(address: &str) -> i64 {
    let made = curl(&["-d", "a cart", address]).expect("an order");
    let id = made["id"].as_i64().expect("its number");
    eventually("the worker has done the order", || state(address, id).as_deref() == Some("done"));
    id
}

#[test]
fn the_shop_works_and_goes_on() {
    let shop = Shop { daemon: Daemon::empty(), api: free_port() };
    shop.daemon.load(&fixture::debian());
    // One at a time: each fetches many packages.
    for service in ["web", "api", "db", "cache"] {
        shop.build(service);
    }
    shop.ok(&["up", "-d", "--wait"]);
    let address = shop.address();
    let first = order(&address);
    let replicas = || {
        let by = |_| curl(&[&address]).and_then(|a| a["by"].as_str().map(str::to_owned));
        (0..12).filter_map(by).collect::<std::collections::BTreeSet<_>>()
    };
    eventually("both replicas answer", || replicas().len() == 2);

    let api = shop.ids("api");
    shop.daemon.dray().run(["kill", &api[0]]).expect_success();
    eventually("one replica goes on alone", || replicas().len() == 1);
    order(&address);
    shop.ok(&["up", "-d", "--wait"]);
    eventually("it is back", || replicas().len() == 2);

    shop.daemon.dray().run(["kill", &shop.ids("db")[0]]).expect_success();
    eventually("without the database the API says so", || curl(&[&address]).is_none());
    shop.ok(&["up", "-d", "--wait"]);
    assert_eq!(state(&address, first).as_deref(), Some("done"), "the data outlives its database");

    let load = Load::start(&["127.0.0.1"], shop.api, "/orders");
    shop.ok(&["scale", "api=4"]);
    eventually("four replicas answer", || replicas().len() == 4);
    shop.ok(&["scale", "api=2"]);
    eventually("two replicas answer", || replicas().len() == 2);
    // A new release, one replica after the other.
    let before = shop.ids("api");
    let mut roll = shop.command(&dray_binary(), &["up", "-d", "--wait"]);
    roll.env("RELEASE", "2");
    finish_within(roll, b"", Duration::from_secs(600)).expect_success();
    load.expect_no_failure();
    assert!(!shop.ids("api").iter().any(|id| before.contains(id)), "all are new");

    shop.ok(&["down"]);
    let theirs = compose::reference();
    let by_them = |args: &[&str]| shop.run(&theirs, args).expect_success().stdout;
    by_them(&["up", "-d", "--wait", "--no-build"]);
    let address = shop.address();
    assert_eq!(state(&address, first).as_deref(), Some("done"), "the data outlives the project");
    order(&address);
    let before = shop.ids("api");
    shop.ok(&["up", "-d"]);
    assert_eq!(shop.ids("api"), before, "what Docker Compose made stays");
    by_them(&["down", "-v"]);
    assert_eq!(shop.daemon.dray().ok("volume ls -q"), "");
}
