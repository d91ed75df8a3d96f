//! One service per Docker noun: container, image, network, volume, exec, log, event, build.
