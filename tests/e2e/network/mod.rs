//! `network` commands, drivers, published ports, who reaches them, names.

mod default_bridge;
mod dns;
mod driver;
mod exposure;
mod firewall;
mod manage;
mod port;
mod vlan;
