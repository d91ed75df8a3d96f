//! OCI values: digest, reference, manifest, image configuration, runtime configuration.
