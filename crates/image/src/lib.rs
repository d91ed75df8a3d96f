//! Images: pull, push, unpack, commit, archives.
