"""A server that says whatever the test wrote into files: ``ADDRESS PORT CERT KEY FOLDER``.

The file for a request is ``FOLDER/<Host>/<path, percent-encoded>``, read anew each
time; no file is a 404. Each request is one line of the log: ``GET /path host
HTTP/1.0``. Answers carry a length, are never chunked, and end the connection.
Standard library only.
"""

from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote


class Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_GET(self) -> None:
        host = self.headers.get("Host", "-")
        print(f"GET {self.path} {host} {self.request_version}", flush=True)
        file = self.folder / quote(host, safe="") / quote(self.path, safe="")
        found = file.is_file()
        body = file.read_bytes() if found else b'{"errcode":"M_UNRECOGNIZED","error":"No"}'
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The line above says it all."""


def main() -> None:
    address, port, cert, key, folder = sys.argv[1:]
    Handler.folder = Path(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = ThreadingHTTPServer((address, int(port)), Handler)
    # The handshake is left to the first read, in the connection's own thread.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    print("listening", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
