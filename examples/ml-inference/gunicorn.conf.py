"""Settings of the server; what changes from place to place comes from the environment."""

import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WORKERS", "2"))
# The model is loaded once, before the workers part: they share its memory.
preload_app = True
accesslog = "-"
# A worker says that it lives by touching a file: in memory, or a slow disk looks like a worker that hangs.
worker_tmp_dir = "/dev/shm"
