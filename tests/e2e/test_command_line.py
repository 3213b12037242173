"""The command line where nothing is measured: refusals, help, and what is listed."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from harness import cli
from tests.e2e.conftest import Finished, Workplace
from tests.store.broken_scenarios import GOOD, broken

BROKEN = list(broken())
INSTALLED = str(Path(sys.executable).with_name("harness"))


def in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """`harness ARGUMENTS` by the same `main`, without a new process: 300 of them would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.argv", ["harness", *arguments])
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def test_the_good_scenario_is_good(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    code, out, err = in_process(monkeypatch, "run", str(tmp_path / "s.yaml"), "--dry-run")
    assert (code, err) == (0, "")
    assert "1 points" in out or "1 point" in out


def test_there_are_at_least_200_broken_scenarios() -> None:
    assert len({text for _, text in BROKEN}) >= 200


@pytest.mark.parametrize(
    ("what", "text"), BROKEN, ids=[f"{i}-{what[:40]}" for i, (what, _) in enumerate(BROKEN)]
)
def test_a_broken_scenario_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, text: str
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    code, out, err = in_process(monkeypatch, "run", str(file), "--dry-run")
    assert code == 2, (what, out, err)
    assert out == ""
    assert err.startswith("harness: ")
    assert "broken.yaml" in err
    assert "Traceback" not in err
    assert not re.search(r"pydantic|ValidationError|Input should|tuple\[|constrained", err), err
    assert len(err) < 2000, "a wall of text is no clear error"


@pytest.mark.parametrize("what", BROKEN[:: len(BROKEN) // 8], ids=lambda what: what[0][:30])
def test_a_broken_scenario_is_a_clear_error_in_a_process_of_its_own(
    workplace: Workplace, what: tuple[str, str]
) -> None:
    done = workplace.run("run", workplace.scenario(what[1]))
    assert done.code == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("harness: ")
    assert "Traceback" not in done.stderr
    assert not workplace.runs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["runn"], "Did you mean 'run'"),
        (["run"], "which scenario"),
        (["run", "missing.yaml"], "can't be read"),
        (["run", "."], "is a folder"),
        (["run", "--resume"], "no unfinished run"),
        (["run", "missing", "--resume"], "no unfinished run"),
        (["run", "--nonsense"], "No such option"),
        (["report", "missing"], "no folder"),
        (["report", "."], "isn't a run's folder"),
        (["export", "minilmm"], "did you mean"),
        (["export", "no.module:factory"], "no.module"),
        (["export", "os:getcwd"], "TorchModel"),
        (["serve", "minilm", "--max-batch", "0"], "max-batch"),
    ],
)
def test_a_users_mistake_is_one_sentence_with_the_remedy(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(workplace.path)
    code, _, err = in_process(monkeypatch, *arguments)
    assert code == 2, err
    assert says in err
    assert "Traceback" not in err
    assert err.startswith("harness: ")
    assert err.count("\n") == 1


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # import then fails, as where it isn't installed
sys.argv = ["harness", "export", "minilm"]
from harness.cli import main
main()
"""


def test_a_missing_extra_is_one_sentence_with_the_remedy(workplace: Workplace, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=workplace.path,
        env=os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    last = done.stderr.splitlines()[-1]
    assert (
        "the package torch is not installed here: run `pip install 'harness[export]'` with the Python" in last
    )
    assert "Traceback" not in done.stderr


def test_a_bug_is_shown_whole_and_never_taken_for_a_missed_objective(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.commands.models.listed", lambda: 1 / 0)
    code, _, err = in_process(monkeypatch, "models")
    assert code == 4
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("harness: a bug in harness: ZeroDivisionError")


def from_a_shell(workplace: Workplace, shell: str, home: str) -> Finished:
    """`harness --install-completion`, for the shell that it is started from, whatever the suite's own is."""
    workplace.env = {"HOME": home, "SHELL": "/bin/false"}
    workplace.program = [shell, "-c", '"$0" --install-completion; exit $?', INSTALLED]
    return workplace.run()


def test_a_completion_that_cannot_be_installed_is_one_sentence(workplace: Workplace) -> None:
    done = from_a_shell(workplace, "bash", home="/proc/nowhere")
    assert done.code == 4 and done.stderr.startswith("harness: the completion can't be written"), done.stderr
    assert "`harness --show-completion` prints it" in done.stderr and "Traceback" not in done.stderr


def test_a_shell_without_completion_is_named_one_that_has_it(workplace: Workplace) -> None:
    done = from_a_shell(workplace, "sh", home=str(workplace.path))
    assert done.code == 4 and done.stderr == (
        "harness: a completion can be installed for bash, zsh, fish and PowerShell: run `harness "
        "--install-completion` from one of them\n"
    )


ASK_BASH = r"""
. "$HOME/.bashrc"
COMP_WORDS=(harness cal) COMP_CWORD=1
$(complete -p harness | grep -oP '(?<=-F )\S+') harness
echo "${COMPREPLY[@]}"
"""


def test_a_completion_that_was_installed_completes(workplace: Workplace) -> None:
    """In a new shell, by what `.bashrc` says."""
    done = from_a_shell(workplace, "bash", home=str(workplace.path))
    assert done.code == 0 and "bash completion installed" in done.stdout, done.stdout + done.stderr
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    asked = subprocess.run(
        ["bash", "-c", ASK_BASH],
        cwd=workplace.path,
        env=os.environ | workplace.env | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.split() == ["calibrate"], asked.stderr


def test_help_names_every_command_and_the_exit_codes(workplace: Workplace) -> None:
    done = workplace.run("--help")
    assert done.code == 0
    for command in ("doctor", "models", "export", "serve", "run", "report", "schema"):
        assert command in done.stdout
    assert "3 measurement invalid or inconclusive" in " ".join(done.stdout.split())


def test_doctor_says_what_is_here(workplace: Workplace) -> None:
    done = workplace.run("doctor", "--json")
    assert done.code == 0, done.stdout
    assert done.document["ready"] is True
    found = {finding["what"]: finding for finding in done.document["findings"]}
    for what in ("Python", "host", "embedded Triton", "pip", "cache", "CPUExecutionProvider", "model minilm"):
        assert what in found


def test_doctor_says_what_is_missing(workplace: Workplace) -> None:
    workplace.env = {"HARNESS_CACHE": "/proc/nowhere"}
    done = workplace.run("doctor", "--json")
    assert done.code == 4
    cache = next(f for f in done.document["findings"] if f["what"] == "cache")
    assert cache["ok"] is False
    assert "HARNESS_CACHE" in cache["found"]


def test_doctor_names_a_port_in_use_and_says_that_all_is_ready(workplace: Workplace) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 8001))
        taken.listen()
        assert "8001 in use" in workplace.run("doctor").stdout
    said = workplace.run("doctor").stdout
    assert "8001 in use" not in said and "ready" in said


def test_models_lists_what_ships(workplace: Workplace) -> None:
    done = workplace.run("models", "--json")
    assert done.code == 0, done.stderr
    listed = {model["name"]: model for model in done.document["models"]}
    assert {"minilm", "magika", "ocr-detector", "encoder", "vision"} <= listed.keys()
    assert listed["encoder"]["note"] == listed["vision"]["note"] == "random weights: speed only"
    assert "minilm" in workplace.run("models").stdout


def test_export_shows_the_proof_and_is_made_once(workplace: Workplace) -> None:
    first = workplace.run("export", "minilm", "--json")
    assert first.code == 0, first.stderr
    cases = first.document["parity"]["cases"]
    assert any(case["axes"]["batch"] == 1 for case in cases)
    assert any(not case["traced"] for case in cases)
    assert all(case["max_rel_error"] <= first.document["parity"]["tolerance"] for case in cases)
    again = workplace.run("export", "minilm", "--json")
    assert again.document == first.document
    assert "exporting" not in again.stderr
    assert "parity" in workplace.run("export", "minilm").stdout


def test_the_schema_is_json(workplace: Workplace) -> None:
    assert "concurrency" in json.dumps(workplace.run("schema").document)
