//! The wire types of Docker's Engine API.
