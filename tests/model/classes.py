"""Request classes as a scenario's points have them."""

from harness.schema.point import PointClass

OWN = ("payload", "folder", "low", "high", "ranges")


def request_class(name: str = "some", batch: int = 1, **given: object) -> PointClass:
    axes = {k: v for k, v in given.items() if k not in OWN}
    rest = {k: given.get(k) for k in OWN}
    return PointClass.model_validate({"name": name, "weight": 1.0, "batch": batch, "axes": axes, **rest})
