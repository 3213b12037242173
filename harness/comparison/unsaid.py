"""What a reader may want to know and the data can't say, and whether what it says is conclusive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.served_on import is_elsewhere
from harness.comparison.compared import Machine
from harness.comparison.ratios import NONE
from harness.schema.compare_result import ComparedMachine, MachineFigures, Unsaid, WorkloadComparison


def unsaid(machines: Sequence[Machine], workloads: Sequence[WorkloadComparison]) -> tuple[Unsaid, ...]:
    """Each question once."""
    found = [*_of_machines([machine.record for machine in machines])]
    for number, machine in enumerate(machines):
        found += _of_figures(machine.record.name, [workload.figures[number] for workload in workloads])
        found += _of_how_it_was_measured(machine)
    return tuple(dict.fromkeys(found))


def _of_machines(machines: Sequence[ComparedMachine]) -> Iterator[Unsaid]:
    once = [machine.name for machine in machines if len(machine.runs) == 1]
    if once:
        yield Unsaid(
            question="Would another start, or another machine of the same kind, give the same?",
            why=f"there is one run of {_listed(once)}, so how runs differ is in no interval: give several of "
            "each machine",
        )
    unpriced = [machine.name for machine in machines if machine.price_per_hour is None]
    if unpriced:
        yield Unsaid(
            question="What does it cost?",
            why=f"no price of {_listed(unpriced)} is given: name it by --price or --hardware",
        )


def _of_figures(name: str, figures: Sequence[MachineFigures]) -> Iterator[Unsaid]:
    for each in figures:
        capacity = each.capacity_per_s
        if capacity.value is None:
            yield Unsaid(question=f"How much does {name} serve under the objective?", why=each.capacity_why)
        if all(point.energy_j_per_inference == NONE for point in each.points):
            yield Unsaid(
                question=f"How much energy does {name} take?",
                why="no driver counted a GPU's energy; a power that is only stated is no measurement",
            )
        tails = [point.load for point in each.points if point.p99_s.value is None]
        if tails:
            yield Unsaid(
                question=f"How slow is the slowest hundredth on {name} at {_listed(tails[:3])}?",
                why="the sample doesn't support a p99: raise measure.duration_s or at_most_s",
            )


def _of_how_it_was_measured(machine: Machine) -> Iterator[Unsaid]:
    name = machine.record.name
    for subject in machine.subjects:
        where = subject.environment
        if is_elsewhere(where):
            yield Unsaid(
                question=f"What is the machine of {name} like?",
                why=f"{where.server_url} is elsewhere: what is known of CPU, kernel and packages is of the "
                "machine that sent the load",
            )
        if where.stands_in:
            yield Unsaid(
                question=f"How fast is {name} with NVIDIA's C++ backend?",
                why=f"it was served by {where.backend}, which is slower",
            )
        if subject.gpus is None and subject.device == "gpu":
            yield Unsaid(
                question=f"What is it for each GPU of {name}?",
                why="it isn't known how many whole GPUs computed",
            )
        if subject.run.model is not None and subject.run.model.note:
            yield Unsaid(
                question="Does it hold of the model that will be served?", why=subject.run.model.note
            )
        several = len({str(p.point.configuration) for p in subject.points}) > 1
        if several and subject.search is None:
            yield Unsaid(
                question=f"Is the best configuration of {name} as good as it looks?",
                why="it is the best of several by the same measurement, and so looks a little too good: "
                "`harness tune` proves its winner once more",
            )
        for fault in subject.run.faults:
            yield Unsaid(question=f"Is {subject.run.run_id} whole?", why=fault)


def why_not_conclusive(machines: Sequence[Machine], workloads: Sequence[WorkloadComparison]) -> str | None:
    """Why a comparison leaves its main question open; None where it answers it.

    Where a latency is limited, every capacity must lie between two ends. Some ratio must be told from 1.
    """
    for subject in (subject for machine in machines for subject in machine.subjects):
        if subject.search is not None and subject.recommended is None:
            return f"{subject.run.run_id} recommends nothing: {subject.search.why or 'nothing was measured'}"
    if not workloads:
        return "the runs have no workload in common"
    for workload in workloads:
        opened = [each for each in workload.figures if each.capacity_per_s.value is None]
        if workload.limits_s and opened:
            return f"a capacity isn't bracketed ({opened[0].capacity_why})"
    standings = [
        each.standing
        for workload in workloads
        for figures in workload.figures
        for of in (figures.ratios, figures.frontier)
        for each in of
    ]
    if not {"more", "less"} & set(standings):
        return "nothing can be told apart" if standings else "the runs have no load in common"
    return None


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
