"""Real proxies: TLS in front of a server, or a place for a well-known document."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import Popen

from tests.peers.authority import Pair
from tests.peers.namespace import Namespace
from tests.peers.naming import wait_until

# One process only, so that its id is the one to end; `user root` is needed in
# a user namespace, which has no other users.
_CONFIG = """\
user root;
daemon off;
master_process off;
pid {place}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 512; }}
http {{
  access_log {place}/access.log;
  client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi;
  uwsgi_temp_path {place}/uwsgi;
  scgi_temp_path {place}/scgi;
{servers}
}}
"""


def well_known(ip: str, pair: Pair, delegated: str) -> str:
    """A server block: port 443 with ``/.well-known/matrix/server`` and nothing else."""
    body = json.dumps({"m.server": delegated})
    return f"""  server {{
    listen {ip}:443 ssl;
    ssl_certificate {pair.cert};
    ssl_certificate_key {pair.key};
    location = /.well-known/matrix/server {{
      default_type application/json;
      return 200 '{body}';
    }}
  }}"""


def reverse_proxy(ip: str, port: int, pair: Pair, upstream: str) -> str:
    """A server block: TLS at ``ip:port``, passed on plain to ``upstream``."""
    return f"""  server {{
    listen {ip}:{port} ssl;
    ssl_certificate {pair.cert};
    ssl_certificate_key {pair.key};
    client_max_body_size 64m;
    location / {{
      proxy_pass http://{upstream};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto https;
      proxy_http_version 1.1;
    }}
  }}"""


def start_nginx(namespace: Namespace, program: str, place: Path, *servers: str) -> Popen[bytes]:
    """One nginx with the given server blocks; it listens when this returns."""
    place.mkdir(parents=True, exist_ok=True)
    config = place / "nginx.conf"
    config.write_text(_CONFIG.format(place=place, servers="\n".join(servers)))
    log = place / "nginx.log"
    command = [program, "-p", str(place), "-c", str(config), "-e", str(log)]
    process = namespace.spawn(command, log=log, cwd=place)
    wait_until((place / "nginx.pid").exists, "nginx", process, log)
    return process


_HAPROXY = """\
global
  maxconn 512
defaults
  mode http
  timeout connect 5s
  timeout client 130s
  timeout server 130s
"""


CERTIFICATE_HEADER = "X-Client-Certificate"
"""In which HAProxy here tells of the client's certificate."""


def haproxy_front(ip: str, port: int, pair: Pair, upstream: str) -> str:
    """A section: TLS at ``ip:port``, any client certificate, passed on plain to ``upstream``."""
    both = pair.cert.with_suffix(".haproxy.pem")
    both.write_text(pair.cert.read_text() + pair.key.read_text())
    any_client = f"verify optional ca-file {pair.cert} ca-ignore-err all crt-ignore-err all"
    told = f"{CERTIFICATE_HEADER} %[ssl_c_der,base64] if {{ ssl_c_used }}"
    return f"""listen {both.stem}
  bind {ip}:{port} ssl crt {both} {any_client}
  http-request del-header {CERTIFICATE_HEADER}
  http-request set-header {told}
  server matrix {upstream}
"""


def start_haproxy(namespace: Namespace, program: str, place: Path, *sections: str) -> Popen[bytes]:
    """One HAProxy with the given sections; it listens when this returns."""
    place.mkdir(parents=True, exist_ok=True)
    config, log, pid = place / "haproxy.cfg", place / "haproxy.log", place / "haproxy.pid"
    config.write_text(_HAPROXY + "\n".join(sections))
    command = [program, "-db", "-f", str(config), "-p", str(pid)]
    process = namespace.spawn(command, log=log, cwd=place)
    wait_until(lambda: _listens(namespace, sections), "haproxy", process, log)
    return process


def _listens(namespace: Namespace, sections: tuple[str, ...]) -> bool:
    ports = {section.partition("bind ")[2].split()[0] for section in sections}
    table = namespace.run(["cat", "/proc/net/tcp"]).stdout.decode()
    return all(_as_in_table(each) in table for each in ports)


def _as_in_table(address: str) -> str:
    """``127.0.0.1:8448`` as ``/proc/net/tcp`` writes it on a little-endian machine."""
    ip, _, port = address.partition(":")
    return "".join(f"{int(each):02X}" for each in reversed(ip.split("."))) + f":{int(port):04X} "
