"""A real nginx before a server, as Debian packages it (`apt-get install nginx-light`), for one test module.

In a test, where a conftest.py or the module has `from tests.nginx import nginx`:

    def test_it(nginx: Nginx) -> None:
        nginx.start("server { listen 127.0.0.1:8443 ssl; … }")
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


class Nginx:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "error.log").read_text() + (self.folder / "access.log").read_text()

    def start(self, servers: str) -> None:
        """With these `server` blocks, until `stop`."""
        assert PROGRAM is not None
        text = f"""\
daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
error_log {self.folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {self.folder}/access.log;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/proxy;
  fastcgi_temp_path {self.folder}/fastcgi;
  uwsgi_temp_path {self.folder}/uwsgi;
  scgi_temp_path {self.folder}/scgi;
  client_max_body_size 0;
  keepalive_requests 1000000;
  {servers}
}}
"""
        file = self.folder / "nginx.conf"
        file.write_text(text)
        self._process = subprocess.Popen(
            [PROGRAM, "-p", str(self.folder), "-c", str(file)], stderr=(self.folder / "out").open("wb")
        )
        give_up = time.monotonic() + 30
        while not (self.folder / "nginx.pid").exists():
            assert self._process.poll() is None, (self.folder / "out").read_text()
            assert time.monotonic() < give_up, "nginx doesn't begin"
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    if PROGRAM is None:
        pytest.skip("nginx is not here: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    started = Nginx(folder)
    yield started
    started.stop()
