//! One static binary with four faces, told apart by what it is called with.

fn main() {}
