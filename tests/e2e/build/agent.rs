//! `RUN --mount=type=ssh`: the step talks to the client's agent, and can do no more than list keys and sign.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use dray_harness::{Daemon, fixture};

use super::{build, buildx, context};

/// Lists the keys, then asks to remove them all; keeps the types of both answers.
const DOCKERFILE: &str = r#"FROM debian:bookworm-slim
RUN --mount=type=ssh,id=work,required=true <<'EOF'
#!/usr/bin/perl
use Socket;
socket(my $agent, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
connect($agent, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die "connect: $!";
sub ask {
    syswrite($agent, pack("N/a", shift)) or die "write: $!";
    sysread($agent, my $length, 4) == 4 or die "read: $!";
    sysread($agent, my $answer, unpack("N", $length)) or die "read: $!";
    return ord($answer);
}
open(my $file, ">", "/answers") or die;
print $file ask("\x0b"), " ", ask("\x13"), " $ENV{SSH_AUTH_SOCK}\n";
EOF
RUN test -z "$SSH_AUTH_SOCK" && test ! -S /run/buildkit/ssh_agent.0
"#;

/// An agent without keys that notes what it is asked.
fn agent(path: &Path) -> Arc<Mutex<Vec<u8>>> {
    let listener = UnixListener::bind(path).expect("the agent's socket");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let noted = Arc::clone(&noted);
            std::thread::spawn(move || serve(connection, &noted));
        }
    });
    asked
}

fn serve(mut connection: UnixStream, asked: &Mutex<Vec<u8>>) {
    let mut length = [0; 4];
    while connection.read_exact(&mut length).is_ok() {
        let mut question = vec![0; u32::from_be_bytes(length) as usize];
        if connection.read_exact(&mut question).is_err() {
            return;
        }
        asked.lock().expect("lock").push(question[0]);
        // SSH_AGENT_IDENTITIES_ANSWER with no keys.
        if connection.write_all(&[0, 0, 0, 5, 12, 0, 0, 0, 0]).is_err() {
            return;
        }
    }
}

#[test]
fn a_step_lists_keys_but_cannot_remove_them() {
    let daemon = Daemon::empty();
    daemon.load(&fixture::debian());
    let path = daemon.scratch("agent").join("socket");
    let asked = agent(&path);
    let folder = context(&daemon, "ssh", DOCKERFILE, &[]);
    for client in [daemon.dray(), buildx(&daemon)] {
        let flags = format!("--ssh work={} --no-cache -t ssh", path.display());
        build(&client, &folder, &flags).expect_success();
        let docker = daemon.docker();
        assert_eq!(docker.ok("run --rm ssh cat /answers"), "12 5 /run/buildkit/ssh_agent.0");
        assert_eq!(docker.ok("run --rm ssh find /run -name *agent*"), "");
        docker.ok("rmi ssh");
        let failed = build(&client, &folder, "--no-cache").expect_code(1);
        let said = failed.output();
        // buildx offers agents even if it has none.
        let words = ["no SSH key \"work\" forwarded from the client", "unset ssh forward key work"];
        assert!(words.iter().any(|words| said.contains(words)), "{said}");
        let failed = build(&client, &folder, &format!("--ssh other={} --no-cache", path.display()));
        assert!(failed.output().contains("unset ssh forward key work"), "{}", failed.output());
    }
    assert_eq!(*asked.lock().expect("lock"), [11, 11], "what the agent was asked");
}
