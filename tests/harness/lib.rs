//! What the tests share: private daemons, test images, leak checks.
