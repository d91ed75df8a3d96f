//! `network` commands, published ports, names.

mod dns;
mod manage;
mod port;
