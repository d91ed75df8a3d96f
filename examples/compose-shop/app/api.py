"""The API: POST /orders makes an order, GET /orders lists them, GET /health says whether all is there."""

import json
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import store


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            with store.database() as db, db.cursor() as rows:
                if self.path == "/health":
                    rows.execute("select 1")
                    return self.answer(200, {"healthy": True})
                rows.execute("select id, item, state from orders order by id")
                orders = [dict(zip(("id", "item", "state"), row)) for row in rows.fetchall()]
            self.answer(200, {"orders": orders})
        except Exception as failure:
            self.answer(503, {"error": str(failure)})

    def do_POST(self):
        item = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            with store.database() as db, db.cursor() as rows:
                rows.execute("insert into orders (item) values (%s) returning id", (item,))
                number = rows.fetchone()[0]
            store.queue().rpush(store.QUEUE, number)
            self.answer(201, {"id": number})
        except Exception as failure:
            self.answer(503, {"error": str(failure)})

    def answer(self, status, body):
        body["by"] = socket.gethostname()
        body["release"] = os.environ.get("RELEASE", "")
        text = (json.dumps(body) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


server = ThreadingHTTPServer(("", 8000), Api)
signal.signal(signal.SIGTERM, lambda *_: exit(0))
server.serve_forever()
