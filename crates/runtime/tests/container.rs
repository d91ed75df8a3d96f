//! Containers as the engine starts them: what is inside, what is hidden, how they end.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dray_runtime::{ErrorKind, Rootfs, SeccompPolicy, Step};
use dray_spec::runtime::{Device, Memory, Mount, Namespace, NamespaceKind, Pids, Rlimit};
use support::Box;

#[test]
fn a_program_runs_and_its_code_comes_back() {
    let mut container = Box::sh("echo hello; echo oops >&2; exit 7");
    let (code, said) = container.run();
    assert_eq!(code, 7);
    assert!(said.contains("hello\n") && said.contains("oops\n"), "{said}");
    assert!(container.cgroups().is_empty());
}

#[test]
fn it_has_namespaces_of_its_own() {
    let mut container =
        Box::sh("hostname; echo $$; ls /sys/class/net; cat /proc/self/cgroup | grep -v ':/$'");
    let (code, said) = container.run();
    assert_eq!(said, "box\n1\nlo\n");
    // grep found no cgroup path but the root.
    assert_eq!(code, 1);
}

#[test]
fn dev_is_dockers() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done
        readlink /dev/fd; readlink /dev/stdin; readlink /dev/ptmx; ls -d /dev/pts /dev/shm /dev/mqueue; echo x > /dev/null
        dd if=/dev/zero bs=4 count=1 2>/dev/null | wc -c; ls /dev/pts";
    let (code, said) = Box::sh(script).run();
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with(
        "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n\
         /dev/tty 5:0 666\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n/dev/mqueue\n/dev/pts\n/dev/shm\n4\nptmx\n"
    ), "{said}");
}

#[test]
fn the_kernel_is_hidden_and_read_only() {
    let script = "cat /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware | wc -l; wc -c < /proc/timer_list
        echo 1 2>/dev/null > /proc/sys/net/ipv4/ip_forward || echo ro-sys
        mkdir /sys/x 2>/dev/null || echo ro-sysfs; mkdir /sys/fs/cgroup/x 2>/dev/null || echo ro-cgroup
        mount -t tmpfs t /tmp 2>/dev/null || echo no-mount; echo h > /proc/sysrq-trigger || echo ro-sysrq";
    let (_, said) = Box::sh(script).run();
    assert_eq!(
        said.lines().filter(|line| !line.contains("can't create")).collect::<Vec<_>>(),
        ["0", "0", "0", "ro-sys", "ro-sysfs", "ro-cgroup", "no-mount", "ro-sysrq"]
    );
}

#[test]
fn rights_are_dockers() {
    let (_, said) = Box::sh("grep -E 'Cap|NoNew|Seccomp:' /proc/self/status").run();
    assert!(said.contains("CapBnd:\t00000000a80425fb"), "{said}");
    assert!(said.contains("CapEff:\t00000000a80425fb"), "{said}");
    assert!(said.contains("CapAmb:\t0000000000000000"), "{said}");
    assert!(said.contains("Seccomp:\t2"), "{said}");
    let mut container = Box::sh("grep -E 'Cap|NoNew|Seccomp:' /proc/self/status");
    container.request.seccomp = SeccompPolicy::Unconfined;
    container.process().no_new_privileges = true;
    container.process().user.uid = 1000;
    let (_, said) = container.run();
    assert!(
        said.contains("CapBnd:\t00000000a80425fb") && said.contains("CapEff:\t0000000000000000"),
        "{said}"
    );
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t0"), "{said}");
}

#[test]
fn ambient_capabilities_reach_other_users() {
    let mut container = Box::sh("grep CapEff /proc/self/status");
    let caps = container.process().capabilities.as_mut().unwrap();
    caps.inheritable = vec!["CAP_NET_RAW".into()];
    caps.ambient = vec!["CAP_NET_RAW".into()];
    container.process().user.uid = 1000;
    assert_eq!(container.run().1, "CapEff:\t0000000000002000\n");
}

#[test]
fn the_filter_refuses_inside() {
    // unshare: EPERM by the filter (the capability is missing too, so a user namespace tells them apart).
    let mut container = Box::sh("unshare -U true; echo $?");
    let (_, said) = container.run();
    assert!(said.contains("Operation not permitted") && said.ends_with("1\n"), "{said}");
    let mut open = Box::sh("unshare -U true; echo $?");
    open.request.seccomp = SeccompPolicy::Unconfined;
    assert_eq!(open.run().1, "0\n");
}

#[test]
fn users_are_found_in_the_container() {
    let script = "id -u; id -g; id -G; echo $HOME; stat -c %u /proc/self/fd/1; echo again > /dev/stdout";
    let mut container = Box::sh(script);
    container.process().user.username = Some("web".into());
    let (code, said) = container.run();
    assert_eq!((code, said.as_str()), (0, "1000\n1000\n1000 4\n/home/web\n1000\nagain\n"));
    let mut container = Box::sh("true");
    container.process().user.username = Some("nosuch".into());
    let error = container.start().unwrap_err();
    assert!(error.to_string().contains("unable to find user nosuch"), "{error}");
}

#[test]
fn programs_that_cannot_run_say_why() {
    let failure = |args: &[&str]| {
        let mut container = Box::new(args);
        fs::write(container.dir.join("layer/bin/text"), "#!/no/such/interpreter\n").unwrap();
        fs::set_permissions(
            container.dir.join("layer/bin/text"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        fs::write(container.dir.join("layer/bin/garbage"), "\x7fnothing").unwrap();
        fs::set_permissions(
            container.dir.join("layer/bin/garbage"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let error = container.start().unwrap_err();
        assert!(container.cgroups().is_empty());
        (error.to_string(), error.kind())
    };
    let not_found = ErrorKind::CommandNotFound;
    let not_executable = ErrorKind::NotExecutable;
    assert_eq!(
        failure(&["nosuch"]),
        ("exec: \"nosuch\": executable file not found in $PATH".to_owned(), not_found)
    );
    assert_eq!(
        failure(&["/nosuch"]),
        ("exec: \"/nosuch\": stat /nosuch: no such file or directory".to_owned(), not_found)
    );
    assert_eq!(
        failure(&["/etc/passwd"]),
        ("exec: \"/etc/passwd\": permission denied".to_owned(), not_executable)
    );
    assert_eq!(failure(&["/etc"]), ("exec: \"/etc\": is a directory".to_owned(), not_executable));
    assert_eq!(failure(&["garbage"]), ("exec: \"garbage\": exec format error".to_owned(), not_executable));
    assert_eq!(failure(&["text"]), ("exec: \"text\": no such file or directory".to_owned(), not_found));
}

#[test]
fn the_working_directory_is_made() {
    let mut container = Box::sh("pwd; stat -c %u .");
    container.process().cwd = "/srv/new".into();
    container.process().user.username = Some("web".into());
    assert_eq!(container.run().1, "/srv/new\n1000\n");
    let mut container = Box::sh("true");
    container.process().cwd = "/etc/passwd".into();
    let error = container.start().unwrap_err();
    assert_eq!(error.step, Step::Cwd);
    assert_eq!(
        error.to_string(),
        "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory"
    );
}

fn source(container: &Box, name: &str) -> PathBuf {
    let path = container.dir.join(name);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("file"), "content").unwrap();
    path
}

#[test]
fn binds_and_tmpfs() {
    let mut container = Box::sh(
        "cat /data/file /one/file.txt; echo more > /data/new; touch /ro/x 2>&1 | grep -o Read-only; df -h /scratch | grep -o 1.0M | head -n 1; ls /kept",
    );
    let data = source(&container, "data");
    let bind =
        |to: &str, from: &Path, options: &[&str]| Mount::new(to, "bind", from.display().to_string(), options);
    fs::create_dir(container.dir.join("layer/kept")).unwrap();
    fs::write(container.dir.join("layer/kept/image-file"), "").unwrap();
    container.request.spec.mounts.extend([
        bind("/data", &data, &["rbind", "rprivate"]),
        bind("/ro", &data, &["rbind", "ro", "rprivate"]),
        bind("/one/file.txt", &data.join("file"), &["rbind"]),
        Mount::new("/scratch", "tmpfs", "tmpfs", &["nosuid", "size=1m"]),
        Mount::new("/kept", "tmpfs", "tmpfs", &["tmpcopyup"]),
    ]);
    let (_, said) = container.run();
    assert_eq!(said, "contentcontentRead-only\n1.0M\nimage-file\n");
    assert_eq!(fs::read_to_string(data.join("new")).unwrap(), "more\n");
}

#[test]
fn read_only_reaches_mounts_below() {
    let mut container =
        Box::sh("touch /data/sub/x && echo writable; touch /all/sub/x 2>/dev/null || echo ro");
    let data = source(&container, "data");
    fs::create_dir(data.join("sub")).unwrap();
    // A mount of its own below the source, in a namespace of this test's child only.
    let status =
        std::process::Command::new("mount").args(["-t", "tmpfs", "t"]).arg(data.join("sub")).status();
    assert!(status.unwrap().success());
    container.request.spec.mounts.extend([
        Mount::new("/data", "bind", data.display().to_string(), &["rbind", "ro"]),
        Mount::new("/all", "bind", data.display().to_string(), &["rbind", "rro"]),
    ]);
    let (_, said) = container.run();
    assert!(std::process::Command::new("umount").arg(data.join("sub")).status().unwrap().success());
    assert_eq!(said, "writable\nro\n");
}

#[test]
fn hostile_links_do_not_lead_out() {
    let mut container = Box::sh("cat /escape/target/file; cat /etc/hosts");
    let data = source(&container, "data");
    let outside = container.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    let layer = container.dir.join("layer");
    symlink(&outside, layer.join("escape")).unwrap();
    symlink(outside.join("hosts"), layer.join("etc/hosts")).unwrap();
    container.request.spec.mounts.extend([
        Mount::new("/escape/target", "bind", data.display().to_string(), &["rbind"]),
        Mount::new("/etc/hosts", "bind", data.join("file").display().to_string(), &["bind"]),
    ]);
    assert_eq!(container.run().1, "contentcontent");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn bad_mounts_name_themselves() {
    let failure = |mount: Mount| {
        let mut container = Box::sh("true");
        container.request.spec.mounts.push(mount);
        container.start().unwrap_err().to_string()
    };
    let text = failure(Mount::new("/data", "bind", "/no/such/source", &["rbind"]));
    assert_eq!(text, "mount /data: bind source path does not exist: /no/such/source");
    let text = failure(Mount::new("/etc/passwd", "bind", "/tmp", &["rbind"]));
    assert!(
        text.starts_with("mount /etc/passwd: not a directory: Are you trying to mount a directory"),
        "{text}"
    );
    let text = failure(Mount::new("/data", "nosuchfs", "x", &[]));
    assert_eq!(text, "mount /data: unknown file system type \"nosuchfs\"");
    let text = failure(Mount::new("/proc/sys", "bind", "/tmp", &["rbind"]));
    assert_eq!(text, "mount /proc/sys: nothing can be mounted inside /proc");
    let text = failure(Mount::new("/data", "tmpfs", "x", &["size=nonsense"]));
    assert!(text.contains("size=nonsense"), "{text}");
}

#[test]
fn a_symlinked_proc_is_refused() {
    let mut container = Box::sh("true");
    let layer = container.dir.join("layer");
    fs::remove_dir(layer.join("proc")).unwrap();
    symlink("tmp", layer.join("proc")).unwrap();
    let text = container.start().unwrap_err().to_string();
    assert!(text.contains("plain directory"), "{text}");
}

#[test]
fn a_read_only_root() {
    let mut container =
        Box::sh("touch /x || echo ro; touch /dev/shm/y && echo shm; echo z > /dev/null && echo dev");
    container.request.spec.root.as_mut().unwrap().readonly = true;
    let (_, said) = container.run();
    assert!(said.ends_with("ro\nshm\ndev\n"), "{said}");
}

#[test]
fn many_layers() {
    let mut container = Box::sh("cat /n/5 /n/127; ls /n | wc -l");
    let mut lower = Vec::new();
    for number in 0..127 {
        let layer = container.dir.join(format!("layers/{number}"));
        fs::create_dir_all(layer.join("n")).unwrap();
        fs::write(layer.join(format!("n/{}", number + 1)), format!("{}\n", number + 1)).unwrap();
        lower.push(layer);
    }
    lower.push(container.dir.join("layer"));
    assert_eq!(lower.len(), 128);
    container.request.rootfs =
        Rootfs::Overlay { lower, upper: container.dir.join("upper"), work: container.dir.join("work") };
    assert_eq!(container.run().1, "5\n127\n127\n");
}

#[test]
fn limits_hold() {
    let mut container = Box::sh(
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max",
    );
    container.resources().memory = Some(Memory { limit: Some(64 << 20), ..Memory::default() });
    container.resources().pids = Some(Pids { limit: 50 });
    let (_, said) = container.run();
    assert_eq!(said, "67108864\n50\n");
}

#[test]
fn out_of_memory_is_told() {
    let mut container = Box::sh("head -c 100m /dev/zero | tail > /dev/null; exit 3");
    container.resources().memory =
        Some(Memory { limit: Some(16 << 20), swap: Some(16 << 20), ..Memory::default() });
    container.start().unwrap();
    assert!(container.wait().oom_killed);
}

#[test]
fn rlimits_and_sysctls() {
    let mut container = Box::sh("ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    container.process().rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".into(), soft: 100, hard: 200 }];
    container.linux().sysctl.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
    assert_eq!(container.run().1, "100\n200\n0\n");
    let mut container = Box::sh("true");
    container.linux().sysctl.insert("vm.swappiness".into(), "1".into());
    assert_eq!(container.start().unwrap_err().step, Step::Sysctl);
}

#[test]
fn devices_are_made_and_guarded() {
    let mut container = Box::sh(
        "stat -c %t:%T:%a /dev/own; mknod /tmp/mem c 1 1; cat /tmp/mem 2>&1 | grep -o 'not permitted'; cat /dev/own | head -c 0 && echo open",
    );
    container.linux().devices.push(Device {
        path: "/dev/own".into(),
        kind: "c".into(),
        major: 1,
        minor: 5,
        file_mode: Some(0o600),
        ..Device::default()
    });
    let (_, said) = container.run();
    assert!(said.starts_with("1:5:600\nnot permitted\n"), "{said}");
}

#[test]
fn host_namespaces_are_shared_where_asked() {
    let mut container = Box::sh("readlink /proc/self/ns/net; readlink /proc/self/ns/uts; hostname");
    container.request.spec.hostname = None;
    container.linux().namespaces.retain(|n| !matches!(n.kind, NamespaceKind::Network | NamespaceKind::Uts));
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    let (_, said) = container.run();
    assert!(said.starts_with(&format!("{}\n{}\n", own("net"), own("uts"))), "{said}");
}

#[test]
fn another_containers_namespaces_are_joined() {
    let mut first = Box::sh("sleep 60");
    let started = first.start().unwrap();
    let mut second = Box::sh("test $$ -ne 1 && echo joined; hostname; exit 4");
    second.request.spec.hostname = None;
    let join = |kind: NamespaceKind, name: &str| {
        Namespace::joined(kind, format!("/proc/{}/ns/{name}", started.init_pid))
    };
    for namespace in &mut second.linux().namespaces {
        match namespace.kind {
            NamespaceKind::Pid => *namespace = join(NamespaceKind::Pid, "pid"),
            NamespaceKind::Network => *namespace = join(NamespaceKind::Network, "net"),
            NamespaceKind::Uts => *namespace = join(NamespaceKind::Uts, "uts"),
            NamespaceKind::Ipc => *namespace = join(NamespaceKind::Ipc, "ipc"),
            _ => {}
        }
    }
    let (code, said) = second.run();
    assert_eq!((code, said.as_str()), (4, "joined\nbox\n"));
}

#[test]
fn a_user_namespace() {
    let mut container = Box::sh(
        "id -u; cat /proc/self/uid_map | tr -s ' '; echo x > /dev/null && echo dev; touch /made && stat -c %u /made",
    );
    for part in ["layer", "upper", "work"] {
        let status = std::process::Command::new("chown")
            .args(["-R", "100000:100000"])
            .arg(container.dir.join(part))
            .status();
        assert!(status.unwrap().success());
    }
    let mapping = dray_spec::runtime::IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };
    container.linux().namespaces.push(Namespace::new(NamespaceKind::User));
    container.linux().uid_mappings = vec![mapping];
    container.linux().gid_mappings = vec![mapping];
    let (code, said) = container.run();
    assert_eq!((code, said.as_str()), (0, "0\n 0 100000 65536\ndev\n0\n"));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(container.dir.join("upper/made")).unwrap().uid(), 100_000);
}

#[test]
fn our_binary_cannot_be_written_from_inside() {
    // CVE-2019-5736: the program is our own binary, reached through the link of the init.
    let mut container = Box::new(&["/proc/self/exe", "--version"]);
    // Whatever it does, the file behind the link is on a read-only mount.
    let _ = container.start().map(|_| container.wait());
    let mut container = Box::sh("sleep 60");
    let started = container.start().unwrap();
    let link = format!("/proc/{}/exe", started.shim_pid);
    let error = fs::OpenOptions::new().write(true).open(link).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::ExecutableFileBusy
        ),
        "{error}"
    );
}

#[test]
fn no_descriptor_and_no_directory_leaks() {
    let (_, said) = Box::sh("ls /proc/self/fd | wc -l").run();
    // Three streams and the directory being listed.
    assert_eq!(said, "4\n");
    let mut container = Box::sh("pwd");
    container.process().cwd = "/proc/self/fd/7".into();
    let error = container.start().unwrap_err();
    assert_eq!(error.step, Step::Cwd, "{error}");
}

#[test]
fn masks_cannot_be_redirected() {
    // The image brings links where the masks go, and a file for the null device.
    let mut container = Box::sh("true");
    container.request.spec.mounts.retain(|mount| mount.destination != Path::new("/dev"));
    let layer = container.dir.join("layer");
    symlink("/etc/passwd", layer.join("dev/null")).unwrap();
    let text = container.start().unwrap_err().to_string();
    assert!(text.starts_with("mask path"), "{text}");
}

#[test]
fn nothing_is_left_on_the_host() {
    let mounts = || {
        fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .lines()
            .filter(|l| l.contains("dray-runtime-rt"))
            .count()
    };
    let mut container = Box::sh("sleep 0.2");
    container.start().unwrap();
    assert!(!container.cgroups().is_empty());
    assert_eq!(container.wait().code, 0);
    assert!(container.cgroups().is_empty());
    assert_eq!(mounts(), 0);
    let left: Vec<_> =
        fs::read_dir(&container.request.run_dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name == "shim.sock"), "{left:?}");
}
