"""The line for cron, as both kinds of cron hand it to a real shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from harness.schedule.crontab import MOST_BYTES, crontab, quoted
from harness.schema.errors import InputError
from tests.schedule.nights import NAMES, ends_with, night, words_of


def handed_over(command: str, *, takes_backslash_away: bool) -> str:
    """What cron gives to the shell: all up to the first % without a backslash before it. Debian's and cronie
    take that backslash away, Vixie's of 1993 left it; some take one of two backslashes away."""
    text, rest = "", command
    while rest:
        if rest.startswith("\\") and len(rest) > 1:
            plain = takes_backslash_away and rest[1] in "%\\"
            text, rest = text + (rest[1] if plain else rest[:2]), rest[2:]
        elif rest.startswith("%"):
            break
        else:
            text, rest = text + rest[0], rest[1:]
    return text


def command_of(files: dict[str, str]) -> str:
    """The command of a crontab's only line."""
    (text,) = files.values()
    (line,) = (line for line in text.splitlines() if not line.startswith("#"))
    found = re.fullmatch(r"(5 3 \* \* \*) (.*)", line)
    assert found is not None, line
    return found[2]


@settings(max_examples=50)
@given(NAMES)
def test_a_shell_behind_any_cron_gets_the_words_that_were_meant(name: str) -> None:
    command = " ".join(map(quoted, night(name).command))
    for takes_backslash_away in (True, False):
        got = words_of(handed_over(command, takes_backslash_away=takes_backslash_away))
        assert got == list(night(name).command)


@pytest.mark.parametrize("code", range(5))
def test_only_what_somebody_should_look_at_is_printed_and_so_mailed(tmp_path: Path, code: int) -> None:
    folder = tmp_path / "50% of 'it'"
    folder.mkdir()
    tonight = night("100% x", folder=str(folder), python=str(ends_with(code, folder)))
    command = handed_over(command_of(crontab(tonight)), takes_backslash_away=True).replace(
        "/srv/", f"{tmp_path}/"
    )
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, cwd="/")
    assert done.stderr == ""
    assert ("<nightly>" in done.stdout) == (code not in (0, 3))
    assert "100% x" in (folder / f"{tonight.name}.log").read_text()


def test_a_folder_that_is_gone_is_mailed(tmp_path: Path) -> None:
    command = command_of(crontab(night(folder=str(tmp_path / "gone"))))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "gone" in done.stderr and not done.stdout


def fits(name: str) -> bool:
    try:
        crontab(night(name))
    except InputError as error:
        assert "takes a command of 998 bytes" in str(error)
        return False
    return True


def test_what_cron_would_cut_off_is_refused() -> None:
    longest = max(size for size in range(330) if fits("x" * size))
    assert MOST_BYTES - 3 < len(command_of(crontab(night("x" * longest)))) <= MOST_BYTES
    assert not fits("é" * longest), "bytes count"
    for path in ("a\nb", "a\x1b[m", "\ud800"):
        with pytest.raises(InputError, match="can't hold"):
            night(path)
