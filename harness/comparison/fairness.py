"""Whether runs may be compared: each reason against it by its name, with what differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.comparison.subject import Subject, configuration_of
from harness.schema.compare_result import Unfair, UnfairName
from harness.schema.model import Model
from harness.schema.result import PointResult
from harness.tuning.told import is_overload

Terms = Mapping[str, str]
"""What a run was measured by, in words, by what it is about."""


def unfairness(subjects: Sequence[Subject]) -> tuple[Unfair, ...]:
    """Everything that speaks against comparing these runs, the first being the reference."""
    reference, *others = subjects
    found = [each for subject in subjects for each in _flaws(subject)]
    for other in others:
        found += _differences(reference, other)
    return tuple(sorted(found, key=lambda each: list(TERMS).index(each.name) if each.name in TERMS else -1))


def _flaws(subject: Subject) -> Iterator[Unfair]:
    """What of a run itself says that its figures aren't the server's, or aren't all there."""
    name, search = subject.run.run_id, subject.search
    finished = subject.run.finished_at if search is None else search.finished_at
    if finished is None:
        yield Unfair(name="unfinished", why=f"{name} didn't come to its end")
    flaws: dict[UnfairName, list[str]] = {}
    for point in subject.points:
        for flaw in flaws_of(point):
            flaws.setdefault(flaw, []).append(point.point.label)
    for flaw, labels in flaws.items():
        what = "is invalid" if flaw == "invalid" else "is held back by the client"
        yield Unfair(name=flaw, why=f"{_few(labels)} of {name} {what}")


def flaws_of(point: PointResult) -> tuple[UnfairName, ...]:
    """Why a point's figures aren't the server's. A rate so high that requests failed is an answer."""
    if is_answer_of_overload(point):
        return ()
    found: list[UnfairName] = ["invalid"] if point.verdict == "invalid" else []
    if point.bottleneck is not None and point.bottleneck.name == "client":
        found.append("client")
    return tuple(found)


def is_answer_of_overload(point: PointResult) -> bool:
    return bool(point.requests) and is_overload(point)


def _differences(reference: Subject, other: Subject) -> Iterator[Unfair]:
    for name, terms in TERMS.items():
        both = terms(reference, other), terms(other, reference)
        differ = [key for key in dict.fromkeys((*both[0], *both[1])) if both[0].get(key) != both[1].get(key)]
        if differ:
            one, two = (each.get(differ[0], "nothing") for each in both)
            more = f", and {len(differ) - 1} more" if len(differ) > 1 else ""
            yield Unfair(
                name=name,
                why=f"{differ[0]} is {one} in {reference.run.run_id} and {two} in {other.run.run_id}{more}",
            )


def _models(subject: Subject) -> dict[str | None, Model]:
    models = (subject.run.model, *subject.run.other_models)
    return {model.dtype: model for model in models if model is not None}


def _model(subject: Subject, other: Subject) -> Terms:
    """Of the dtypes that both have: a conversion is another file."""
    models, shared = _models(subject), _models(subject).keys() & _models(other).keys()
    if not models:
        return {"the model": f"not known (by {subject.run.run_id})"}
    if not shared:
        return {"the model": str(subject.points[0].point.model) if subject.points else "none"}
    return {f"the hash of the model{_as(dtype)}": models[dtype].sha256[:16] for dtype in shared}


def _parity(subject: Subject, other: Subject) -> Terms:
    models, others = _models(subject), _models(other)
    return {
        f"the tolerance of the export{_as(dtype)}": f"{models[dtype].tolerance:g}"
        for dtype in models.keys() & others.keys()
        if models[dtype].parity is not None
    }


def _dtype(subject: Subject, _: Subject) -> Terms:
    return {"dtype": _values(subject.run.points, lambda p: p.point.dtype)}


def _requests(subject: Subject, _: Subject) -> Terms:
    found: dict[str, dict[str, None]] = {}
    for point in subject.run.points:
        for kind in point.point.requests:
            for key, value in kind.model_dump(mode="json", exclude={"name"}).items():
                found.setdefault(f"requests.{kind.name}.{key}", {})[json.dumps(value)] = None
    return {key: ", ".join(sorted(values)) for key, values in found.items()}


def _load(subject: Subject, _: Subject) -> Terms:
    """Its kind: how much of it, each machine has for itself. Of a search only what it asks at rates."""
    points = [p for p in subject.points if subject.search is None or p.point.load.open_loop]
    return {"the load": _values(points, _kind_of_load)}


def _kind_of_load(point: PointResult) -> str:
    load = point.point.load
    shape = f"{load.shape.key} {load.arrivals or ''} {'' if load.cv is None else load.cv}".strip()
    return shape if load.shape.is_plain() else f"{shape} {json.dumps(load.settings, default=str)}"


def _objective(subject: Subject, _: Subject) -> Terms:
    return _dumped("objective", (p.point.objective.model_dump(exclude_none=True) for p in subject.run.points))


def _length(subject: Subject, _: Subject) -> Terms:
    if subject.search is not None:
        return {"the search's budget": f"{subject.search.budget_s:g} s"}
    return _dumped("measure", (p.point.measure.model_dump(exclude_none=True) for p in subject.run.points))


def _limits(subject: Subject, _: Subject) -> Terms:
    return _dumped("validity", (p.point.validity.model_dump() for p in subject.run.points))


def _tuning(subject: Subject, _: Subject) -> Terms:
    """What the best configuration was chosen from."""
    search = subject.search
    if search is None:
        tried = [configuration_of(point) for point in subject.run.points]
        by = {"the search": "none (harness run)"}
    else:
        tried = [{**search.fixed, **each.settings} for each in search.candidates]
        rate = "" if search.rate_per_s is None else f" at {search.rate_per_s:g}/s"
        by = {"the search": f"for {search.goal}{rate}"}
    return {**by, **_dumped("", ({k: v for k, v in each.items() if k != "dtype"} for each in tried))}


TERMS: dict[UnfairName, Callable[[Subject, Subject], Terms]] = {
    "model": _model,
    "parity": _parity,
    "dtype": _dtype,
    "requests": _requests,
    "load": _load,
    "objective": _objective,
    "length": _length,
    "limits": _limits,
    "tuning": _tuning,
}
"""What must be the same, as the first run has it beside the second."""


def _dumped(place: str, records: Iterable[Mapping[str, Any]]) -> Terms:
    """Each key's values, by its dotted path."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in record.items():
            found.setdefault(f"{place}.{key}".lstrip("."), {})[json.dumps(value, default=str)] = None
    return {key: ", ".join(sorted(values)) for key, values in found.items()}


def _values(points: Iterable[PointResult], of: Callable[[PointResult], str | None]) -> str:
    return ", ".join(sorted({of(point) or "as the model is" for point in points})) or "none"


def _as(dtype: str | None) -> str:
    return f" in {dtype}" if dtype else ""


def _few(labels: Sequence[str]) -> str:
    rest = len(labels) - 2
    return ", ".join(labels[:2]) + (f" and {rest} more" if rest > 0 else "")
