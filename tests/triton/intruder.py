"""What somebody without harness's secret tries on a Triton, as another user of the machine if possible.

Run as a program, `python -m tests.triton.intruder HTTP_PORT GRPC_PORT MARKER`, it becomes the user `nobody`
if it is root, tries everything, and prints what was granted, one name a line.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOBODY = 65534
REGION = "harness_intruder"
TRACED = {"trace_rate": "1"}


def evil(marker: Path) -> str:
    """A Python model that leaves a file where it is loaded."""
    return (
        f"open({str(marker)!r}, 'a').write('ran')\n"
        "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
    )


def config() -> str:
    tensor = {"name": "X", "data_type": "TYPE_FP32", "dims": [1]}
    named = {"name": "evil", "backend": "python", "input": [tensor], "output": [{**tensor, "name": "Y"}]}
    return json.dumps(named | {"instance_group": [{"kind": "KIND_CPU"}]})


def requests(marker: Path) -> dict[str, tuple[str, str, dict[str, Any] | None]]:
    """Each attempt over HTTP: method, path, body."""
    code = base64.b64encode(evil(marker).encode()).decode()
    files = {"parameters": {"config": config(), "file:1/model.py": code}}
    region = {"key": f"/{REGION}", "offset": 0, "byte_size": 16}
    handle = {"raw_handle": {"b64": base64.b64encode(bytes(64)).decode()}, "device_id": 0, "byte_size": 16}
    return {
        "index": ("POST", "/v2/repository/index", {}),
        "load code": ("POST", "/v2/repository/models/evil/load", files),
        "load": ("POST", "/v2/repository/models/double/load", {}),
        "shared memory": ("POST", "/v2/systemsharedmemory/region/theirs/register", region),
        "shared memory status": ("GET", "/v2/systemsharedmemory/status", None),
        "shared memory release": ("POST", "/v2/systemsharedmemory/unregister", {}),
        "cuda memory": ("POST", "/v2/cudasharedmemory/region/theirs/register", handle),
        "cuda memory status": ("GET", "/v2/cudasharedmemory/status", None),
        "traces": ("POST", "/v2/trace/setting", TRACED),
        "traces status": ("GET", "/v2/trace/setting", None),
        "traces of the model": ("POST", "/v2/models/double/trace/setting", TRACED),
        "log": ("POST", "/v2/logging", {"log_verbose_level": 9, "log_info": False}),
        "log status": ("GET", "/v2/logging", None),
        "unload": ("POST", "/v2/repository/models/double/unload", {}),
    }


def over_http(port: int, marker: Path) -> list[str]:
    """Names of what was granted."""
    granted = []
    for name, (method, path, body) in requests(marker).items():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body))
        if connection.getresponse().status == 200:
            granted.append(f"http {name}")
        connection.close()
    return granted


def over_grpc(port: int, marker: Path) -> list[str]:
    """Names of what was granted."""
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    client = InferenceServerClient(f"127.0.0.1:{port}")
    files = {"file:1/model.py": evil(marker).encode()}
    handle = base64.b64encode(bytes(64))
    attempts: dict[str, Callable[[], Any]] = {
        "index": client.get_model_repository_index,
        "load code": lambda: client.load_model("evil", config=config(), files=files),
        "load": lambda: client.load_model("double"),
        "shared memory": lambda: client.register_system_shared_memory("theirs_too", f"/{REGION}", 16),
        "shared memory status": client.get_system_shared_memory_status,
        "shared memory release": client.unregister_system_shared_memory,
        "cuda memory": lambda: client.register_cuda_shared_memory("theirs_too", handle, 0, 16),
        "cuda memory status": client.get_cuda_shared_memory_status,
        "traces": lambda: client.update_trace_settings(None, dict(TRACED)),
        "traces status": client.get_trace_settings,
        "traces of the model": lambda: client.update_trace_settings(
            "double", {"trace_level": ["TIMESTAMPS"]}
        ),
        "log": lambda: client.update_log_settings({"log_verbose_level": 9, "log_info": False}),
        "log status": client.get_log_settings,
        "unload": lambda: client.unload_model("double"),
    }
    granted = []
    for name, attempt in attempts.items():
        try:
            attempt()
            granted.append(f"grpc {name}")
        except InferenceServerException:
            pass
    client.close()
    return granted


def main(http_port: str, grpc_port: str, marker: str) -> None:
    import encodings.idna  # noqa: F401 - while its folder can be read, as the next one

    import tritonclient.grpc  # noqa: F401

    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    granted = over_http(int(http_port), Path(marker)) + over_grpc(int(grpc_port), Path(marker))
    print(*granted, sep="\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
