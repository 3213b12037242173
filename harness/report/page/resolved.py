"""The scenario as it was run, put together again from the points: every default filled in."""

from __future__ import annotations

from typing import Any

import yaml

from harness.schema.result import RunResult


def resolved_scenario(run: RunResult) -> str:
    """YAML that names every setting; what the scenario varies is a list of the values that were measured."""
    if not run.points:
        return "# no point was measured yet\n"
    spec = _without_none(run.points[0].point.model_dump(mode="json", exclude={"id", "params"}))
    for path in dict.fromkeys(path for p in run.points for path in p.params):
        values = list(dict.fromkeys(p.params[path] for p in run.points if path in p.params))
        _put(spec, path.split("."), values)
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=90)


def _put(spec: dict[str, Any], path: list[str], values: list[Any]) -> None:
    """Put `values` where a dotted path of `Point.params` says; a request class is found by its name."""
    at: Any = spec
    if path[0] == "requests":
        *name, key = path[1:]
        inner = name[-1:] == ["axes"]
        names = (".".join(name[:-1]) if inner else ".".join(name), ".".join(name))
        at = next((r for r in spec["requests"] if r["name"] in names), None)
        if at is None:
            return
        at = at["axes"] if key in at.get("axes", {}) else at
        at[key] = values
        return
    for key in path[:-1]:
        at = at.setdefault(key, {})
    at[path[-1]] = values


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v not in (None, {}, [])}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value
