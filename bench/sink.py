"""nginx answering like ``@connections``, on a core of its own: the far side of ``bench fanout``.

Debian: ``apt-get install nginx-light libnginx-mod-http-echo wrk``. The 10 ms are echo_sleep, a
timer of nginx's event loop, before the same ``return 200``: it holds no worker, and so caps
nothing but what a connection can do.
"""

import contextlib
import datetime
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import certificate

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")

_CONFIG = """
load_module {echo};
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; server_tokens off; default_type application/json; tcp_nodelay on;
  keepalive_requests 1000000000; keepalive_timeout 600s; reset_timedout_connection on;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  split_clients $request_id $fault {{ 5% throttled; 2% broken; 1% reset; 1% hang; * none; }}
  add_header x-amzn-RequestId $request_id;
  add_header x-amz-apigw-id WDGT8fY4joECJrQ=;
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_session_cache shared:s:1m;
    location /api/ {{ return 200; }}
    location /slow/ {{ echo_sleep 0.010; echo_exec @ok; }}
    location @ok {{ return 200; }}
    location /mixed/@connections/G {{ return 410; }}
    location /mixed/ {{
      if ($fault = throttled) {{ return 429; }}
      if ($fault = broken) {{ return 500; }}
      if ($fault = reset) {{ return 444; }}
      if ($fault = hang) {{ rewrite ^ /hang last; }}
      return 200;
    }}
    location /hang {{ echo_sleep 3600; echo_exec @ok; }}
  }}
}}
"""


@dataclass(frozen=True)
class Sink:
    """A running sink; stages ``api``, ``slow`` (10 ms) and ``mixed`` (faults) lie under ``url``."""

    url: str
    ca_bundle: str


@contextlib.contextmanager
def running(core: int) -> Iterator[Sink]:
    """Run nginx on one core; raises ``RuntimeError`` naming what is not installed."""
    missing = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    if missing or not ECHO.exists():
        raise RuntimeError(f"install nginx, libnginx-mod-http-echo, wrk (missing: {missing})")
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as free:
        folder = Path(name)
        files = certificate.make(folder, datetime.datetime.now(datetime.timezone.utc))
        port: int = free.getsockname()[1]
        free.close()
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(echo=ECHO, folder=folder, port=port, certificate=files[0], key=files[1])
        )
        command = ["taskset", "-c", str(core), "nginx", "-p", name, "-c", str(config)]
        with subprocess.Popen(command) as nginx:
            try:
                _wait_for(port, nginx)
                yield Sink(f"https://localhost:{port}", str(files[0]))
            finally:
                nginx.terminate()


def _wait_for(port: int, nginx: "subprocess.Popen[bytes]") -> None:
    while nginx.poll() is None:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return
    raise RuntimeError(f"nginx ended with {nginx.returncode}")
