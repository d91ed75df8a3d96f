//! `images`, `history`, `inspect`.

use dray_harness::Daemon;

#[test]
fn columns_are_dockers() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let table = client.ok("images");
        let mut lines = table.lines();
        let head: Vec<&str> = lines.next().expect("a head").split_whitespace().collect();
        assert_eq!(head, ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]);
        let row: Vec<&str> = lines.next().expect("a row").split_whitespace().collect();
        assert_eq!(&row[..2], ["busybox", "latest"]);
        assert_eq!(row[2].len(), 12);
        assert!(client.ok("images -q --no-trunc").starts_with("sha256:"));
        assert_eq!(client.ok("images -q nosuch"), "");
        assert_eq!(client.ok("images --filter dangling=true -q"), "");
    }
}

#[test]
fn history_and_inspect_tell_of_the_layers() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        assert!(client.ok("history --no-trunc busybox").contains("ADD rootfs of busybox:latest"));
        let inspected = client.run([
            "image",
            "inspect",
            "-f",
            "{{.Os}} {{len .RootFS.Layers}} {{json .Config.Cmd}}",
            "busybox",
        ]);
        assert_eq!(inspected.expect_success().stdout.trim(), "linux 1 [\"sh\"]");
        client.sh("image inspect nosuch").expect_code(1).expect_error("No such image: nosuch");
    }
}
