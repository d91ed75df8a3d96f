//! `image` commands.

mod archive;
mod list;
mod tag;
