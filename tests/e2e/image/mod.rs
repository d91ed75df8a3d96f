//! `image` commands.

mod archive;
mod diff;
mod handed;
mod list;
mod mount;
mod squash;
mod tag;
mod tree;

use dray_harness::Daemon;

/// An image whose layers replace and remove files of each other.
fn build_wasteful(daemon: &Daemon, name: &str) {
    let folder = daemon.scratch("wasteful");
    let text = "FROM busybox\n\
                RUN mkdir /data && head -c 300000 /dev/zero > /data/big && head -c 5000 /dev/zero > /data/kept\n\
                RUN rm /data/big && echo changed > /data/kept && chmod 4755 /bin/busybox\n\
                ENV A=b\n\
                RUN rm -r /home && ln -s /data /home\n";
    std::fs::write(folder.join("Dockerfile"), text).expect("a Dockerfile");
    daemon.dray().run(["build", "-q", "-t", name, &folder.to_string_lossy()]).expect_success();
}
