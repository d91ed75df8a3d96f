//! The wire format against what Docker's own daemon and clients write.

use serde_json::{Value, json};

use super::*;

#[test]
fn create_reads_what_clients_send() {
    let body = json!({
        "Image": "busybox", "Cmd": "true", "Env": null, "ExposedPorts": {"80/tcp": {}}, "Unknown": 1,
        "Labels": null, "Tty": null,
        "HostConfig": {"Memory": 1048576, "PortBindings": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": null},
                       "Mounts": [{"Type": "volume", "Target": "/data"}], "RestartPolicy": null},
        "NetworkingConfig": {"EndpointsConfig": {"net": null}},
    });
    let request: ContainerCreateRequest = serde_json::from_value(body).unwrap();
    assert_eq!(request.config.cmd, Some(Argv(vec!["true".into()])));
    assert!(request.config.env.is_none());
    let host = request.host_config.unwrap();
    assert_eq!(host.resources.memory, 1_048_576);
    let ports = host.port_bindings.unwrap();
    assert_eq!(ports["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
    assert!(ports["81/tcp"].is_none());
    assert_eq!(host.mounts.unwrap()[0].kind, MountType::Volume);
    assert!(request.networking_config.unwrap().endpoints_config.unwrap()["net"].is_none());
}

#[test]
fn a_wrong_type_in_an_embedded_struct_is_an_error() {
    let body = json!({"HostConfig": {"Memory": "much"}});
    assert!(serde_json::from_value::<ContainerCreateRequest>(body).is_err());
}

#[test]
fn config_has_docker_s_nulls_and_omissions() {
    let config: Value = serde_json::to_value(ContainerConfig::default()).unwrap();
    assert_eq!(
        config,
        json!({
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
            "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null,
            "Cmd": null, "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null,
            "Labels": null,
        })
    );
}

#[test]
fn host_config_has_docker_s_names() {
    let host = serde_json::to_value(HostConfig::default()).unwrap();
    let host = host.as_object().unwrap();
    for name in [
        "ContainerIDFile",
        "UTSMode",
        "BlkioDeviceReadIOps",
        "IOMaximumIOps",
        "CpuShares",
        "NanoCpus",
        "Dns",
        "DnsOptions",
        "CpusetCpus",
        "OomKillDisable",
        "PidsLimit",
        "ShmSize",
        "CgroupnsMode",
        "MaskedPaths",
    ] {
        assert!(host.contains_key(name), "{name}");
    }
    assert!(!host.contains_key("Init") && !host.contains_key("Mounts") && !host.contains_key("Runtime"));
    assert_eq!(host["RestartPolicy"], json!({"Name": "", "MaximumRetryCount": 0}));
    assert_eq!(host["LogConfig"], json!({"Type": "", "Config": null}));
    assert_eq!(host["ConsoleSize"], json!([0, 0]));
}

#[test]
fn unset_times_are_the_year_one() {
    let state = serde_json::to_value(ContainerState::default()).unwrap();
    assert_eq!(state["StartedAt"], crate::ZERO_TIME);
    assert_eq!(state["OOMKilled"], false);
    assert!(state.get("Health").is_none());
}
