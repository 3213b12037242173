"""A server mode that another installed package adds: one class in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import TINY, Workplace, tiny_model, workplace
from tests.extension import installed

__all__ = ["tiny_model", "workplace"]

NICED = '''
"""The embedded Triton at a lower priority, as where it shares a machine with others."""

from harness.triton.embedded import EmbeddedServer


class Niced(EmbeddedServer):
    mode = "niced"

    def command_line(self, folder):
        return ["nice", "-n", "1", *super().command_line(folder)]
'''

pytestmark = pytest.mark.triton


def test_a_run_on_it_is_a_run_as_any_other(workplace: Workplace, tmp_path: Path) -> None:
    package = installed(tmp_path, "server_modes", {"niced": NICED}, attribute="Niced")
    workplace.env["PYTHONPATH"] = str(package)
    scenario = workplace.scenario(TINY.replace("{max_batch: [1, 8]}", "{max_batch: 8}"))
    done = workplace.run("run", scenario, "--server", "niced", "--json")
    assert done.code == 0, done.stderr
    environment = done.document["environment"]
    assert environment["server_mode"] == "niced"
    assert environment["server_command"][0] == "nice"
    assert [point["verdict"] for point in done.document["points"]] == ["valid"]


def test_without_the_package_it_is_none_of_those_there_are(workplace: Workplace, tmp_path: Path) -> None:
    scenario = workplace.scenario()
    done = workplace.run("run", scenario, "--server", "niced")
    assert done.code == 2
    assert "--server niced is none of embedded, binary, docker; one that runs is --url" in done.stderr
    package = installed(tmp_path, "server_modes", {"niced": NICED}, attribute="Niced")
    workplace.env["PYTHONPATH"] = str(package)
    done = workplace.run("run", scenario, "--server", "other")
    assert done.code == 2 and "--server other is none of" in done.stderr and "niced" in done.stderr
