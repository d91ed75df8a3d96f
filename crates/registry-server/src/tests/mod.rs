//! The server over real sockets, in this process.

mod access;
mod discover;
mod fixture;
mod garbage;
mod hostile;
mod manifest;
mod pull;
mod told;
mod upload;
