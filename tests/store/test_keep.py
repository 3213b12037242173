"""From spools to Parquet: every record, in chunks, and nothing is removed before it is safe elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.commands.derived import keep
from harness.load import spools
from harness.load.spools import read_spool
from harness.schema.errors import HarnessError
from harness.schema.point import Point
from harness.schema.samples import REQUEST, Phase
from harness.store import samples_file
from harness.store.run_folder import RunFolder
from tests.analysis.samples import point
from tests.e2e.ten_million import write_spools


@pytest.fixture
def two_classes() -> Point:
    return point(requests=[{"name": "short", "tokens": 16}, {"name": "long", "tokens": 128}])


def test_every_record_of_every_spool_is_kept_and_only_then_removed(
    tmp_path: Path, two_classes: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    folder = run.begin_point(two_classes)
    window = write_spools(folder / "load", 20_000)
    for name in ("load-plan.json", "load.log", "load-payloads.bin"):
        (folder / "load" / name).touch()
    spooled, texts = read_spool(folder / "load")
    monkeypatch.setattr(spools, "CHUNK", 777)
    keep(two_classes, run, window=window, host=[], gpu=[])
    stored = samples_file.read_requests(folder / "requests.parquet")
    assert stored.requests.size == 20_400
    assert stored.requests.tobytes() == spooled.tobytes()
    assert (stored.classes, list(stored.reasons)) == (("short", "long"), texts)
    assert samples_file.read_window(folder / "requests.parquet") == window
    assert sorted(f.name for f in (folder / "load").iterdir()) == ["load-plan.json", "load.log"]


def test_a_damaged_spool_is_refused_and_stays(tmp_path: Path, two_classes: Point) -> None:
    run = RunFolder(tmp_path)
    folder = run.begin_point(two_classes)
    window = write_spools(folder / "load", 2000)
    spool = folder / "load" / "requests-1.spool"
    records = np.fromfile(spool, REQUEST)
    records["reason"][-1] = 900
    records.tofile(spool)
    with pytest.raises(HarnessError, match="a reason that doesn't exist"):
        keep(two_classes, run, window=window, host=[], gpu=[])
    assert not (folder / "requests.parquet").exists()
    assert np.fromfile(spool, REQUEST).tobytes() == records.tobytes()


def test_a_torn_text_that_no_record_names_yet_is_passed_over(tmp_path: Path) -> None:
    write_spools(tmp_path / "load", 2000)
    with (tmp_path / "load" / "requests-0.reasons").open("a") as texts:
        texts.write('"half a te')
    requests, reasons = read_spool(tmp_path / "load")
    assert reasons == ["refused by 0", "refused by 1"]
    assert np.count_nonzero(requests["phase"] == Phase.MEASURE) == 2000
