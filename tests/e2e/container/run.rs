//! `run`: output, exit codes, flags and every way in which it can be asked wrongly.

use dray_harness::{Daemon, Finished};

#[test]
fn prints_what_the_program_prints_and_ends_as_it_ends() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let done = client.run(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        let done = done.expect_code(7);
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"), "{}", client.name());
    }
    assert_eq!(daemon.dray().ok("ps -aq"), "", "--rm leaves no container");
}

#[test]
fn ends_with_127_when_the_command_is_not_there() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.sh("run --rm busybox nosuch").expect_code(127).expect_error("nosuch");
        client.sh("run --rm busybox /no/such").expect_code(127).expect_error("/no/such");
    }
    assert_eq!(daemon.dray().ok("ps -aq"), "");
}

#[test]
fn ends_with_126_when_the_command_cannot_be_executed() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.sh("run --rm busybox /etc/passwd").expect_code(126).expect_error("permission denied");
        client.sh("run --rm busybox /etc").expect_code(126);
    }
}

#[test]
fn ends_with_125_when_the_daemon_refuses() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client
            .sh("run --rm --name -bad- busybox true")
            .expect_code(125)
            .expect_error("Invalid container name");
        client.sh("run --rm -m 1k busybox true").expect_code(125).expect_error("Minimum memory limit");
        client.sh("run --rm --network nosuch busybox true").expect_code(125).expect_error("nosuch");
        client.sh("run --rm --user nosuch busybox true").expect_code(125).expect_error("nosuch");
        client.sh("run --rm -w relative busybox true").expect_code(125).expect_error("relative");
        client.sh("run --restart sometimes busybox true").expect_code(125).expect_error("sometimes");
        client.sh("run --rm --cap-add NOSUCH busybox true").expect_code(125).expect_error("NOSUCH");
    }
    assert_eq!(daemon.dray().ok("ps -aq"), "", "a refused run leaves no container");
}

#[test]
fn names_the_wrong_flag_value() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        client.sh("run -p 80:x busybox true").expect_code(125).expect_error("invalid containerPort: x");
        client.sh("run -p 99999:80 busybox true").expect_code(125).expect_error("invalid hostPort: 99999");
        client.sh("run -m lots busybox true").expect_code(125).expect_error("lots");
        client.sh("run --mount type=nope,target=/x busybox true").expect_code(125).expect_error("nope");
        client.sh("run --nosuchflag busybox true").expect_code(125).expect_error("--nosuchflag");
        client.sh("run").expect_code(1).expect_error("requires at least 1 argument");
    }
}

#[test]
fn unknown_image_is_named() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let done = client.sh("run --rm --pull never nosuch:v9 true").expect_code(125);
        assert!(done.stderr.contains("No such image: nosuch:v9"), "{}", done.stderr);
    }
}

#[test]
fn a_name_in_use_names_its_holder() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let id = client.ok("run -d --name taken busybox sleep 100");
        let done = client.sh("run -d --name taken busybox true").expect_code(125);
        done.expect_error("The container name \"/taken\" is already in use by container").expect_error(&id);
        client.ok("rm -f taken");
    }
}

#[test]
fn detached_prints_the_id() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let id = client.ok("run -d busybox sleep 100");
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(client.ok("ps -q --no-trunc"), id);
        client.ok(&format!("rm -f {id}"));
    }
}

#[test]
fn standard_input_is_piped_and_its_end_seen() {
    let daemon = Daemon::start();
    let input: Vec<u8> = (0..400_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    for client in daemon.clients() {
        let done = client.run_with_input(["run", "-i", "--rm", "busybox", "cat"], &input).expect_success();
        assert!(done.stdout.as_bytes() == input, "{} bytes came back of {}", done.stdout.len(), input.len());
        let done =
            client.run_with_input(["run", "-i", "--rm", "busybox", "wc", "-c"], &input).expect_success();
        assert_eq!(done.stdout.trim(), input.len().to_string());
    }
}

#[test]
fn much_output_arrives_whole() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let done = client.run(["run", "--rm", "busybox", "seq", "1", "300000"]).expect_success();
        assert_eq!(done.stdout.lines().count(), 300_000);
        assert!(done.stdout.ends_with("300000\n"));
    }
}

fn in_container(daemon: &Daemon, flags: &str, script: &str) -> Finished {
    let arguments: Vec<&str> = ["run", "--rm"]
        .into_iter()
        .chain(flags.split_whitespace())
        .chain(["busybox", "sh", "-c", script])
        .collect();
    daemon.dray().run(arguments)
}

#[test]
fn flags_reach_the_process() {
    let daemon = Daemon::start();
    let line = |flags: &str, script: &str| in_container(&daemon, flags, script).expect_success().stdout;
    assert_eq!(line("-e A=1 -e B=two", "echo $A-$B"), "1-two\n");
    assert_eq!(line("-w /tmp", "pwd"), "/tmp\n");
    assert_eq!(line("-w /made/for/me", "pwd"), "/made/for/me\n");
    assert_eq!(line("-u nobody", "id -u; id -g"), "65534\n65534\n");
    assert_eq!(line("-u 1234:55", "id -u; id -g"), "1234\n55\n");
    assert_eq!(line("-h box", "hostname; cat /etc/hostname"), "box\nbox\n");
    assert_eq!(line("--ulimit nofile=99:100", "ulimit -n; ulimit -Hn"), "99\n100\n");
    assert_eq!(line("--add-host db:10.1.2.3", "grep -w db /etc/hosts"), "10.1.2.3\tdb\n");
    assert_eq!(line("--tmpfs /scratch", "grep -c ' /scratch tmpfs ' /proc/mounts"), "1\n");
    assert_eq!(
        line(
            "--sysctl net.ipv4.ip_unprivileged_port_start=7",
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        ),
        "7\n"
    );
    assert_eq!(line("--group-add staff -u nobody", "id -G"), "65534 50\n");
    assert_eq!(line("--shm-size 1m", "df -k /dev/shm | tail -1 | awk '{print $2}'"), "1024\n");
    assert_eq!(line("", "echo $HOME; id -u"), "/root\n0\n");
}

#[test]
fn a_read_only_root_cannot_be_written() {
    let daemon = Daemon::start();
    in_container(&daemon, "--read-only", "echo x > /file")
        .expect_code(1)
        .expect_error("Read-only file system");
    in_container(&daemon, "--read-only --tmpfs /run", "echo x > /run/file").expect_success();
}

#[test]
fn the_default_is_confined() {
    let daemon = Daemon::start();
    // Docker's default set of capabilities.
    let caps = in_container(&daemon, "", "grep CapEff /proc/self/status").expect_success();
    assert_eq!(caps.stdout.split_whitespace().nth(1), Some("00000000a80425fb"));
    in_container(&daemon, "", "mount -t tmpfs x /tmp").expect_code(1);
    in_container(&daemon, "", "echo 1 > /proc/sys/kernel/sysrq").expect_code(1);
    in_container(&daemon, "", "grep -q 'Seccomp:.2' /proc/self/status").expect_success();
    in_container(&daemon, "", "cat /proc/kcore | head -c1 | wc -c").expect_output("0");
    in_container(&daemon, "", "unshare -U true").expect_code(1);
    let none = in_container(&daemon, "--cap-drop ALL", "grep CapEff /proc/self/status").expect_success();
    assert_eq!(none.stdout.split_whitespace().nth(1), Some("0000000000000000"));
    in_container(&daemon, "--privileged", "mount -t tmpfs x /tmp").expect_success();
}

#[test]
fn each_container_sees_only_itself() {
    let daemon = Daemon::start();
    let done =
        in_container(&daemon, "", "echo $$; ls /proc | grep -c '^[0-9]'; hostname | wc -c").expect_success();
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines[0], "1", "the program is process 1");
    assert!(lines[1].parse::<u32>().expect("a number") <= 4, "{lines:?}");
    assert_eq!(lines[2], "13", "the host name is the short id");
}

#[test]
fn an_init_reaps_and_forwards() {
    let daemon = Daemon::start();
    let done = in_container(&daemon, "--init", "cat /proc/1/comm; echo $$").expect_success();
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_ne!(lines[1], "1", "the program is not process 1 under --init: {lines:?}");
}

#[test]
fn entrypoint_and_command_are_joined() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let done = client.sh("run --rm --entrypoint echo busybox a b").expect_success();
        assert_eq!(done.stdout, "a b\n");
    }
}

#[test]
fn a_cidfile_holds_the_id() {
    let daemon = Daemon::start();
    for client in daemon.clients() {
        let file = daemon.scratch("cid").join(client.name());
        let done = client
            .run(["run", "-d", "--cidfile", &file.to_string_lossy(), "busybox", "true"])
            .expect_success();
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), done.stdout.trim());
    }
}

#[test]
fn an_environment_file_is_read() {
    let daemon = Daemon::start();
    let file = daemon.scratch("env").join("file");
    std::fs::write(&file, "# comment\nONE=1\nTWO=with blanks\n").expect("a file");
    for client in daemon.clients() {
        let file = file.to_string_lossy();
        let done = client.run(["run", "--rm", "--env-file", &file, "busybox", "sh", "-c", "echo $ONE,$TWO"]);
        assert_eq!(done.expect_success().stdout, "1,with blanks\n");
    }
}
