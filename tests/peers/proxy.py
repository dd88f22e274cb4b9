"""A real nginx: TLS in front of a server, or a place for a well-known document."""

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
