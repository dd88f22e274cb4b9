"""One HTTP request, read as JSON from standard input; the answer as JSON to standard output.

The address is the URL's own, SNI and ``Host`` are what the order says, and
no certificate is judged. Standard library only.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from typing import Any
from urllib.parse import urlsplit


def connect(order: dict[str, Any]) -> http.client.HTTPConnection:
    url = urlsplit(order["url"])
    assert url.hostname is not None
    timeout = order["timeout"]
    if url.scheme == "http":
        return http.client.HTTPConnection(url.hostname, url.port or 80, timeout=timeout)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPConnection(url.hostname, url.port or 443, timeout=timeout)
    plain = socket.create_connection((url.hostname, url.port or 443), timeout)
    connection.sock = context.wrap_socket(plain, server_hostname=order.get("sni", url.hostname))
    return connection


def ask(order: dict[str, Any]) -> dict[str, Any]:
    url = urlsplit(order["url"])
    connection = connect(order)
    try:
        headers = dict(order["headers"])
        body = order["body"]
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        target = url.path + (f"?{url.query}" if url.query else "")
        connection.request(order["method"], target, body, headers)
        sock = connection.sock
        leaf = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
        answer = connection.getresponse()
        return {
            "status": answer.status,
            "headers": [(name.lower(), value) for name, value in answer.getheaders()],
            "text": answer.read().decode(errors="replace"),
            "certificate": (leaf or b"").hex(),
        }
    finally:
        connection.close()


def main() -> None:
    order = json.load(sys.stdin)
    until = time.monotonic() + order["retry_seconds"]
    while True:
        try:
            answer = ask(order)
        except (OSError, http.client.HTTPException) as error:
            answer = {"fault": f"{type(error).__name__}: {error}"}
            if isinstance(error, ConnectionRefusedError) and time.monotonic() < until:
                time.sleep(0.05)
                continue
        break
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
