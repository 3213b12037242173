"""A harness that was killed with -9, at the worst moments: what it had measured can be read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil

from harness.load.spools import read_spool
from harness.schema.samples import REQUEST, Phase, Status
from tests.e2e.conftest import TINY, Workplace, under_load, valid, wait_for
from tests.e2e.ten_million import make

DOCS = Path(__file__).parents[2] / "docs" / "results.md"


def recipe(load: Path) -> str:
    """What the recipe in the docs prints for a folder of spools."""
    _, section = DOCS.read_text().split("## What a killed run leaves")
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code is not None
    named, times = re.subn(r'Path\("results/[^"]*"\)', f"Path({str(load)!r})", code[1])
    assert times == 1
    done = subprocess.run([sys.executable, "-c", named], capture_output=True, text=True, check=True)
    return done.stdout


def described(load: Path) -> str:
    """The same figures by another way."""
    requests, _ = read_spool(load)
    good = requests[(requests["phase"] == Phase.MEASURE) & (requests["status"] == Status.OK)]
    took_ms = pd.Series((good["completed_ns"] - good["intended_ns"]) / 1e6)
    assert took_ms.size > 100
    return f"{took_ms.describe(percentiles=[0.5, 0.9, 0.99])}\n"


def test_what_was_measured_until_the_harness_was_killed_under_load_can_be_read(workplace: Workplace) -> None:
    process = workplace.start(
        "run", workplace.scenario(TINY.replace("[4, 8]", "8").replace("duration_s: 2", "duration_s: 2.5"))
    )
    folder = under_load(workplace, process, records=150)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in family))
    assert not (folder / "requests.parquet").exists(), "it was killed too late"
    before = recipe(folder / "load")
    assert before == described(folder / "load")
    valid(workplace.run("run", "--resume", "--json"))
    aside = folder.with_name(f"{folder.name}.unfinished-1")
    assert recipe(aside / "load") == before
    assert (folder / "requests.parquet").exists() and not list(folder.glob("load/*.spool"))


def test_a_harness_killed_while_it_writes_parquet_leaves_the_spools_whole(tmp_path: Path) -> None:
    make(tmp_path, 1, 2_000_000)
    command = [sys.executable, "-m", "tests.e2e.ten_million", "run", str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        scratch = wait_for(
            lambda: [f for f in tmp_path.glob("*/points/*/.requests.parquet.*") if f.stat().st_size > 2**20]
        )
        process.kill()
    (folder,) = tmp_path.glob("*/points/*")
    assert scratch[0].exists() and not (folder / "requests.parquet").exists(), "it was killed too late"
    sizes = [spool.stat().st_size for spool in (folder / "load").glob("*.spool")]
    assert sum(sizes) == int(2_000_000 * 1.02) * REQUEST.itemsize
    with sorted((folder / "load").glob("*.spool"))[0].open("ab") as spool:
        spool.write(bytes(17))  # as a load process leaves it that is killed while it writes
    assert recipe(folder / "load") == described(folder / "load")
