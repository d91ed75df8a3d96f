//! The shim: attachments, execs, terminals, logs, and what happens when somebody dies.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::time::{Duration, Instant};

use dray_runtime::{AttachStreams, ErrorKind, Frame, LogTarget, Shim, ShimError, StreamKind, reap_lost};
use dray_spec::runtime::{NamespaceKind, Pids, Resources};
use support::{Box, eventually, read_frame, read_frames, stdin_frame};

#[test]
fn an_attachment_from_the_start_gets_everything() {
    let mut container = Box::sh("echo out; echo err >&2; exit 5");
    let mut stream = container.attach_at_start();
    container.start().unwrap();
    assert_eq!(read_frames(&mut stream), (5, "out\n".to_owned(), "err\n".to_owned()));
    assert_eq!(container.wait().code, 5);
}

#[test]
fn stdin_goes_in_and_ends_once() {
    let mut container = Box::new(&["cat"]);
    container.request.open_stdin = true;
    container.request.stdin_once = true;
    let mut stream = container.attach_at_start();
    container.start().unwrap();
    stream.write_all(&stdin_frame(b"hello ")).unwrap();
    // A frame may come in pieces.
    let frame = stdin_frame(b"world");
    stream.write_all(&frame[..3]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    stream.write_all(&frame[3..]).unwrap();
    stream.write_all(&stdin_frame(b"")).unwrap();
    assert_eq!(read_frames(&mut stream), (0, "hello world".to_owned(), String::new()));
}

#[test]
fn stdin_stays_open_for_the_next_attachment() {
    let mut container = Box::new(&["cat"]);
    container.request.open_stdin = true;
    container.start().unwrap();
    let mut first = container.shim().attach().unwrap();
    first.write_all(&stdin_frame(b"one\n")).unwrap();
    assert_eq!(read_frame(&mut first), Some((StreamKind::Stdout, b"one\n".to_vec())));
    first.write_all(&stdin_frame(b"")).unwrap();
    drop(first);
    let mut second = container.shim().attach().unwrap();
    second.write_all(&stdin_frame(b"two\n")).unwrap();
    assert_eq!(read_frame(&mut second), Some((StreamKind::Stdout, b"two\n".to_vec())));
}

#[test]
fn much_stdin_comes_out_whole() {
    let mut container = Box::new(&["wc", "-c"]);
    container.request.open_stdin = true;
    container.request.stdin_once = true;
    let mut stream = container.attach_at_start();
    container.start().unwrap();
    let piece = stdin_frame(&vec![b'x'; 60_000]);
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for _ in 0..50 {
            writer.write_all(&piece).unwrap();
        }
        writer.write_all(&stdin_frame(b"")).unwrap();
    });
    assert_eq!(read_frames(&mut stream), (0, "3000000\n".to_owned(), String::new()));
    sender.join().unwrap();
}

#[test]
fn a_slow_reader_gets_everything_and_a_dead_one_is_dropped() {
    let mut container = Box::sh("head -c 4000000 /dev/zero; echo end >&2");
    container.request.log = LogTarget::None;
    let mut slow = container.attach_at_start();
    let dead = container.attach_at_start();
    container.start().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(dead);
    let mut total = 0;
    loop {
        match read_frame(&mut slow).unwrap() {
            (StreamKind::Stdout, bytes) => total += bytes.len(),
            (StreamKind::Stderr, bytes) => assert_eq!(bytes, b"end\n"),
            (StreamKind::Control, bytes) => break assert_eq!(bytes, b"{\"exit\":0}"),
            (StreamKind::Stdin, _) => panic!("stdin from the shim"),
        }
        if total < 500_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(total, 4_000_000);
}

#[test]
fn nonsense_on_a_stream_only_ends_that_stream() {
    let mut container = Box::sh("sleep 0.3; echo alive");
    container.start().unwrap();
    let mut bad = container.shim().attach().unwrap();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    bad.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    assert_eq!(container.wait().code, 0);
    assert_eq!(container.said(), "alive\n");
}

#[test]
fn a_terminal() {
    let mut container = Box::sh(
        "stty size; test -t 0 && tty; ls -l /dev/console | cut -c1; read line; stty size; echo got $line",
    );
    container.request.tty = true;
    container.request.open_stdin = true;
    container.request.console_size = Some((40, 120));
    let mut stream = container.attach_at_start();
    container.start().unwrap();
    let mut seen = String::new();
    while !seen.contains("c\r\n") {
        seen += &String::from_utf8(read_frame(&mut stream).unwrap().1).unwrap();
    }
    assert!(seen.starts_with("40 120\r\n/dev/pts/0\r\n"), "{seen:?}");
    container.shim().resize(None, 50, 130).unwrap();
    stream.write_all(&stdin_frame(b"hi\n")).unwrap();
    let (code, rest, _) = read_frames(&mut stream);
    assert_eq!(code, 0);
    assert!(rest.contains("50 130\r\ngot hi\r\n"), "{rest:?}");
    assert!(container.said().contains("got hi\r\n"));
}

#[test]
fn an_exec_in_the_container() {
    let mut container = Box::sh("sleep 60");
    container.start().unwrap();
    let (code, out, err) = container.exec_run(&["sh", "-c", "hostname; pwd; echo oops >&2; exit 9"]);
    assert_eq!((code, out.as_str(), err.as_str()), (9, "box\n/\n", "oops\n"));
    let (_, out, _) = container.exec_run(&["grep", "-E", "CapEff|Seccomp:", "/proc/self/status"]);
    assert_eq!(out, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n");
    let (_, out, _) = container.exec_run(&["sh", "-c", "ls /proc/self/fd | wc -l"]);
    assert_eq!(out, "4\n");
    // In every cgroup of the container.
    let pids = container.shim().pids().unwrap().len();
    let mut sleeper = container.exec(&["sleep", "60"]);
    sleeper.detach = true;
    let started = container.shim().exec(sleeper).unwrap();
    assert!(started.stream.is_none());
    eventually("the exec is in the cgroup", || container.shim().pids().unwrap().len() > pids);
    assert!(container.shim().pids().unwrap().contains(&started.pid));
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", started.pid)).unwrap();
    for controller in ["memory", "pids", "cpuacct"] {
        let line = cgroup.lines().find(|line| line.contains(&format!(":{controller}:")));
        assert!(line.is_none_or(|line| line.ends_with(&container.id)), "{cgroup}");
    }
}

#[test]
fn exec_failures_speak_dockers_words() {
    let mut container = Box::sh("sleep 60");
    container.start().unwrap();
    let shim = container.shim();
    let failure = |args: &[&str]| match shim.exec(container.exec(args)) {
        Err(ShimError::Start(error)) => (error.to_string(), error.kind()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        failure(&["nosuch"]),
        ("exec: \"nosuch\": executable file not found in $PATH".to_owned(), ErrorKind::CommandNotFound)
    );
    assert_eq!(
        failure(&["/etc/passwd"]),
        ("exec: \"/etc/passwd\": permission denied".to_owned(), ErrorKind::NotExecutable)
    );
    let mut request = container.exec(&["true"]);
    request.process.cwd = "/nosuch".into();
    let text = shim.exec(request).unwrap_err().to_string();
    assert_eq!(text, "chdir to cwd (\"/nosuch\") set in config.json failed: no such file or directory");
    let mut request = container.exec(&["true"]);
    request.process.user.username = Some("ghost".into());
    assert!(shim.exec(request).unwrap_err().to_string().contains("unable to find user ghost"));
    assert!(matches!(shim.exec_wait("none").unwrap().recv(), Err(ShimError::NoSuchExec { .. })));
    assert!(matches!(shim.resize(None, 1, 1), Err(ShimError::NoTerminal)));
}

#[test]
fn an_exec_with_stdin_and_with_a_terminal() {
    let mut container = Box::sh("sleep 60");
    container.start().unwrap();
    let started = container.shim().exec(container.exec(&["cat"])).unwrap();
    let mut stream = started.stream.unwrap();
    stream.write_all(&stdin_frame(b"through")).unwrap();
    stream.write_all(&stdin_frame(b"")).unwrap();
    assert_eq!(read_frames(&mut stream), (0, "through".to_owned(), String::new()));
    let mut request = container.exec(&["sh", "-c", "stty size; read x; stty size"]);
    request.tty = true;
    request.console_size = Some((10, 20));
    let id = request.exec_id.clone();
    let mut stream = container.shim().exec(request).unwrap().stream.unwrap();
    assert_eq!(read_frame(&mut stream).unwrap().1, b"10 20\r\n");
    container.shim().resize(Some(&id), 11, 21).unwrap();
    stream.write_all(&stdin_frame(b"\n")).unwrap();
    assert!(read_frames(&mut stream).1.contains("11 21\r\n"));
    assert_eq!(container.shim().exec_wait(&id).unwrap().recv().unwrap().code, 0);
}

#[test]
fn an_exec_that_leaves_a_child_behind_ends() {
    let mut container = Box::sh("sleep 60");
    container.start().unwrap();
    let begun = Instant::now();
    let (code, out, _) = container.exec_run(&["sh", "-c", "sleep 50 & echo done"]);
    assert_eq!((code, out.as_str()), (0, "done\n"));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_end_of_the_container_ends_its_execs() {
    for host_pids in [false, true] {
        let mut container = Box::sh("sleep 60");
        if host_pids {
            container.linux().namespaces.retain(|namespace| namespace.kind != NamespaceKind::Pid);
        }
        container.start().unwrap();
        let mut stream = container.shim().exec(container.exec(&["sleep", "60"])).unwrap().stream.unwrap();
        container.shim().kill(9).unwrap();
        assert_eq!(read_frames(&mut stream).0, 137);
        assert_eq!(container.wait().code, 137);
        eventually("cgroups are gone", || container.cgroups().is_empty());
        assert!(Shim::open(&container.request.run_dir).is_none());
    }
}

#[test]
fn signals_and_their_codes() {
    let mut container = Box::sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    container.start().unwrap();
    eventually("ready", || container.said() == "ready\n");
    container.shim().kill(15).unwrap();
    assert_eq!(container.wait().code, 3);
    let mut container = Box::sh("sleep 60");
    container.start().unwrap();
    container.shim().kill(9).unwrap();
    assert_eq!(container.wait().code, 137);
    let mut container = Box::sh("kill -11 $$; sleep 60");
    container.linux().namespaces.retain(|namespace| namespace.kind != NamespaceKind::Pid);
    container.start().unwrap();
    assert_eq!(container.wait().code, 139);
}

#[test]
fn a_program_begins_with_default_signals() {
    let (_, said) = Box::sh("grep -E 'Sig(Blk|Ign)' /proc/self/status; umask").run();
    assert_eq!(said, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\n");
    let mut container = Box::sh("trap 'exit 8' 37; echo ready; while :; do sleep 0.05; done");
    container.start().unwrap();
    eventually("ready", || container.said() == "ready\n");
    container.shim().kill(37).unwrap();
    assert_eq!(container.wait().code, 8);
    assert!(matches!(container.shim_error(99), ShimError::Io { .. } | ShimError::Gone { .. }));
}

#[test]
fn a_container_does_not_outlive_a_killed_shim() {
    let mut container = Box::sh("sleep 60");
    container.process().user.uid = 1000;
    let started = container.start().unwrap();
    Command::new("kill").args(["-9", &started.shim_pid.to_string()]).status().unwrap();
    eventually("the init is gone", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", started.init_pid)).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    });
}

#[test]
fn it_can_be_started_again() {
    let mut container = Box::sh("echo run >> /count; wc -l < /count");
    for round in 1..=3 {
        container.start().unwrap();
        assert_eq!(container.wait().code, 0);
        assert!(container.said().ends_with(&format!("{round}\n")));
    }
}

#[test]
fn pause_update_stats() {
    let mut container = Box::sh("i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done");
    container.start().unwrap();
    let shim = container.shim();
    eventually("it counts", || !container.said().is_empty());
    shim.pause().unwrap();
    assert!(shim.is_paused().unwrap());
    let text = shim.exec(container.exec(&["true"])).unwrap_err().to_string();
    assert!(text.contains("paused"), "{text}");
    std::thread::sleep(Duration::from_millis(50));
    let before = container.said();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(container.said(), before);
    shim.resume().unwrap();
    eventually("it goes on", || container.said() != before);
    let resources = Resources { pids: Some(Pids { limit: 77 }), ..Resources::default() };
    shim.update(&resources).unwrap();
    let stats = shim.stats().unwrap();
    assert_eq!(stats.pids.limit, Some(77));
    assert!(stats.pids.current >= 1 && stats.memory.usage > 0 && stats.cpu.total > 0, "{stats:?}");
}

#[test]
fn cpus_can_be_chosen_while_it_runs() {
    let mut container = Box::sh("sleep 60");
    let started = container.start().unwrap();
    let cpu = dray_spec::runtime::Cpu { cpus: Some("0".to_owned()), ..Default::default() };
    container.shim().update(&Resources { cpu: Some(cpu), ..Resources::default() }).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", started.init_pid)).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    let (_, out, _) = container.exec_run(&["grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(out, "Cpus_allowed_list:\t0\n");
}

#[test]
fn a_killed_shim_is_cleaned_up_after() {
    let mut container = Box::sh("sleep 60");
    let started = container.start().unwrap();
    let shim = container.shim();
    let wait = shim.wait().unwrap();
    assert!(Command::new("kill").args(["-9", &started.shim_pid.to_string()]).status().unwrap().success());
    assert!(matches!(wait.recv(), Err(ShimError::Gone { .. })));
    assert!(matches!(shim.kill(15), Err(ShimError::Gone { .. })));
    assert!(Shim::open(&container.request.run_dir).is_none());
    let status = reap_lost(&container.request.run_dir).unwrap();
    assert_eq!(status.code, 137);
    assert!(container.cgroups().is_empty());
    eventually("the init is gone", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", started.init_pid)).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    });
    // And the container can be started again.
    container.start().unwrap();
    assert_eq!(container.exec_run(&["echo", "back"]).1, "back\n");
}

#[test]
fn a_shim_survives_the_one_who_started_it() {
    // Terminal signals of the daemon's session, and its polite end, do not reach the container.
    let mut container = Box::sh("sleep 0.5; echo still here");
    let started = container.start().unwrap();
    for signal in ["-TERM", "-INT", "-HUP"] {
        Command::new("kill").args([signal, &started.shim_pid.to_string()]).status().unwrap();
    }
    assert_eq!(container.wait().code, 0);
    assert_eq!(container.said(), "still here\n");
}

#[test]
fn a_client_that_says_nothing_does_no_harm() {
    let mut container = Box::sh("sleep 0.3");
    container.start().unwrap();
    let shim = container.shim();
    let mut half = shim.attach_streams(AttachStreams::NONE).unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let path = container.request.run_dir.join("shim.sock");
    let _silent = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let mut broken = std::os::unix::net::UnixStream::connect(&path).unwrap();
    broken.write_all(&5_u32.to_le_bytes()).unwrap();
    broken.write_all(b"{bad}").unwrap();
    let mut answer = Vec::new();
    broken.read_to_end(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("Malformed"));
    assert_eq!(container.wait().code, 0);
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_long_run_directory() {
    let mut container = Box::sh("exit 2");
    container.request.run_dir = container.dir.join("d".repeat(100)).join("e".repeat(64));
    container.start().unwrap();
    assert_eq!(container.wait().code, 2);
}

#[test]
fn the_shim_is_small() {
    // Several at once: the pages of the program are shared by all of them and by the daemon.
    let mut containers: Vec<Box> = (0..5).map(|_| Box::sh("echo started; sleep 60")).collect();
    let mut sizes = Vec::new();
    for container in &mut containers {
        container.start().unwrap();
        eventually("output", || !container.said().is_empty());
    }
    for container in &containers {
        let pid = container.started.as_ref().unwrap().shim_pid;
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let kib = |name: &str| -> u64 {
            let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        sizes.push(kib("Private_Clean:") + kib("Private_Dirty:"));
    }
    sizes.sort_unstable();
    println!("private memory of a shim: {} KiB (median of {})", sizes[sizes.len() / 2], sizes.len());
    assert!(sizes[sizes.len() / 2] < 400, "{sizes:?}");
}

#[test]
fn many_at_once() {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..5 {
                    let mut container = Box::sh("echo one; exit 4");
                    let mut stream = container.attach_at_start();
                    container.start().unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(read_frames(&mut stream), (4, "one\n".to_owned(), String::new()));
                    assert_eq!(container.wait().code, 4);
                    eventually("its cgroups are gone", || container.cgroups().is_empty());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn frames_of_the_engine_are_understood() {
    assert_eq!(Frame::decode(stdin_frame(b"x")[..8].try_into().unwrap()).unwrap().len, 1);
}

#[test]
fn a_log_that_does_not_block_loses_lines_rather_than_time() {
    let mut container = Box::sh(
        "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end >&2",
    );
    // A disk that takes nothing more: a pipe that nobody reads.
    let path = container.dir.join("stuck.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let stuck = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    container.request.log = LogTarget::JsonFile {
        path,
        max_size: None,
        max_file: 1,
        compress: false,
        buffer: Some(100_000),
        attrs: Default::default(),
    };
    let mut stream = container.attach_at_start();
    container.start().unwrap();
    // The program comes to its end while the log is stuck.
    let mut lines = 0;
    loop {
        match read_frame(&mut stream) {
            Some((StreamKind::Stderr, text)) if text == b"end\n" => break,
            Some((_, text)) => lines += text.iter().filter(|&&byte| byte == b'\n').count(),
            None => panic!("the stream ended after {lines} lines"),
        }
    }
    // What was taken is written once the disk works again, and only then is the container over.
    let mut reader = stuck.try_clone().unwrap();
    let drain = std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut buffer = [0; 65536];
        while let Ok(read) = reader.read(&mut buffer) {
            text.extend_from_slice(&buffer[..read]);
            if text.ends_with(b"last\n") {
                break;
            }
        }
        text
    });
    assert_eq!(container.wait().code, 0);
    (&stuck).write_all(b"last\n").unwrap();
    let text = String::from_utf8(drain.join().unwrap()).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| *line != "last").collect();
    assert!(!kept.is_empty() && kept.len() < 20_000, "{} of 20000 lines", kept.len());
    assert!(
        kept.iter().all(|line| line.starts_with("{\"log\":\"") && line.ends_with("Z\"}")),
        "only whole lines"
    );
}
