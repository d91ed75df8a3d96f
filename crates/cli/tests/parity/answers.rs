//! What the fake daemon knows.

use std::time::{SystemTime, UNIX_EPOCH};

use super::server::{Answer, Answers};

const WEB: &str = "4c01db0b339c1d4f3a5d0b1c2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f";
const JOB: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const IMAGE: &str = "sha256:2b8fd9751c4c0f5dd266fcae00707e67a2545ef34f9a29354585f93dac906749";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

fn json(body: impl Into<Vec<u8>>) -> Answer {
    Answer { status: 200, content_type: "application/json", body: body.into() }
}

fn text(body: impl Into<Vec<u8>>) -> Answer {
    Answer { status: 200, content_type: "text/plain", body: body.into() }
}

fn status(status: u16, message: &str) -> Answer {
    let body =
        if message.is_empty() { Vec::new() } else { format!("{{\"message\":\"{message}\"}}").into_bytes() };
    Answer { status, content_type: "application/json", body }
}

/// Everything.
pub fn all() -> Answers {
    let mut a = Answers::new();
    let mut put = |key: &str, answer: Answer| {
        a.insert(key.to_owned(), answer);
    };
    put("HEAD /_ping", text(""));
    put("GET /_ping", text("OK"));
    put("GET /containers/json", json(containers()));
    put("GET /containers/web/json", json(web()));
    put(&format!("GET /containers/{WEB}/json"), json(web()));
    put(
        "GET /containers/web/top",
        json(
            r#"{"Titles":["UID","PID","PPID","C","STIME","TTY","TIME","CMD"],"Processes":[["root","4242","4221","0","10:00","?","00:00:00","nginx: master process nginx -g daemon off;"],["systemd+","4300","4242","0","10:00","?","00:00:01","nginx: worker process"]]}"#,
        ),
    );
    put("GET /containers/web/stats", json(stats()));
    put(
        "GET /containers/web/changes",
        json(r#"[{"Path":"/etc","Kind":0},{"Path":"/etc/new","Kind":1},{"Path":"/tmp/gone","Kind":2}]"#),
    );
    put("GET /containers/job/changes", json("null"));
    put(
        &format!("GET /containers/{WEB}/logs"),
        Answer { status: 200, content_type: "application/vnd.docker.multiplexed-stream", body: logs() },
    );
    let stopped = web().replace(r#""Running":true"#, r#""Running":false"#);
    put("GET /containers/job/json", json(stopped));
    put("GET /containers/held/json", json(web().replace(r#""Paused":false"#, r#""Paused":true"#)));
    put("GET /containers/again/json", json(web().replace(r#""Restarting":false"#, r#""Restarting":true"#)));
    put("POST /containers/web/stop", status(204, ""));
    put("POST /containers/web/start", status(204, ""));
    put("POST /containers/web/restart", status(204, ""));
    put("POST /containers/web/kill", status(204, ""));
    put("POST /containers/web/pause", status(204, ""));
    put("POST /containers/web/unpause", status(204, ""));
    put("POST /containers/web/rename", status(204, ""));
    put("POST /containers/web/wait", json(r#"{"StatusCode":137}"#));
    put("POST /containers/web/update", json(r#"{"Warnings":["Your kernel does not support it."]}"#));
    put("DELETE /containers/web", status(204, ""));
    put(
        "DELETE /containers/job",
        status(
            409,
            "cannot remove container \\\"job\\\": container is running: stop the container before removing or force remove",
        ),
    );
    put(
        "POST /containers/create",
        json(format!(
            r#"{{"Id":"{WEB}","Warnings":["Your kernel does not support swap limit capabilities."]}}"#
        )),
    );
    put(&format!("POST /containers/{WEB}/start"), status(204, ""));
    put(&format!("POST /containers/{WEB}/wait"), json(r#"{"StatusCode":0}"#));
    put(
        "POST /containers/prune",
        json(format!(r#"{{"ContainersDeleted":["{JOB}"],"SpaceReclaimed":1234567}}"#)),
    );
    put("POST /commit", json(format!(r#"{{"Id":"{IMAGE}"}}"#)));
    images(&mut put);
    networks(&mut put);
    volumes(&mut put);
    system(&mut put);
    a
}

fn containers() -> String {
    let now = now();
    format!(
        r#"[{{"Id":"{WEB}","Names":["/web","/other/link"],"Image":"nginx","ImageID":"{IMAGE}","Command":"/docker-entrypoint.sh nginx -g 'daemon off;'","Created":{},"Ports":[{{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}},{{"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}},{{"PrivatePort":443,"Type":"tcp"}},{{"PrivatePort":444,"Type":"tcp"}},{{"IP":"127.0.0.1","PrivatePort":90,"PublicPort":90,"Type":"udp"}},{{"IP":"127.0.0.1","PrivatePort":91,"PublicPort":91,"Type":"udp"}}],"SizeRw":1095,"SizeRootFs":192345678,"Labels":{{"com.example.tier":"front","b":"2","a":"1"}},"State":"running","Status":"Up 2 hours","HostConfig":{{"NetworkMode":"bridge"}},"NetworkSettings":{{"Networks":{{"bridge":{{"NetworkID":"n1","EndpointID":"e1","Gateway":"172.17.0.1","IPAddress":"172.17.0.2","IPPrefixLen":16,"MacAddress":"02:42:ac:11:00:02"}}}}}},"Mounts":[{{"Type":"volume","Name":"a-rather-long-volume-name","Source":"/var/lib/docker/volumes/x/_data","Destination":"/data","Driver":"local","Mode":"z","RW":true,"Propagation":""}},{{"Type":"bind","Source":"/etc","Destination":"/host","Mode":"ro","RW":false,"Propagation":"rprivate"}}]}},
        {{"Id":"{JOB}","Names":["/job"],"Image":"{IMAGE}","ImageID":"{IMAGE}","Command":"sh -c \"echo 'hi'\"","Created":{},"Ports":[],"Labels":{{}},"State":"exited","Status":"Exited (3) 5 weeks ago","HostConfig":{{"NetworkMode":"none"}},"NetworkSettings":{{"Networks":{{"none":{{}}}}}},"Mounts":[]}}]"#,
        now - 7300,
        now - 86400 * 45
    )
}

fn web() -> String {
    format!(
        r#"{{"Id":"{WEB}","Created":"2025-01-02T03:04:05.678901234Z","Path":"nginx","Args":["-g","daemon off;"],"State":{{"Status":"running","Running":true,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":4242,"ExitCode":0,"Error":"","StartedAt":"2025-01-02T03:04:06Z","FinishedAt":"0001-01-01T00:00:00Z"}},"Image":"{IMAGE}","ResolvConfPath":"/x/resolv.conf","HostnamePath":"/x/hostname","HostsPath":"/x/hosts","LogPath":"/x/log","Name":"/web","RestartCount":0,"Driver":"overlay2","Platform":"linux","MountLabel":"","ProcessLabel":"","AppArmorProfile":"","ExecIDs":null,"HostConfig":{{"Binds":["/a:/b:ro"],"ContainerIDFile":"","LogConfig":{{"Type":"json-file","Config":{{"max-size":"10m"}}}},"NetworkMode":"bridge","PortBindings":{{"80/tcp":[{{"HostIp":"","HostPort":"8080"}}]}},"RestartPolicy":{{"Name":"on-failure","MaximumRetryCount":3}},"AutoRemove":false,"Memory":67108864,"NanoCpus":1500000000,"PidsLimit":null,"Devices":[],"Ulimits":null}},"GraphDriver":{{"Data":{{"LowerDir":"/l","UpperDir":"/u"}},"Name":"overlay2"}},"Mounts":[{{"Type":"bind","Source":"/a","Destination":"/b","Mode":"ro","RW":false,"Propagation":"rprivate"}}],"Config":{{"Hostname":"4c01db0b339c","Domainname":"","User":"","AttachStdin":false,"AttachStdout":true,"AttachStderr":true,"ExposedPorts":{{"80/tcp":{{}}}},"Tty":false,"OpenStdin":false,"StdinOnce":false,"Env":["PATH=/usr/bin","NGINX_VERSION=1.27"],"Cmd":["nginx","-g","daemon off;"],"Image":"nginx","Volumes":null,"WorkingDir":"/srv","Entrypoint":["/docker-entrypoint.sh"],"OnBuild":null,"Labels":{{"com.example.tier":"front","a":"1"}},"StopSignal":"SIGQUIT"}},"NetworkSettings":{{"Bridge":"","SandboxID":"s","SandboxKey":"/k","Ports":{{"80/tcp":[{{"HostIp":"0.0.0.0","HostPort":"8080"}},{{"HostIp":"::","HostPort":"8080"}}],"443/tcp":null,"1053/udp":[{{"HostIp":"127.0.0.1","HostPort":"53"}}]}},"Gateway":"172.17.0.1","IPAddress":"172.17.0.2","IPPrefixLen":16,"MacAddress":"02:42:ac:11:00:02","Networks":{{"bridge":{{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"02:42:ac:11:00:02","NetworkID":"n1","EndpointID":"e1","Gateway":"172.17.0.1","IPAddress":"172.17.0.2","IPPrefixLen":16}}}}}}}}"#
    )
}

fn stats() -> &'static str {
    r#"{"name":"/web","id":"4c01db0b339c1d4f3a5d0b1c2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f","read":"2025-01-02T03:04:06Z","preread":"2025-01-02T03:04:05Z","pids_stats":{"current":3,"limit":100},"blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"read","value":12345678},{"major":8,"minor":0,"op":"Write","value":4096}]},"num_procs":0,"cpu_stats":{"cpu_usage":{"total_usage":2000000000,"usage_in_kernelmode":1,"usage_in_usermode":1},"system_cpu_usage":100000000000,"online_cpus":4,"throttling_data":{}},"precpu_stats":{"cpu_usage":{"total_usage":1900000000},"system_cpu_usage":98000000000,"online_cpus":4,"throttling_data":{}},"memory_stats":{"usage":50000000,"stats":{"inactive_file":1234567},"limit":2094000000},"networks":{"eth0":{"rx_bytes":1234,"tx_bytes":5678901}}}"#
}

fn logs() -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, line) in [(1u8, "to stdout\n"), (2, "to stderr\n"), (1, "again\n")] {
        out.extend([kind, 0, 0, 0]);
        out.extend((line.len() as u32).to_be_bytes());
        out.extend(line.as_bytes());
    }
    out
}

fn images(put: &mut impl FnMut(&str, Answer)) {
    let now = now();
    let list = format!(
        r#"[{{"Containers":-1,"Created":{},"Id":"{IMAGE}","Labels":null,"ParentId":"","RepoDigests":["nginx@sha256:0aa15ca1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d"],"RepoTags":["nginx:latest"],"SharedSize":-1,"Size":192345678}},
        {{"Containers":-1,"Created":{},"Id":"sha256:f6987c8d6ed59543e9f34327c23e12141c9bad1916421278d720047ccc8e1bee","Labels":{{"a":"b"}},"ParentId":"","RepoDigests":[],"RepoTags":["localhost:5000/team/app:v1"],"SharedSize":-1,"Size":4261550}},
        {{"Containers":-1,"Created":{},"Id":"sha256:11111c8d6ed59543e9f34327c23e12141c9bad1916421278d720047ccc8e1bee","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":-1,"Size":999999}}]"#,
        now - 86400 * 20,
        now - 40,
        now - 86400 * 800
    );
    put("GET /images/json", json(list));
    put(
        "GET /images/nginx/json",
        json(format!(
            r#"{{"Id":"{IMAGE}","RepoTags":["nginx:latest"],"RepoDigests":[],"Parent":"","Comment":"","Created":"2025-01-02T03:04:05Z","DockerVersion":"","Author":"me","Config":{{"Env":["A=b"],"Cmd":["nginx"],"Labels":null,"ExposedPorts":{{"80/tcp":{{}}}}}},"Architecture":"amd64","Os":"linux","Size":192345678,"GraphDriver":{{"Data":null,"Name":"overlay2"}},"RootFS":{{"Type":"layers","Layers":["sha256:a","sha256:b"]}},"Metadata":{{"LastTagTime":"0001-01-01T00:00:00Z"}}}}"#
        )),
    );
    put(
        "GET /images/nginx/history",
        json(format!(
            r#"[{{"Comment":"buildkit.dockerfile.v0","Created":{},"CreatedBy":"CMD [\"nginx\" \"-g\" \"daemon off;\"]","Id":"{IMAGE}","Size":0,"Tags":["nginx:latest"]}},{{"Comment":"","Created":{},"CreatedBy":"/bin/sh -c #(nop) ADD file:0123456789abcdef0123456789abcdef0123456789 in / ","Id":"<missing>","Size":77832123,"Tags":null}}]"#,
            now - 86400 * 20,
            now - 86400 * 30
        )),
    );
    put(
        "POST /images/create",
        json(
            "{\"status\":\"Pulling from library/nginx\",\"id\":\"latest\"}\r\n{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"0123456789ab\"}\r\n{\"status\":\"Downloading\",\"progressDetail\":{\"current\":100,\"total\":1000},\"progress\":\"[=====>    ]     100B/1kB\",\"id\":\"0123456789ab\"}\r\n{\"status\":\"Download complete\",\"progressDetail\":{},\"id\":\"0123456789ab\"}\r\n{\"status\":\"Extracting\",\"progressDetail\":{\"current\":1000,\"total\":1000},\"progress\":\"x\",\"id\":\"0123456789ab\"}\r\n{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"0123456789ab\"}\r\n{\"status\":\"Digest: sha256:0aa15ca1\"}\r\n{\"status\":\"Status: Downloaded newer image for nginx:latest\"}\r\n",
        ),
    );
    put(
        "POST /images/nginx/push",
        json(
            "{\"status\":\"The push refers to repository [docker.io/library/nginx]\"}\r\n{\"status\":\"Preparing\",\"progressDetail\":{},\"id\":\"0123456789ab\"}\r\n{\"status\":\"Pushing\",\"progressDetail\":{\"current\":1,\"total\":2},\"progress\":\"x\",\"id\":\"0123456789ab\"}\r\n{\"errorDetail\":{\"message\":\"denied: requested access to the resource is denied\"},\"error\":\"denied: requested access to the resource is denied\"}\r\n",
        ),
    );
    put("POST /images/nginx/tag", status(201, ""));
    put("DELETE /images/nginx", json(format!(r#"[{{"Untagged":"nginx:latest"}},{{"Deleted":"{IMAGE}"}}]"#)));
    put(
        "POST /images/docker.io/library/nginx/push",
        json(
            "{\"status\":\"The push refers to repository [docker.io/library/nginx]\"}\r\n{\"status\":\"Preparing\",\"progressDetail\":{},\"id\":\"0123456789ab\"}\r\n{\"status\":\"Pushing\",\"progressDetail\":{\"current\":1,\"total\":2},\"progress\":\"x\",\"id\":\"0123456789ab\"}\r\n{\"errorDetail\":{\"message\":\"denied: requested access to the resource is denied\"},\"error\":\"denied: requested access to the resource is denied\"}\r\n",
        ),
    );
    put("POST /images/nginx/tag", status(201, ""));
    put("DELETE /images/nginx", json(format!(r#"[{{"Untagged":"nginx:latest"}},{{"Deleted":"{IMAGE}"}}]"#)));
    put(
        "DELETE /images/used",
        status(
            409,
            "conflict: unable to remove repository reference \\\"used\\\" (must force) - container 4c01db0b339c is using its referenced image 2b8fd9751c4c",
        ),
    );
    put("POST /images/load", json("{\"stream\":\"Loaded image: nginx:latest\\n\"}\r\n"));
    put(
        "POST /images/prune",
        json(r#"{"ImagesDeleted":[{"Untagged":"a:b"},{"Deleted":"sha256:c"}],"SpaceReclaimed":4261550}"#),
    );
    put(
        "GET /images/search",
        json(
            r#"[{"star_count":100,"is_official":false,"name":"user/nginx","is_automated":false,"description":"An image with a very long description that does not fit into the column\nat all"},{"star_count":20000,"is_official":true,"name":"nginx","is_automated":false,"description":"Official build of Nginx."}]"#,
        ),
    );
    put(
        "POST /build",
        json(
            "{\"stream\":\"Step 1/1 : FROM scratch\"}\r\n{\"stream\":\"\\n\"}\r\n{\"stream\":\" ---\\u003e \\n\"}\r\n{\"errorDetail\":{\"code\":3,\"message\":\"The command '/bin/sh -c exit 3' returned a non-zero code: 3\"},\"error\":\"The command '/bin/sh -c exit 3' returned a non-zero code: 3\"}\r\n",
        ),
    );
    put("POST /build/prune", json(r#"{"CachesDeleted":["abc","def"],"SpaceReclaimed":1000}"#));
}

fn networks(put: &mut impl FnMut(&str, Answer)) {
    let bridge = r#"{"Name":"bridge","Id":"7d86d31b1478e7cca9ebed7e73aa0fdeec46c5ca29497431d3007d2d9e15ed99","Created":"2025-01-02T03:04:05.123456789Z","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"com.docker.network.bridge.name":"docker0"},"Labels":{}}"#;
    let own = r#"{"Name":"app_default","Id":"1234d31b1478e7cca9ebed7e73aa0fdeec46c5ca29497431d3007d2d9e15ed99","Created":"2025-01-02T03:04:05Z","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":true,"IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":true,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"Labels":{"x":"y"}}"#;
    put("GET /networks", json(format!("[{bridge},{own}]")));
    put("GET /networks/bridge", json(bridge));
    put(
        "POST /networks/create",
        json(r#"{"Id":"1234d31b1478e7cca9ebed7e73aa0fdeec46c5ca29497431d3007d2d9e15ed99","Warning":""}"#),
    );
    put("POST /networks/bridge/connect", status(200, ""));
    put("DELETE /networks/app_default", status(204, ""));
    put("POST /networks/prune", json(r#"{"NetworksDeleted":["a","b"]}"#));
}

fn volumes(put: &mut impl FnMut(&str, Answer)) {
    let data = r#"{"CreatedAt":"2025-01-02T03:04:05Z","Driver":"local","Labels":{"k":"v"},"Mountpoint":"/var/lib/docker/volumes/data/_data","Name":"data","Options":null,"Scope":"local"}"#;
    put(
        "GET /volumes",
        json(format!(
            r#"{{"Volumes":[{data},{{"CreatedAt":"2025-01-02T03:04:05Z","Driver":"local","Labels":null,"Mountpoint":"/m","Name":"cache","Options":null,"Scope":"local"}}],"Warnings":null}}"#
        )),
    );
    put("GET /volumes/data", json(data));
    put("POST /volumes/create", json(data));
    put("DELETE /volumes/data", status(204, ""));
    put("DELETE /volumes/used", status(409, "remove used: volume is in use - [4c01db0b339c]"));
    put("POST /volumes/prune", json(r#"{"VolumesDeleted":["x"],"SpaceReclaimed":77}"#));
}

fn system(put: &mut impl FnMut(&str, Answer)) {
    let now = now();
    put(
        "GET /version",
        json(
            r#"{"Platform":{"Name":"Docker Engine - Community"},"Components":[{"Name":"Engine","Version":"28.2.2","Details":{"ApiVersion":"1.50","Arch":"amd64","BuildTime":"2025-05-30T12:07:27.000000000+00:00","Experimental":"false","GitCommit":"45873be","GoVersion":"go1.24.3","KernelVersion":"6.8.0","MinAPIVersion":"1.24","Os":"linux"}},{"Name":"containerd","Version":"1.7.27","Details":{"GitCommit":"05044ec"}},{"Name":"runc","Version":"1.2.5","Details":{"GitCommit":"v1.2.5-0-g59923ef"}}],"Version":"28.2.2","ApiVersion":"1.50","MinAPIVersion":"1.24","GitCommit":"45873be","GoVersion":"go1.24.3","Os":"linux","Arch":"amd64","KernelVersion":"6.8.0","BuildTime":"2025-05-30T12:07:27.000000000+00:00"}"#,
        ),
    );
    put(
        "GET /info",
        json(
            r#"{"ID":"abc","Containers":2,"ContainersRunning":1,"ContainersPaused":0,"ContainersStopped":1,"Images":3,"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"],["Supports d_type","true"]],"Plugins":{"Volume":["local"],"Network":["bridge","host"],"Authorization":null,"Log":["json-file","local"]},"MemoryLimit":true,"SwapLimit":true,"CpuCfsPeriod":true,"CpuCfsQuota":true,"CPUShares":true,"CPUSet":true,"PidsLimit":true,"IPv4Forwarding":true,"Debug":false,"NFd":20,"OomKillDisable":true,"NGoroutines":30,"SystemTime":"2025-01-02T03:04:05Z","LoggingDriver":"json-file","CgroupDriver":"systemd","CgroupVersion":"2","NEventsListener":0,"KernelVersion":"6.8.0","OperatingSystem":"Debian GNU/Linux 12 (bookworm)","OSVersion":"12","OSType":"linux","Architecture":"x86_64","IndexServerAddress":"https://index.docker.io/v1/","RegistryConfig":{"InsecureRegistryCIDRs":["127.0.0.0/8"],"IndexConfigs":{"docker.io":{"Name":"docker.io","Mirrors":[],"Secure":true,"Official":true}},"Mirrors":[]},"NCPU":4,"MemTotal":16777216000,"GenericResources":null,"DockerRootDir":"/var/lib/docker","HttpProxy":"","HttpsProxy":"","NoProxy":"","Name":"host","Labels":["zone=a"],"ExperimentalBuild":false,"ServerVersion":"28.2.2","Runtimes":{"runc":{"path":"runc"}},"DefaultRuntime":"runc","Swarm":{"NodeID":"","NodeAddr":"","LocalNodeState":"inactive","ControlAvailable":false,"Error":"","RemoteManagers":null},"LiveRestoreEnabled":false,"Isolation":"","InitBinary":"docker-init","ContainerdCommit":{"ID":"05044ec"},"RuncCommit":{"ID":"v1.2.5"},"InitCommit":{"ID":"de40ad0"},"SecurityOptions":["name=apparmor","name=seccomp,profile=builtin","name=cgroupns"],"DefaultAddressPools":[{"Base":"172.80.0.0/16","Size":24}],"CDISpecDirs":["/etc/cdi","/var/run/cdi"],"Warnings":["WARNING: bridge-nf-call-iptables is disabled"]}"#,
        ),
    );
    put(
        "GET /events",
        json(
            r#"{"status":"start","id":"4c01","from":"nginx","Type":"container","Action":"start","Actor":{"ID":"4c01","Attributes":{"name":"web","image":"nginx"}},"scope":"local","time":1735787045,"timeNano":1735787045123456789}
{"Type":"network","Action":"connect","Actor":{"ID":"7d86","Attributes":{}},"scope":"local","time":1735787046,"timeNano":1735787046000000000}
"#,
        ),
    );
    put(
        "GET /system/df",
        json(format!(
            r#"{{"LayersSize":292345678,"Images":[{{"Containers":1,"Created":{},"Id":"{IMAGE}","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":["nginx:latest"],"SharedSize":0,"Size":192345678}},{{"Containers":0,"Created":{},"Id":"sha256:f6987c8d6ed59543e9f34327c23e12141c9bad1916421278d720047ccc8e1bee","Labels":null,"ParentId":"","RepoDigests":[],"RepoTags":[],"SharedSize":0,"Size":100000000}}],"Containers":{},"Volumes":[{{"CreatedAt":"2025-01-02T03:04:05Z","Driver":"local","Labels":null,"Mountpoint":"/m","Name":"data","Options":null,"Scope":"local","UsageData":{{"RefCount":1,"Size":5000000}}}},{{"CreatedAt":"2025-01-02T03:04:05Z","Driver":"local","Labels":null,"Mountpoint":"/m","Name":"cache","Options":null,"Scope":"local","UsageData":{{"RefCount":0,"Size":15000000}}}}],"BuildCache":[{{"ID":"mw0jc4w8r9yx","Parents":null,"Type":"regular","Description":"x","InUse":false,"Shared":false,"Size":123456,"CreatedAt":"2020-01-02T03:04:05Z","LastUsedAt":null,"UsageCount":2}}]}}"#,
            now - 86400 * 20,
            now - 90,
            containers()
        )),
    );
}
