"""Whatever others wrote, printing it does nothing: harness is given names that act on a terminal."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import harness
from harness import cli
from harness.commands import doctor, dry_run, export, models, probe, run, worker
from harness.commands.progress import Progress
from harness.console import TerminalConsole
from harness.schema.errors import InputError
from tests.hostile import ACTING, HONEST, HOSTILE, STYLE, poisoned
from tests.report import factory, gpu_factory

ROOT = Path(harness.__file__).parent
DOORS = ("terminal.py", "console.py", "standard_streams.py")


def said(do: Callable[[], Any]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        do()
    return out.getvalue(), err.getvalue()


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["harness", *arguments])
    codes = []

    def do() -> None:
        with pytest.raises(SystemExit) as ended:
            cli.main()
        codes.append(int(ended.value.code or 0))

    out, err = said(do)
    return codes[0], out, err


def check_harmless(text: str) -> None:
    assert not ACTING.search(text), ascii(ACTING.search(text))
    assert "\nharness: all is well" not in text, "a name made a line of its own"


def test_an_error_shows_what_was_sent_and_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a file, as a stand-in for each text that an error may hold."""
    code, out, err = command(monkeypatch, "run", f"{HOSTILE.replace('/', '.')}.yaml", "--dry-run")
    assert (code, out) == (2, "")
    check_harmless(err)
    assert r"\x1b]0;title\x07\x1b[31m \x9b31m" in err and r"\u202egnp.exe\u2066" in err
    assert err.count("\n") == 1


def test_a_key_of_a_scenario_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"model: encoder\n{json.dumps(HOSTILE)}: 1\n")
    code, _, err = command(monkeypatch, "run", str(tmp_path / "s.yaml"), "--dry-run")
    assert code == 2 and "title" in err
    check_harmless(err)


def test_each_fault_of_a_scenario_has_a_line_and_none_makes_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text('model: minilm\nmodle: x\n"key\\nharness: all is well": 1\n')
    code, _, err = command(monkeypatch, "run", str(file))
    faults = [line for line in err.splitlines() if f"{file}:" in line]
    assert code == 2 and len(faults) == len(err.splitlines()) >= 2, err
    assert err.startswith(f"harness: {file}:1: ") and f"\n{file}:2: unknown key `modle`" in err
    assert "`key\\nharness: all is well`" in err


@pytest.mark.parametrize(
    "arguments", [(HOSTILE,), ("run", f"--{HOSTILE}"), ("export", "m", "--dtype", HOSTILE)]
)
def test_a_usage_error_does_nothing(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = command(monkeypatch, *arguments)
    assert code == 2 and "title" in err
    check_harmless(out + err)


def test_a_bug_is_told_in_full_and_what_its_message_holds_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> None:
        raise RuntimeError(HOSTILE.replace("\n", " "))

    monkeypatch.setattr(models, "listed", broken)
    code, _, err = command(monkeypatch, "models")
    assert code == 4 and "Traceback" in err and "in broken" in err and "a bug in harness" in err
    check_harmless(err)


def test_what_python_says_by_itself_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def speaking() -> None:
        warnings.warn(HOSTILE, stacklevel=1)
        thread = threading.Thread(target=lambda: (_ for _ in ()).throw(RuntimeError(HOSTILE)))
        thread.start()
        thread.join()
        root = logging.getLogger()
        monkeypatch.setattr(root, "handlers", [])
        logging.getLogger("somebody").warning(HOSTILE)
        raise InputError("the end")

    before = warnings.showwarning, threading.excepthook, sys.unraisablehook, logging.lastResort
    monkeypatch.setattr(models, "listed", speaking)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = before[0]
        code, _, err = command(monkeypatch, "models")
    assert code == 2 and err.count("title") == 3
    check_harmless(err.replace("\nharness: all is well", ""))  # of an exception, all lines are shown
    assert (warnings.showwarning, threading.excepthook, sys.unraisablehook, logging.lastResort) == before


RUN = poisoned(factory.run_of(verdicts={5: "invalid", 2: "inconclusive"}))
ON_GPUS = poisoned(gpu_factory.run_on_two())


def shows() -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "run", lambda: run.show(RUN)
    yield "run on GPUs", lambda: run.show(ON_GPUS)
    yield "export", lambda: export.show(RUN.model)
    yield "models", lambda: models.show(poisoned(models.listed()))
    found = doctor.Finding(what="GPU", ok=True, found="H200")
    yield "doctor", lambda: doctor.show(poisoned(doctor.Report(ready=False, findings=(found,))))
    devices = gpu_factory.run_on_two().environment.gpus
    seen = probe.ProbeView(devices=devices, unavailable="why", readings=(), problems=("one",))
    yield "probe", lambda: probe.show(poisoned(seen))
    point = dry_run.PlannedPoint(id="p", label="l", params={}, load="c 1")
    plan = dry_run.Plan(scenario="s", model="m", points=(point,), expected_s=1, longest_s=1)
    yield "dry run", lambda: dry_run.show(poisoned(plan))


@pytest.mark.parametrize("show", [pytest.param(show, id=name) for name, show in shows()])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_of_hostile_names_does_nothing(
    show: Callable[[], Any], terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
    out, err = said(show)
    assert "title" in out and err == ""
    check_harmless(STYLE.sub("", out))
    assert "[red]m[/red]" in out and "[link=file:///x]l[/link]" in out, "markup was taken from a name"
    assert terminal or "\x1b" not in out


def test_the_progress_of_a_run_with_hostile_names_does_nothing() -> None:
    def do() -> None:
        progress = Progress()
        progress.say(HOSTILE)
        progress.detail(HOSTILE)
        with progress.doing(HOSTILE), progress.point(1, 1, RUN.points[0].point):
            progress.load(HOSTILE, 1.0, 1, 0)
        for point in RUN.points:
            progress.result(1, 1, point)
        worker._to_stderr(HOSTILE)

    out, err = said(do)
    assert out == "" and err.count("title") >= 7
    check_harmless(err)


def test_the_live_line_of_hostile_names_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "4000")

    def do() -> None:
        progress = Progress()
        with progress.doing(HOSTILE):
            progress.detail(HOSTILE)
            progress._status._live.refresh()  # type: ignore[union-attr]
        with progress.point(1, 1, RUN.points[0].point):
            progress.load(HOSTILE, 1.0, 1, 0)
            progress._status._live.refresh()  # type: ignore[union-attr]

    _, err = said(do)
    moves = ("\x1b[2K", "\x1b[1A", "\x1b[?25l", "\x1b[?25h", "\r")  # of rich's own
    for move in moves:
        err = err.replace(move, "")
    assert err.count("title") > 3 and "[red]m[/red]" in err
    check_harmless(STYLE.sub("", err))


def test_the_console_is_harmless_whatever_it_is_given() -> None:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)

    def do() -> None:
        for given in (HOSTILE, Text(HOSTILE), table, Panel(Text.assemble("a", HOSTILE)), {"a": HOSTILE}):
            TerminalConsole(width=4000).print(given)

    out, _ = said(do)
    assert out.count("title") == 7 and out.count("[red]") >= 5
    assert not ACTING.search(out)


def test_json_on_stdout_has_the_same_content_and_does_nothing() -> None:
    for document in (RUN, {"name": HOSTILE, HOSTILE: [HONEST]}):
        out, _ = said(lambda: cli.terminal.print_json(document))  # noqa: B023 - called at once
        check_harmless(out)
        assert out.count("\n") == 1
        wanted = document if isinstance(document, dict) else json.loads(document.model_dump_json())
        assert json.loads(out) == wanted


def test_what_honest_people_write_is_shown_as_they_wrote_it() -> None:
    assert said(lambda: Progress().say(HONEST)) == ("", f"{HONEST}\n")
    named = factory.artifact(name=HONEST)
    out, _ = said(lambda: export.show(named))
    assert HONEST in out
    out, _ = said(lambda: cli.terminal.print_json(named))
    assert HONEST in out


def ways_past_the_doors(source: str) -> list[str]:
    """What prints by itself: print, rich's console and print, a standard stream that is written to, and those
    who write there for others."""
    found = []
    tree = ast.parse(source)
    within = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        at = f"line {getattr(node, 'lineno', 0)}: "
        match node:
            case ast.Name(id="print" | "Console"):
                if not isinstance(within[node], ast.arg) and not _is_annotation(node, within):
                    found.append(at + node.id)
            case ast.Attribute(
                value=ast.Name(id="sys"), attr="stdout" | "stderr" | "__stdout__" | "__stderr__"
            ):
                if not (isinstance(p := within[node], ast.Attribute) and p.attr in ("flush", "fileno")):
                    found.append(at + f"sys.{node.attr}")
            case ast.Attribute(attr="echo" | "secho" | "print_exc" | "print_exception" | "print_stack"):
                found.append(at + node.attr)
            case ast.ImportFrom(module="sys", names=names) | ast.ImportFrom(module="rich", names=names):
                found += [at + name.name for name in names if name.name in ("stdout", "stderr", "print")]
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="os"), attr="write"), args=[ast.Constant(), *_]
            ):
                found.append(at + "os.write")
    return found


def _is_annotation(node: ast.AST, within: dict[ast.AST, ast.AST]) -> bool:
    """Whether a name stands for a type: of an argument, a variable or what is returned."""
    while node in within:
        parent = within[node]
        if node in (getattr(parent, "annotation", None), getattr(parent, "returns", None)):
            return True
        node = parent
    return False


def test_nothing_prints_past_the_doors() -> None:
    files = [f for f in ROOT.rglob("*.py") if not (f.parent == ROOT and f.name in DOORS)]
    assert len(files) > 100
    past = [
        f"{f.relative_to(ROOT)} {way}" for f in files for way in ways_past_the_doors(f.read_text("utf-8"))
    ]
    # One has what a user's model prints go to stderr, and puts the streams back; the others' own output is a
    # file, to which they write the traceback of what ended a load process, or one of its users.
    own = {"model/guest.py", "load/process/forked.py", "load/process/conductor.py"}
    assert {each.partition(" ")[0] for each in past} <= own, past


@pytest.mark.parametrize(
    "way",
    [
        "print(1)",
        "p = print",
        "from rich.console import Console\nConsole()",
        "import sys\nsys.stderr.write('x')",
        "import sys\nf(file=sys.stdout)",
        "from sys import stderr",
        "from rich import print",
        "import typer\ntyper.echo('x')",
        "import traceback\ntraceback.print_exc()",
        "import os\nos.write(2, b'x')",
    ],
)
def test_a_way_past_the_doors_would_be_seen(way: str) -> None:
    assert ways_past_the_doors(way)
