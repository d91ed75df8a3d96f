//! `port`.

use dray_client::api::container::PortBinding;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::format::natural::natural;
use crate::spec::{Args, Command, Done};

/// `port`
pub static COMMAND: Command = Command::new(
    "port",
    &["CONTAINER [PRIVATE_PORT[/PROTO]]"],
    Args::Range(1, 2),
    "Show where the ports of a container are published",
    |a, p| Box::pin(run(a, p)),
)
.also(&["container port", "port"]);

async fn run(app: &App, p: Parsed) -> Done {
    let container = app.client()?.container_inspect(&p.args[0]).await?;
    let ports = container.network_settings.ports;
    let mut lines: Vec<String> = Vec::new();
    if let Some(wanted) = p.args.get(1) {
        let key = key_of(wanted)?;
        match ports.get(&key) {
            Some(Some(bindings)) if !bindings.is_empty() => lines.extend(bindings.iter().map(host)),
            _ => {
                let text = format!("Error: No public port '{wanted}' published for {}", p.args[0]);
                return Err(Error::Refused(text));
            }
        }
    } else {
        for (port, bindings) in &ports {
            lines.extend(bindings.iter().flatten().map(|b| format!("{port} -> {}", host(b))));
        }
    }
    lines.sort_by(|a, b| natural(a, b));
    for line in lines {
        app.print(format!("{line}\n"))?;
    }
    Ok(0)
}

fn key_of(wanted: &str) -> Result<String, Error> {
    let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Refused(format!(
            "Error: invalid port ({port}): strconv.ParseUint: parsing \"{port}\": invalid syntax"
        )));
    }
    Ok(format!("{port}/{protocol}"))
}

fn host(binding: &PortBinding) -> String {
    if binding.host_ip.contains(':') {
        return format!("[{}]:{}", binding.host_ip, binding.host_port);
    }
    format!("{}:{}", binding.host_ip, binding.host_port)
}
