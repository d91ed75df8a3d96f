"""What HEALTHCHECK runs: ends with an error unless the service answers; curl need not be in the image."""

import os
import urllib.request

urllib.request.urlopen(f"http://127.0.0.1:{os.environ.get('PORT', '8000')}/health", timeout=2)
