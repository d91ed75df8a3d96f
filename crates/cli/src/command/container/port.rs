//! `port`.

use std::cmp::Ordering;

use dray_client::api::container::PortBinding;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
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

/// Order in which numbers inside of texts count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |t: &[u8]| t.iter().take_while(|c| c.is_ascii_digit()).count();
        let (na, nb) = (digits(a), digits(b));
        if na > 0 && nb > 0 {
            let number = |t: &[u8]| String::from_utf8_lossy(t).trim_start_matches('0').to_owned();
            let (x, y) = (number(&a[..na]), number(&b[..nb]));
            match x.len().cmp(&y.len()).then_with(|| x.cmp(&y)) {
                Ordering::Equal => (a, b) = (&a[na..], &b[nb..]),
                other => return other,
            }
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some((x, ra)), Some((y, rb))) if x == y => (a, b) = (ra, rb),
            (Some((x, _)), Some((y, _))) => return x.cmp(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut lines = ["443/tcp -> x", "80/tcp -> x", "8080/tcp -> x", "9/udp -> x"];
        lines.sort_by(|a, b| natural(a, b));
        assert_eq!(lines, ["9/udp -> x", "80/tcp -> x", "443/tcp -> x", "8080/tcp -> x"]);
    }
}
