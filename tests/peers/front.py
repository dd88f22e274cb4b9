"""A real HAProxy or nginx in front of our listener: TLS ends there, and it tells of the client.

Everything is on loopback and high ports. The configurations are what the
documentation recommends; HAProxy asks for client certificates and takes any (D24).
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ranvier.protocol.addresses import Address
from tests.peers.availability import availability, find_program
from tests.peers.installs import PeerMissing
from tests.rigs import certs

CERTIFICATE_HEADER = "X-Client-Certificate"
_PATIENCE = 10.0

# `del-header` first: what the client itself wrote under the name must not get through.
_HAPROXY = """\
defaults
  mode http
  timeout connect 5s
  timeout client 130s
  timeout server 130s
frontend federation
  bind 127.0.0.1:{port} ssl crt {place}/pair.pem verify optional ca-file {place}/ca.pem \
ca-ignore-err all crt-ignore-err all
  http-request del-header {header}
  http-request set-header {header} {value} if {{ ssl_c_used }}
  default_backend ranvier
backend ranvier
  server one {upstream}
"""
_HAPROXY_FORMS = {"base64": "%[ssl_c_der,base64]", "rfc9440": ":%[ssl_c_der,base64]:"}

_NGINX = """\
daemon off;
master_process off;
pid {place}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi;
  scgi_temp_path {place}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_verify_client optional_no_ca;
    client_max_body_size 13m;
    location / {{
      proxy_pass http://{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header {header} $ssl_client_escaped_cert;
    }}
  }}
}}
"""


@contextlib.contextmanager
def haproxy(place: Path, upstream: Address, form: str = "base64") -> Iterator[Address]:
    """HAProxy for ``us.test``; ``form`` is how it writes the certificate."""
    shown = certs.good("us.test")
    (place / "pair.pem").write_bytes(shown.chain_pem + shown.key_pem)
    (place / "ca.pem").write_bytes(certs.authority().pem)
    port = _free_port()
    text = _HAPROXY.format(
        place=place,
        port=port,
        header=CERTIFICATE_HEADER,
        value=_HAPROXY_FORMS[form],
        upstream=upstream,
    )
    (place / "haproxy.cfg").write_text(text)
    with _running([_need("haproxy"), "-db", "-f", str(place / "haproxy.cfg")], place, port):
        yield Address("127.0.0.1", port)


@contextlib.contextmanager
def nginx(place: Path, upstream: Address) -> Iterator[Address]:
    """nginx for ``us.test``."""
    cert, key = certs.good("us.test").files
    port = _free_port()
    text = _NGINX.format(
        place=place, port=port, cert=cert, key=key, header=CERTIFICATE_HEADER, upstream=upstream
    )
    config = place / "nginx.conf"
    config.write_text(text)
    command = [_need("nginx"), "-p", str(place), "-c", str(config), "-e", "stderr"]
    with _running(command, place, port):
        yield Address("127.0.0.1", port)


def _need(program: str) -> str:
    found = find_program(program)
    if found is None:
        raise PeerMissing(str(availability()[program]))
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(command: list[str], place: Path, port: int) -> Iterator[None]:
    """One process that listens when this begins and has ended when it ends."""
    log = place / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _wait_for(process, port, log)
        yield
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen: {log.read_text()}")
