//! `info`.

use std::fmt::Write as _;

use dray_client::api::system::Info;

use crate::app::App;
use crate::command::{format_flag_f, version};
use crate::command_error::Error;
use crate::config_file::HUB;
use crate::context;
use crate::flag::Parsed;
use crate::format::units::binary_size;
use crate::spec::{Args, Command, Done};
use crate::template::{Mode, Template};
use crate::value::Value;

/// `info`
pub static COMMAND: Command =
    Command::new("info", &["[OPTIONS]"], Args::No, "Show the state of the daemon", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[&[format_flag_f("Format of the output: json, or a Go template")]])
    .also(&["system info", "info"]);

async fn run(app: &App, p: Parsed) -> Done {
    let format = match p.get("format") {
        "json" => "{{json .}}",
        other => other,
    };
    if format.is_empty() {
        return pretty(app).await;
    }
    let refuse = |e| Error::Refused(format!("template parsing error: {e}"));
    let template = Template::parse(format).map_err(|e| refuse(e).with_code(64))?;
    let client = app.client()?;
    let raw = client.info_raw().await?;
    let mut info = Value::from_json(&raw).map_err(|source| Error::Json { what: "info".into(), source })?;
    if let Value::Struct(fields) = &mut info {
        let mut own = vec![("Debug".to_owned(), Value::Bool(app.globals.is("debug")))];
        if let Value::Struct(version) = version::client_version(app, &client.version()) {
            own.extend(version);
        }
        own.extend([("Plugins".into(), Value::List(Vec::new())), ("Warnings".into(), Value::Nil)]);
        fields.push(("ClientInfo".into(), Value::Struct(own)));
    }
    let mut text = String::new();
    let run = template.run(&info, Mode::Data, &mut text);
    app.print(format!("{text}\n"))?;
    run.map(|()| 0).map_err(|e| Error::Refused(as_field_of(&e.to_string(), "system.dockerInfo")))
}

/// Go's words for a field that a struct lacks, where ours speak of a map.
pub fn as_field_of(text: &str, kind: &str) -> String {
    match text.rsplit_once("map has no entry for key \"") {
        Some((before, field)) => {
            format!("{before}can't evaluate field {} in type {kind}", field.trim_end_matches('"'))
        }
        None => text.to_owned(),
    }
}

async fn pretty(app: &App) -> Done {
    let Value::Struct(client) = version::client_version(app, "") else { return Ok(1) };
    let own = client
        .iter()
        .find(|(k, _)| k == "Version")
        .map(|(_, v)| crate::template::text_of(v))
        .unwrap_or_default();
    app.print(format!(
        "Client: Dray\n Version:    {own}\n Context:    {}\n Debug Mode: {}\n\nServer:\n",
        context::current(app),
        app.globals.is("debug")
    ))?;
    let info = app.client()?.info().await;
    let info = match info {
        Ok(info) => info,
        Err(e @ dray_client::Error::Api { .. }) => {
            app.warn(format!("ERROR: {e}"));
            return Err(Error::Refused("errors pretty printing info".into()));
        }
        Err(e) => return Err(e.into()),
    };
    let user = app.config().borrow().auth(HUB).map(|a| a.username).unwrap_or_default();
    app.print(server_text(&info, &user, app.globals.is("debug")))?;
    for warning in info.warnings.iter().flatten() {
        app.warn(warning);
    }
    Ok(0)
}

/// The lines about the daemon.
fn server_text(i: &Info, user: &str, debug: bool) -> String {
    let mut out = String::new();
    state_lines(i, &mut out);
    plugin_lines(i, &mut out);
    runtime_lines(i, &mut out);
    host_lines(i, debug, &mut out);
    setting_lines(i, user, &mut out);
    out.push('\n');
    out
}

/// Nothing can go wrong when writing to a string.
macro_rules! say {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}

fn unless_empty(out: &mut String, label: &str, value: &str) {
    if !value.is_empty() {
        say!(out, " {label}: {value}");
    }
}

fn state_lines(i: &Info, out: &mut String) {
    say!(out, " Containers: {}", i.containers);
    say!(out, "  Running: {}", i.containers_running);
    say!(out, "  Paused: {}", i.containers_paused);
    say!(out, "  Stopped: {}", i.containers_stopped);
    say!(out, " Images: {}", i.images);
    unless_empty(out, "Server Version", &i.server_version);
    unless_empty(out, "Storage Driver", &i.driver);
    for [key, value] in &i.driver_status {
        say!(out, "  {key}: {value}");
    }
    for [key, value] in i.system_status.iter().flatten() {
        say!(out, " {key}: {value}");
    }
    unless_empty(out, "Logging Driver", &i.logging_driver);
    unless_empty(out, "Cgroup Driver", &i.cgroup_driver);
    unless_empty(out, "Cgroup Version", &i.cgroup_version);
}

fn plugin_lines(i: &Info, out: &mut String) {
    say!(out, " Plugins:");
    say!(out, "  Volume: {}", i.plugins.volume.join(" "));
    say!(out, "  Network: {}", i.plugins.network.join(" "));
    if let Some(authorization) = i.plugins.authorization.as_ref().filter(|a| !a.is_empty()) {
        say!(out, "  Authorization: {}", authorization.join(" "));
    }
    say!(out, "  Log: {}", i.plugins.log.join(" "));
    if !i.cdi_spec_dirs.is_empty() {
        say!(out, " CDI spec directories:");
        for dir in &i.cdi_spec_dirs {
            say!(out, "  {dir}");
        }
    }
    if !i.discovered_devices.is_empty() {
        say!(out, " Discovered Devices:");
        for device in &i.discovered_devices {
            say!(out, "  {}: {}", device.source, device.id);
        }
    }
    say!(out, " Swarm: {}", i.swarm.local_node_state);
}

fn runtime_lines(i: &Info, out: &mut String) {
    if !i.runtimes.is_empty() {
        say!(out, " Runtimes: {}", i.runtimes.keys().cloned().collect::<Vec<_>>().join(" "));
        say!(out, " Default Runtime: {}", i.default_runtime);
    }
    if i.os_type != "linux" {
        return;
    }
    say!(out, " Init Binary: {}", i.init_binary);
    say!(out, " containerd version: {}", i.containerd_commit.id);
    say!(out, " runc version: {}", i.runc_commit.id);
    say!(out, " init version: {}", i.init_commit.id);
    if !i.security_options.is_empty() {
        say!(out, " Security Options:");
        for option in &i.security_options {
            let mut name = option.as_str();
            let mut profile = None;
            for part in option.split(',') {
                match part.split_once('=') {
                    Some(("name", n)) => name = n,
                    Some(("profile", p)) => profile = Some(p),
                    _ => {}
                }
            }
            say!(out, "  {name}");
            if let Some(profile) = profile {
                say!(out, "   Profile: {profile}");
            }
        }
    }
}

fn host_lines(i: &Info, debug: bool, out: &mut String) {
    unless_empty(out, "Kernel Version", &i.kernel_version);
    unless_empty(out, "Operating System", &i.operating_system);
    unless_empty(out, "OSType", &i.os_type);
    unless_empty(out, "Architecture", &i.architecture);
    say!(out, " CPUs: {}", i.ncpu);
    say!(out, " Total Memory: {}", binary_size(i.mem_total as f64));
    unless_empty(out, "Name", &i.name);
    unless_empty(out, "ID", &i.id);
    say!(out, " Docker Root Dir: {}", i.docker_root_dir);
    say!(out, " Debug Mode: {}", i.debug);
    if i.debug || debug {
        say!(out, "  File Descriptors: {}", i.n_fd);
        say!(out, "  Goroutines: {}", i.n_goroutines);
        say!(out, "  System Time: {}", i.system_time);
        say!(out, "  EventsListeners: {}", i.n_events_listener);
    }
}

fn setting_lines(i: &Info, user: &str, out: &mut String) {
    unless_empty(out, "HTTP Proxy", &i.http_proxy);
    unless_empty(out, "HTTPS Proxy", &i.https_proxy);
    unless_empty(out, "No Proxy", &i.no_proxy);
    unless_empty(out, "Username", user);
    if !i.labels.is_empty() {
        say!(out, " Labels:");
        for label in &i.labels {
            say!(out, "  {label}");
        }
    }
    say!(out, " Experimental: {}", i.experimental_build);
    let registries = &i.registry_config;
    if !registries.insecure_registry_cidrs.is_empty() || !registries.index_configs.is_empty() {
        say!(out, " Insecure Registries:");
        for registry in registries.index_configs.values().filter(|r| !r.secure) {
            say!(out, "  {}", registry.name);
        }
        for cidr in &registries.insecure_registry_cidrs {
            say!(out, "  {cidr}");
        }
    }
    if let Some(mirrors) = registries.mirrors.as_ref().filter(|m| !m.is_empty()) {
        say!(out, " Registry Mirrors:");
        for mirror in mirrors {
            say!(out, "  {mirror}");
        }
    }
    say!(out, " Live Restore Enabled: {}", i.live_restore_enabled);
    unless_empty(out, "Product License", &i.product_license);
    if !i.default_address_pools.is_empty() {
        say!(out, " Default Address Pools:");
        for pool in &i.default_address_pools {
            say!(out, "   Base: {}, Size: {}", pool.base, pool.size);
        }
    }
    if let Some(firewall) = &i.firewall_backend {
        say!(out, " Firewall Backend: {}", firewall.driver);
        for [key, value] in firewall.info.iter().flatten() {
            say!(out, "  {key}: {value}");
        }
    }
}
