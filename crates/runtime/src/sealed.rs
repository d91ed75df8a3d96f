//! A view of our own binary that no container can write to.
