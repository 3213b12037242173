"""`harness compare`: the same scenario on several machines, as ratios to the first, where that is fair."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import get_args

from rich import box
from rich.table import Table

from harness.clock import now
from harness.commands.comparing.environment_changes import changes
from harness.commands.progress import Progress
from harness.commands.report import collect
from harness.commands.run import RESULTS
from harness.comparison.compared import Machine, compared
from harness.comparison.environment_weight import is_one_machine, weighed
from harness.comparison.fairness import unfairness
from harness.comparison.subject import Subject
from harness.comparison.unsaid import unsaid, why_not_conclusive
from harness.console import cells, console_for_tables, line, print_sentences
from harness.plain_text import written
from harness.report.compare_files import write_compared
from harness.report.compare_words import RatioRow, answer_lines, rows
from harness.schema.compare_result import ComparedMachine, HardwareComparison, Unfair, UnfairName
from harness.schema.errors import ExitCode, InputError
from harness.schema.hardware import Hardware, HardwareFile
from harness.schema.tune_result import TuneResult
from harness.store import compare_file, hardware_file, tune_file
from harness.store.run_folder import dated_folder, open_run
from harness.store.whole import NotWhole, damaged
from harness.version import version

EUR = "EUR"


def compare(
    runs: Sequence[str | Path],
    *,
    allow: Collection[str] = (),
    prices: Mapping[str, float] | None = None,
    hardware: Path | None = None,
    results: Path = RESULTS,
    progress: Progress | None = None,
) -> HardwareComparison:
    """Compare `runs`, folders or their names under `results`, into a new folder there; the first one's
    machine is the reference.

    `allow`: reasons of `UnfairName` that are let through, and marked. `prices`: an hour of a machine, by a
    part of its name, before those of a `hardware` file. Raises InputError for what can't be compared, or not
    fairly.
    """
    progress = progress or Progress()
    if unknown := set(allow) - set(get_args(UnfairName)):
        raise InputError(
            f"--allow {min(unknown)} names no reason: it takes {', '.join(get_args(UnfairName))}"
        )
    known = _priced(prices or {}, hardware)
    subjects = [_subject(_folder(run, results), progress) for run in _each_once(runs, results)]
    allowed = _checked(unfairness(subjects), allow)
    machines = _machines(subjects, known)
    _check_prices(prices or {}, machines)
    names = tuple(dict.fromkeys(each.name for each in allowed))
    workloads = compared(machines, names)
    records = tuple(machine.record for machine in machines)
    differences = [changes(records[0].environment, each.environment) for each in records[1:]]
    why = why_not_conclusive(machines, workloads)
    folder = dated_folder(results, f"compare-{subjects[0].run.scenario}")
    result = HardwareComparison(
        run_id=folder.name,
        path=written(folder),
        made_at=now(),
        harness_version=version(),
        model=subjects[0].run.model_name,
        objective={k: v for k, v in subjects[0].run.points[0].point.objective if v is not None},
        currency=known.currency if known else EUR,
        machines=records,
        workloads=workloads,
        allowed=allowed,
        environment=weighed(differences, [each.device for each in records]),
        unsaid=unsaid(machines, workloads),
        conclusive=why is None,
        why=why,
    )
    compare_file.write(folder, result)
    progress.say(f"page: {write_compared(result, folder)}")
    return result


def parsed_price(text: str) -> tuple[str, float]:
    """ "L40S=1.20" as a part of a machine's name and the price of its hour. Raises InputError."""
    name, _, price = text.rpartition("=")
    try:
        found = float(price)
    except ValueError:
        found = -1.0
    if not name or not 0 < found <= 1e6:
        raise InputError(f"--price {text} isn't a NAME=EUR_PER_HOUR, as L40S=1.20 is")
    return name, found


def _each_once(runs: Sequence[str | Path], results: Path) -> list[str | Path]:
    if len({_folder(run, results).resolve() for run in runs}) < len(runs):
        raise InputError("a run is named twice: name each once")
    if len(runs) < 2:
        raise InputError("a comparison takes two runs at least: name them by their folders")
    return list(runs)


def _folder(run: str | Path, results: Path) -> Path:
    """By its path, or by its name under `results`."""
    path = Path(run)
    return path if path.is_dir() or path.is_absolute() else results / path


def _subject(path: Path, progress: Progress) -> Subject:
    """A run's figures, derived again from its samples, so that all are judged by the same harness."""
    progress.say(f"reading {path}")
    folder = open_run(path)
    run = collect(folder, {})
    if run.environment is None:
        raise InputError(f"{path} doesn't say any more where it was measured, so it can't be compared")
    search = None
    if (path / tune_file.NAME).exists():
        try:
            search = tune_file.read(folder)
            if not _is_sound(search):
                raise damaged(path / tune_file.NAME, "it has figures that nothing can have")
        except NotWhole as fault:
            raise InputError(f"{fault}, so this search can't be compared") from fault
    return Subject(run, run.environment, search)


def _is_sound(search: TuneResult) -> bool:
    """Of a record that anybody may have sent: what it recommends is there, and its capacities are rates."""
    figures = [each.capacity_per_s for each in search.candidates]
    figures += search.proof.capacities_per_s.values() if search.proof else ()
    ends = [end for each in figures for end in (each.value, each.low, each.high) if end is not None]
    return all(end > 0 for end in ends) and (search.recommended or 0) in range(len(search.candidates) or 1)


def _checked(found: Sequence[Unfair], allow: Collection[str]) -> tuple[Unfair, ...]:
    """Those that were allowed. Raises InputError, a line each, where others are left."""
    refused = [each for each in found if each.name not in allow]
    if refused:
        raise InputError(
            *(f"not fair ({each.name}): {each.why}" for each in refused),
            "measure both alike, or let it through, which marks every figure: "
            + " ".join(f"--allow {name}" for name in dict.fromkeys(each.name for each in refused)),
        )
    return tuple(found)


def _machines(subjects: Sequence[Subject], known: HardwareFile | None) -> list[Machine]:
    """Runs whose environments are alike are of one machine. Raises InputError where all are."""
    groups: list[list[Subject]] = []
    for subject in subjects:
        of = next((group for group in groups if _alike(group[0], subject)), None)
        groups.append([subject]) if of is None else of.append(subject)
    if len(groups) == 1:
        raise InputError(
            f"all of these runs are of one machine ({subjects[0].hardware_name}): name runs of two at least, "
            "or compare configurations by `harness ab`"
        )
    machines: list[Machine] = []
    for group in groups:
        first = group[0]
        same = sum(other[0].hardware_name == first.hardware_name for other in groups[: len(machines)])
        priced = known.named(first.hardware_name) if known else None
        record = ComparedMachine(
            name=first.hardware_name + (f" ({same + 1})" if same else ""),
            device=first.device,
            gpus=first.gpus,
            price_per_hour=priced.price_per_hour if priced else None,
            runs=tuple(each.record for each in group),
            environment=first.environment,
        )
        machines.append(Machine(record, group))
    return machines


def _alike(one: Subject, other: Subject) -> bool:
    same = (one.hardware_name, one.device) == (other.hardware_name, other.device)
    return same and is_one_machine(changes(one.environment, other.environment), one.device)


def _priced(prices: Mapping[str, float], file: Path | None) -> HardwareFile | None:
    """The file's hardware, after what the command line says of it."""
    read = None if file is None else hardware_file.read(file)
    if not prices:
        return read
    own = [Hardware(name=name, price_per_hour=price) for name, price in prices.items()]
    others = [each for each in read.hardware if each.name not in prices] if read else []
    return HardwareFile(currency=read.currency if read else EUR, hardware=(*own, *others))


def _check_prices(prices: Mapping[str, float], machines: Sequence[Machine]) -> None:
    names = [machine.record.name for machine in machines]
    for name in prices:
        if not any(name.casefold() in each.casefold() for each in names):
            raise InputError(f"--price {name} names none of the machines: they are {', '.join(names)}")


def show(result: HardwareComparison) -> None:
    """The ratios and the answer, on stdout."""
    console = console_for_tables()
    several = len(result.workloads) > 1
    shown = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN, show_edge=False)
    for heading in (*(["workload"] if several else []), "machine", "figure", "reference", "machine's"):
        shown.add_column(line(heading))
    for heading in ("ratio (95%)", "told"):
        shown.add_column(line(heading))
    for row in rows(result, short=True):
        first = [row.workload] if several else []
        shown.add_row(
            *cells([*first, row.machine, row.what, row.reference, row.value, row.ratio, _told(row)])
        )
    if shown.row_count:
        console.print(shown)
    print_sentences(answer_lines(result))


def _told(row: RatioRow) -> str:
    return row.told + (f": {row.why}" if row.why else "")


def exit_code(result: HardwareComparison) -> ExitCode:
    """0 where the comparison answers, 3 where a capacity isn't bracketed or nothing can be told apart."""
    return ExitCode.FINE if result.conclusive else ExitCode.INVALID
