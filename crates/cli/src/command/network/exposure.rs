//! `network exposure`: what of containers is reachable from where, and why. Dray's own.

use dray_client::api::extension::NetworkExposure;

use crate::app::App;
use crate::command::container::ls::id;
use crate::command::format_flag;
use crate::flag::{Flag, NONE, Parsed, filter, switch};
use crate::format::listing::{Format, Titles};
use crate::spec::{Args, Command, Done};
use crate::value::{Row, Value};

const FLAGS: &[Flag] = &[
    filter('f', "Show those that match (container=, network=, from=)"),
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("no-trunc", NONE, "Do not cut ids"),
];

/// `network exposure`
pub static COMMAND: Command = Command::new(
    "exposure",
    &["[OPTIONS]"],
    Args::No,
    "Show what of containers is reachable from where, and why",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.details(
    "FROM is who reaches it: anyone with a way to the address; those whom the host's INPUT rules let in; this host;\n\
     the containers of a network; the machines of the network that an interface of the host is on.",
);

const TITLES: Titles = &[
    ("Container", "CONTAINER"),
    ("ContainerID", "CONTAINER ID"),
    ("Network", "NETWORK"),
    ("Port", "PORT"),
    ("At", "AT"),
    ("Addresses", "ADDRESSES"),
    ("From", "FROM"),
    ("Reason", "WHY"),
];
const TABLE: &str = "table {{.Container}}\t{{.Port}}\t{{.At}}\t{{.From}}\t{{.Reason}}";

async fn run(app: &App, p: Parsed) -> Done {
    let found = app.client()?.network_exposure(&p.filters()).await?;
    let format = Format::parse(match p.get("format") {
        "" | "table" => TABLE,
        other => other,
    })?;
    app.print(format.render(TITLES, found.iter().map(|one| row(one, !p.is("no-trunc"))))?)?;
    Ok(0)
}

fn row(one: &NetworkExposure, trunc: bool) -> Row {
    let fields: Vec<(&'static str, Value)> = vec![
        ("Container", one.container.clone().into()),
        ("ContainerID", id(&one.container_id, trunc).into()),
        ("Network", one.network.clone().into()),
        ("Port", port(one).into()),
        ("At", at(one).into()),
        ("Addresses", one.addresses.join(", ").into()),
        ("From", from(one).into()),
        ("Reason", one.reason.clone().into()),
    ];
    Row { type_name: "*network.exposureContext", fields, labels: None }
}

fn port(one: &NetworkExposure) -> String {
    match one.container_port {
        0 => "all".to_owned(),
        port => format!("{port}/{}", one.protocol),
    }
}

fn at(one: &NetworkExposure) -> String {
    match (one.address.as_str(), one.port) {
        ("", _) => "this host".to_owned(),
        (address, 0) => address.to_owned(),
        (address, port) if address.contains(':') => format!("[{address}]:{port}"),
        (address, port) => format!("{address}:{port}"),
    }
}

fn from(one: &NetworkExposure) -> String {
    match one.from.as_str() {
        "input-rules" => "INPUT rules".to_owned(),
        "host" => "this host".to_owned(),
        "network" => format!("network {}", one.from_name),
        "parent" => format!("network of {}", one.from_name),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_asked_for() {
        let one =
            |address: &str, port| NetworkExposure { address: address.into(), port, ..Default::default() };
        assert_eq!(at(&one("0.0.0.0", 8080)), "0.0.0.0:8080");
        assert_eq!(at(&one("::", 8080)), "[::]:8080");
        assert_eq!(at(&one("10.0.0.2", 0)), "10.0.0.2");
        assert_eq!(at(&one("", 0)), "this host");
    }
}
