"""One point, measured into a run's folder: what every story does with each point that it chooses."""

from __future__ import annotations

from pathlib import Path

from harness.commands.derived import Derived, derived, keep
from harness.load.coordinator.stopping_rule import Enough
from harness.measurement.session import Session
from harness.schema.model import Model
from harness.schema.point import Point
from harness.store.run_folder import RunFolder


def measured(
    session: Session,
    point: Point,
    model: Model,
    folder: RunFolder,
    *,
    base_dir: Path,
    enough: Enough | None = None,
) -> Derived:
    """Measure `point` of `model`, keep its samples, and give its figures; all is on disk when this returns.

    `base_dir` and `enough` are as in `Session.measure`, and so is what is raised.
    """
    place = folder.begin_point(point)
    recorded = session.measure(point, model, place, base_dir=base_dir, enough=enough)
    keep(
        point,
        folder,
        window=recorded.window,
        host=recorded.host,
        gpu=recorded.gpu,
        replicas=[each.address for each in recorded.observed.replicas],
    )
    folder.finish_point(point, recorded.observed)
    return derived(point, folder, recorded.observed)
