"""A counter behind HTTP: says hello, how often it was asked, and which container answers."""

import itertools
import logging
import socket

from bottle import Bottle

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
visits = itertools.count(1)
application = Bottle()


@application.get("/")
def index():
    number = next(visits)
    logging.info("visit %d", number)
    return f"Hello from {socket.gethostname()}: visit {number}\n"


@application.get("/health")
def health():
    return "ok\n"
