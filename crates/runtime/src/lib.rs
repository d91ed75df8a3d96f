//! Processes: an OCI runtime and the shim that keeps a container's stdio and exit status.
