//! Layers unpacked and packed.
