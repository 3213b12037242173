"""A server mode that another installed package adds: one class in one file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.extensions import extensions
from harness.schema.errors import InputError
from harness.triton.modes import server_modes
from tests.e2e.conftest import TINY, Workplace, tiny_model, workplace
from tests.extension import installed

__all__ = ["tiny_model", "workplace"]

TALKATIVE = '''
"""The embedded Triton, which tells its log of every request."""

from harness.triton.embedded import EmbeddedServer


class Talkative(EmbeddedServer):
    mode = "talkative"

    def command_line(self, folder):
        return [*super().command_line(folder), "--log-verbose=1"]
'''

pytestmark = pytest.mark.triton


def test_a_run_on_it_is_a_run_as_any_other(workplace: Workplace, tmp_path: Path) -> None:
    package = installed(tmp_path, "server_modes", {"talkative": TALKATIVE}, attribute="Talkative")
    workplace.env["PYTHONPATH"] = str(package)
    scenario = workplace.scenario(TINY.replace("[4, 8]", "8"))
    done = workplace.run("run", scenario, "--server", "talkative", "--json")
    assert done.code == 0, done.stderr
    environment = done.document["environment"]
    assert environment["server_mode"] == "talkative"
    assert environment["server_command"][-1] == "--log-verbose=1"
    assert [point["verdict"] for point in done.document["points"]] == ["valid"]


def test_without_the_package_it_is_none_of_those_there_are(workplace: Workplace, tmp_path: Path) -> None:
    scenario = workplace.scenario()
    done = workplace.run("run", scenario, "--server", "talkative")
    assert done.code == 2
    assert "--server talkative is none of embedded, binary, docker; one that runs is --url" in done.stderr
    package = installed(tmp_path, "server_modes", {"talkative": TALKATIVE}, attribute="Talkative")
    workplace.env["PYTHONPATH"] = str(package)
    done = workplace.run("run", scenario, "--server", "other")
    assert done.code == 2 and "--server other is none of" in done.stderr and "talkative" in done.stderr


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("talkative", "Talkative = print", "is no whole class of harness.triton.own.OwnServer"),
        ("talkative", "from harness.triton.own import OwnServer as Talkative", "is no whole class"),
        ("quiet", TALKATIVE, "has another `mode`"),
        ("docker", TALKATIVE, "has a name that harness uses itself"),
        ("remote", TALKATIVE, "has a name that harness uses itself"),
    ],
)
def test_what_is_no_mode_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, says: str
) -> None:
    package = installed(tmp_path, "server_modes", {name: source}, attribute="Talkative")
    monkeypatch.syspath_prepend(str(package))
    extensions.cache_clear()
    try:
        with pytest.raises(InputError, match=f"adds '{name}' to harness's server modes, and it {says}.*mend"):
            server_modes()
    finally:
        extensions.cache_clear()
        sys.modules.pop(f"harness_extension_server_modes_{name}", None)
