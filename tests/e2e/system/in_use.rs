//! What somebody is about to use is not removed: containers, builds and pulls beside prunes that never rest.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use dray_harness::registry::Registry;
use dray_harness::{Client, Daemon};

/// Runs `work` while `lines` are run over and over.
fn beside(client: &Client, lines: &[&str], work: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for line in lines {
                    client.sh(line);
                }
            }
        });
        let stop = scopeguard(&done);
        work();
        drop(stop);
    });
}

/// Ends the other thread also when the test panics.
fn scopeguard(done: &AtomicBool) -> impl Drop + use<'_> {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    Done(done)
}

#[test]
fn a_container_that_is_being_made_keeps_its_image_and_volumes() {
    let daemon = Daemon::empty();
    let client = daemon.docker();
    let mut made = 0;
    beside(
        &daemon.dray(),
        &["volume prune -af", "image prune -af", "container prune -f --filter label=x"],
        || {
            // Prunes that never rest win most races: it is tried until some containers were made.
            for n in 0..1000 {
                if made == 5 {
                    break;
                }
                daemon.load(&dray_harness::fixture::busybox());
                let line =
                    format!("create --pull never --name c{n} -v v{n}:/named -v /anonymous busybox true");
                let create = client.sh(&line);
                if create.code != 0 {
                    // It was pruned before this began; what begins is carried through.
                    assert!(create.stderr.contains("No such image"), "{}", create.stderr);
                    continue;
                }
                made += 1;
                client.ok(&format!("start -a c{n}"));
            }
        },
    );
    assert_eq!(made, 5, "containers that were made before their image was pruned");
    assert_eq!(client.ok("volume ls -q").lines().count(), 2 * made);
}

#[test]
fn a_build_keeps_what_it_has_found() {
    let daemon = Daemon::start();
    let client = daemon.docker();
    let folder = daemon.scratch("context");
    beside(&daemon.dray(), &["builder prune -af", "image prune -f"], || {
        for n in 0..8 {
            let text = format!(
                "FROM busybox\nRUN echo base > /base\nRUN --mount=type=cache,target=/c echo {n} >> /c/f && cp /c/f /n\nRUN tail -n 1 /n | grep -qx {n}\n"
            );
            fs::write(folder.join("Dockerfile"), text).expect("a Dockerfile");
            let name = format!("b{n}");
            client.run(["build", "-q", "-t", &name, &folder.to_string_lossy()]).expect_success();
            client.ok(&format!("run --rm {name} cat /base /n"));
        }
    });
}

#[test]
fn a_pull_keeps_the_layers_that_it_has_found() {
    let daemon = Daemon::start();
    let client = daemon.docker();
    let registry = Registry::start();
    let folder = daemon.scratch("context");
    let name = |n: u32| format!("{}/p{n}", registry.host());
    for n in 0..4 {
        let text = format!("FROM busybox\nRUN dd if=/dev/urandom of=/f bs=1M count=3\nRUN echo {n} > /n\n");
        fs::write(folder.join("Dockerfile"), text).expect("a Dockerfile");
        client.run(["build", "-q", "-t", &name(n), &folder.to_string_lossy()]).expect_success();
        client.ok(&format!("push -q {}", name(n)));
        client.ok(&format!("rmi {}", name(n)));
    }
    client.ok("builder prune -af");
    beside(&daemon.dray(), &["image prune -f", "builder prune -af"], || {
        for n in 0..4 {
            client.ok(&format!("pull -q {}", name(n)));
            assert_eq!(client.ok(&format!("run --rm {} cat /n", name(n))), n.to_string());
            // Layers that the next one has too are freed while it looks for them.
            client.ok(&format!("rmi {}", name(n)));
        }
    });
}
