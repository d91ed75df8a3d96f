//! `network connect` and `network disconnect`.

use dray_client::api::network::{NetworkConnectRequest, NetworkDisconnectRequest};

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, commas, int, list, switch, text};
use crate::opts::host::{check_ip_flag, check_link};
use crate::opts::network::{Attachment, endpoint};
use crate::opts::pairs;
use crate::spec::{Args, Command, Done};

const CONNECT_FLAGS: &[Flag] = &[
    commas("alias", NONE, "Another name of the container in the network"),
    commas("driver-opt", NONE, "Option of the driver"),
    int("gw-priority", NONE, "The network with the highest gives the default route").default("0"),
    text("ip", NONE, "IPv4 address").shown("ip").check(check_ip_flag),
    text("ip6", NONE, "IPv6 address").shown("ip").check(check_ip_flag),
    list("link", NONE, "Link to another container").check(check_link),
    commas("link-local-ip", NONE, "Link-local address"),
];

const DISCONNECT_FLAGS: &[Flag] = &[switch("force", 'f', "Disconnect even if the container does not run")];

/// `network connect`
pub static CONNECT: Command = Command::new(
    "connect",
    &["[OPTIONS] NETWORK CONTAINER"],
    Args::Exactly(2),
    "Connect a container to a network",
    |a, p| Box::pin(connect(a, p)),
)
.flags(&[CONNECT_FLAGS]);

/// `network disconnect`
pub static DISCONNECT: Command = Command::new(
    "disconnect",
    &["[OPTIONS] NETWORK CONTAINER"],
    Args::Exactly(2),
    "Disconnect a container from a network",
    |a, p| Box::pin(disconnect(a, p)),
)
.flags(&[DISCONNECT_FLAGS]);

async fn connect(app: &App, p: Parsed) -> Done {
    let options = p.all("driver-opt");
    if options.iter().any(|o| o.split_once('=').is_none_or(|(k, _)| k.is_empty())) {
        return Err(Error::Refused("invalid key/value pair format in driver options".into()));
    }
    let attachment = Attachment {
        target: p.args[0].clone(),
        aliases: p.all("alias"),
        links: p.all("link"),
        ip: p.get("ip").to_owned(),
        ip6: p.get("ip6").to_owned(),
        link_local: p.all("link-local-ip"),
        driver_opts: pairs(&options),
        gw_priority: p.int("gw-priority"),
        ..Attachment::default()
    };
    // Which networks take aliases and links is the daemon's to say here.
    let user = Attachment { target: "user-defined".into(), ..attachment };
    let request = NetworkConnectRequest {
        container: p.args[1].clone(),
        endpoint_config: Some(endpoint(&user).map_err(Error::Refused)?),
    };
    app.client()?.network_connect(&p.args[0], &request).await?;
    Ok(0)
}

async fn disconnect(app: &App, p: Parsed) -> Done {
    let request = NetworkDisconnectRequest { container: p.args[1].clone(), force: p.is("force") };
    app.client()?.network_disconnect(&p.args[0], &request).await?;
    Ok(0)
}
