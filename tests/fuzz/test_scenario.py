"""Scenario files, and the values of --set."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st

from harness.schema.errors import InputError
from harness.store.scenario_file import load_scenario
from tests.fuzz import fuzz, mutated
from tests.store.broken_scenarios import GOOD

PIECES = (
    *(
        GOOD.encode(),
        b"model: minilm\nrequests: [{name: a, axes: {n: [1, 2]}}]\nload: {ramp: {from_per_s: 1}}\n",
    ),
    *(
        b"- [",
        b"? ",
        b"{",
        b": ",
        b"&a ",
        b"*a",
        b"!!python/object ",
        b"\n---\n",
        b"'",
        b'"\\ud800"',
        b"|\n",
        b"\t",
    ),
    *(b"1e999", b"9" * 400, b"\xff", b"\xef\xbb\xbf", b"..", b"/", b"\0", b"%YAML 1.1\n", b"<<: ", b"~"),
)

PATHS = ("server.max_batch", "requests.short.tokens", "requests.0", "load", "", ".", "seed", "model", "a.b.c")


@fuzz(mutated(*PIECES))
def test_a_file_is_a_scenario_or_an_error_that_names_it(content: bytes) -> None:
    _loaded(content, [])


@fuzz(st.sampled_from(PATHS) | st.text(max_size=12), mutated(*PIECES))
def test_an_override_is_taken_or_refused(path: str, value: bytes) -> None:
    _loaded(GOOD.encode(), [f"{path}={value.decode(errors='surrogateescape')}"])


def _loaded(content: bytes, overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fuzzed.yaml"
        file.write_bytes(content)
        began = time.monotonic()
        with suppress(InputError):
            loaded = load_scenario(file, overrides)
            assert 1 <= len(loaded.points) <= 1000
        assert time.monotonic() - began < 10
