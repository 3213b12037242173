"""An installed package that adds a vendor of GPUs, and a recording for it to replay."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.extension import installed

NAMES = ("Replayed 64GB", "Replayed 64GB, the second")
POWER_W = (200.0, 100.0)
SECONDS = 240
EACH_S = 0.1
SOURCE = Path(__file__).parent / "probe" / "replaying_vendor.py"


def replayed(folder: Path, *, pid: int | None = None, seconds: int = SECONDS) -> dict[str, str]:
    """The environment variables of a process that meets two GPUs of the vendor `replay`, at rest and counting
    energy; the second has a process of the id `pid` on it."""
    processes = [[], [] if pid is None else [{"pid": pid, "name": None, "memory_bytes": 1 << 30}]]
    recording = folder / "replayed.json"
    readings = [
        {
            "after_s": step * EACH_S,
            "device": device,
            "utilization": 0.0,
            "power_w": power_w,
            "energy_j": power_w * step * EACH_S,
            "memory_bytes": 1 << 30,
            "processes": processes[device],
        }
        for step in range(int(seconds / EACH_S))
        for device, power_w in enumerate(POWER_W)
    ]
    recording.write_text(json.dumps({"devices": NAMES, "readings": readings}))
    package = installed(folder, "gpu_vendors", {"replay": SOURCE.read_text()}, attribute="vendor")
    others = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": f"{package}{os.pathsep}{others}" if others else str(package),
        "REPLAYED_GPUS": str(recording),
    }
