//! The server over real sockets, in this process.

mod access;
mod audit;
mod cache;
mod discover;
mod fixture;
mod garbage;
mod hostile;
mod manifest;
mod pull;
mod replication;
mod tls;
mod told;
mod upload;
