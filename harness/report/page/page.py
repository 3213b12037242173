"""The page: one HTML file with everything in it, made from a run's result and series alone.

It may not reach the network, and says so to the browser: its Content-Security-Policy allows only the scripts
whose hashes stand in it, and no connection at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.analysis.gpu import gpu_name
from harness.atomic import replacing_path
from harness.choice.workloads import by_configuration
from harness.plain_text import shown, shown_lines
from harness.report import answer, environment, format, gpus
from harness.report.cell import Cell, footnotes
from harness.report.page import details, overview
from harness.report.page.dots import thinned
from harness.report.page.resolved import resolved_scenario
from harness.report.page.series import GpuSeries, PointSeries, coarser, fewer
from harness.report.percentile import AT_LEAST, settling_line
from harness.report.rows import columns, rows
from harness.schema.model import Model
from harness.schema.percentiles import figure_title
from harness.schema.result import PointResult, RunResult
from harness.schema.served_model import ServedModel
from harness.version import version

MOST_DOTS_A_PAGE = 60_000
"""Single requests drawn on one page, shared out among its points, so that 200 points still open quickly."""

MOST_GPU_READINGS_A_PAGE = 30_000
"""The same for what is drawn of GPUs over time."""

MOST_HOST_READINGS_A_PAGE = 40_000
"""The same for what is drawn of the host over time."""

MOST_QUANTILES_A_PAGE = 100_000
"""The same for the curves of all percentiles."""

MOST_ROWS = 200
"""Rows of a table that are listed without being asked for, so that 1,000 points still open quickly."""

SCRIPTS = ("page.js", "filters.js", "table.js", "charts.js", "point.js", "start.js")

GPU_UNITS = {"power_w": 1.0, "memory_bytes": 2**30, "sm_clock_hz": 1e6}
"""What a unit of the page's GPU charts is, W, GiB and MHz; the others are shares and drawn in percent."""


def write_page(run: RunResult, series: Mapping[str, PointSeries], path: Path) -> None:
    """Write the page to `path`, whole or not at all.

    `series` holds the series of each point by its id; a point without one has no charts of its own.
    Raises OSError where `path` can't be written.
    """
    html = page_html(run, series)
    with replacing_path(path) as scratch:
        scratch.write_text(html, encoding="utf-8", newline="\n")


def page_html(run: RunResult, series: Mapping[str, PointSeries]) -> str:
    """The page's text."""
    scripts = [Markup(_plotly()), *(Markup(text(name)) for name in SCRIPTS)]
    drawn = [c for c in columns(run) if not c.elsewhere]
    table = rows(run, drawn)
    data = _data(run, series)
    pages = templates()
    template = pages.get_template("page.html.j2")
    return template.render(
        run=run,
        maker=version(),
        answer=answer,
        format=format,
        figure_title=figure_title,
        gpu_name=gpu_name,
        standing=answer.run_standing(run),
        columns=drawn,
        rows=table,
        footnotes=footnotes(cell for row in table for cell in row.cells),
        at_least=AT_LEAST,
        settling_line=settling_line(run),
        models=_models(run),
        gpu_table=details.gpu_table(run),
        gpus_there=details.gpus_there(run.environment),
        filtered=data["settings"],
        listed=data["listed"],
        heat=_heat(data["settings"]),
        marks=_marks(run),
        told=answer.told(run),
        where=environment,
        gpus=gpus,
        percentiles=data["percentiles"],
        percentile=data["percentile"],
        drawable=[p for p in run.points if p.id in series],
        chosen=data["chosen"],
        scenario=escape(shown_lines(resolved_scenario(run))),
        style=Markup(text("page.css")),
        scripts=scripts,
        hashes=[script_hash(script) for script in scripts],
        data=Markup(script_json(data)),
        own_data=_own_data(run, series, pages),
    )


def _models(run: RunResult) -> tuple[Model, ...]:
    """Each model that was measured: the run's, those that were asked beside it, and other dtypes'."""
    model = run.model
    first = model.asked if isinstance(model, ServedModel) else (model,) if model is not None else ()
    return (*first, *run.other_models)


def _heat(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is chosen and varies, that with the most values first."""
    chosen = [each for each in settings if each["role"] == "configuration"]
    return sorted(chosen, key=lambda each: -len(each["values"]))


def _marks(run: RunResult) -> dict[str, list[str]]:
    """What the answers call a point among others, by its id."""
    found: dict[str, list[str]] = {}
    if len(run.points) < 2:
        return found
    several = len(by_configuration(run.points)) > 1
    for answer_ in run.answers:
        called = [
            ("best", [answer_.best]),
            ("tie", answer_.ties),
            ("simplest", [answer_.simplest] if answer_.ties else []),
            ("default", [answer_.default] if several else []),
            ("may be better", answer_.undecided),
        ]
        for word, ids in called:
            for id_ in ids:
                if id_ is not None:
                    found.setdefault(id_, []).append(word)
    return found


def _chosen(run: RunResult, series: Mapping[str, PointSeries]) -> str | None:
    """The point to look at first: the first workload's best, else the first that has a series."""
    ids = (*(each.best for each in run.answers), *(p.id for p in run.points))
    return next((id_ for id_ in ids if id_ in series), None)


def _data(run: RunResult, series: Mapping[str, PointSeries]) -> dict[str, Any]:
    """What the scripts know when the page opens."""
    return overview.overview(run) | {
        "percentiles": overview.percentiles(run),
        "percentile": overview.default_percentile(run),
        "listed": None if len(run.points) <= MOST_ROWS else sorted(answer.named(run.answers, MOST_ROWS // 2)),
        "drawable": [p.id for p in run.points if p.id in series],
        "chosen": _chosen(run, series),
        "cores": run.environment.cores if run.environment else None,
    }


def _own_data(run: RunResult, series: Mapping[str, PointSeries], templates: Environment) -> dict[str, Markup]:
    """By id, what the scripts read of a point when it is first looked at."""
    template = templates.get_template("point.html.j2")
    most = Most.of(run, series)
    found = {}
    for p in run.points:
        if p.id in series:
            told = template.render(
                p=p, point=details, format=format, gpus=gpus, gpu_name=gpu_name, figure_title=figure_title
            )
            told = told.replace("\n", " ")  # which `_json` would show as what it is
            found[p.id] = Markup(script_json({"details": told} | _point(p, series[p.id], most)))
    return found


@dataclass(frozen=True, slots=True)
class Most:
    """How much is drawn of each point: its share of the page's."""

    dots: int
    quantiles: int
    host: int
    gpu: int

    @classmethod
    def of(cls, run: RunResult, series: Mapping[str, PointSeries]) -> Most:
        points = max(len(run.points), 1)
        return cls(
            dots=max(150, MOST_DOTS_A_PAGE // points),
            quantiles=max(100, MOST_QUANTILES_A_PAGE // points),
            host=max(40, MOST_HOST_READINGS_A_PAGE // points),
            gpu=_most_gpu(series),
        )


def _most_gpu(series: Mapping[str, PointSeries]) -> int:
    """Values drawn of each GPU at each point: its share of the page's, and at least enough to see a shape."""
    return max(40, MOST_GPU_READINGS_A_PAGE // max(sum(len(s.gpu or ()) for s in series.values()), 1))


def _point(point: PointResult, series: PointSeries, most: Most) -> dict[str, Any]:
    """One point's series with short keys' worth of digits: milliseconds of time, four digits of latency."""
    dots, curve = thinned(series.dots, most.dots), series.quantiles.fewer(most.quantiles)
    steady = point.steady_state
    drawn: dict[str, Any] = {
        "transient": {
            "skipped_s": steady.skipped_s,
            "skipped": steady.skipped_requests,
            "never": steady.why if steady.steady is False else None,
        }
        if steady
        else None,
        "classes": series.classes,
        "of": dots.of,
        "dots": {
            "time_s": _short(dots.time_s, 6),
            "latency_ms": _short(dots.latency_s * 1e3, 4),
            "class": dots.request_class.tolist(),
            "error": dots.error.astype(int).tolist(),
            "warmup": dots.warmup.astype(int).tolist(),
        },
        "quantiles": {
            "of": curve.of,
            "share": curve.share.tolist(),
            "latency_ms": _short(curve.latency_s * 1e3, 5),
        },
        "host": None,
        "gpu": None,
    }
    if series.host is not None:
        host = fewer(series.host, most.host)
        drawn["host"] = {name: _short(getattr(host, name), 5) for name in host.__slots__}
    if series.gpu is not None:
        drawn["gpu"] = [_gpu(coarser(g, most.gpu)) for g in series.gpu]
    return drawn


def _gpu(gpu: GpuSeries) -> dict[str, Any]:
    """A GPU's values in the units that are drawn, which take less room than bytes and hertz."""
    levels = {
        name: _short([None if v is None else v / GPU_UNITS.get(name, 0.01) for v in values], 4)
        for name, values in gpu.levels.items()
    }
    return {"name": gpu_name(gpu), "time_s": _short(gpu.time_s, 5)} | levels


def _short(values: Any, digits: int) -> list[float | None]:
    return [None if v is None else float(f"{v:.{digits}g}") for v in values]


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element, and in a script: nothing in it can end either.

    Its strings are those that `shown` makes of them; it is the text that is mended, which holds few of them
    among very many numbers.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    text = re.sub(r"\\u[0-9a-f]{4}|\\.|\x7f", _shown_in_json, text)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown_in_json(found: re.Match[str]) -> str:
    one = json.loads(f'"{found[0]}"', strict=False)
    return found[0] if shown(one) == one else json.dumps(shown(one))[1:-1]


def script_hash(script: str) -> str:
    """What a Content-Security-Policy allows the script by."""
    return "sha256-" + b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _plotly() -> str:
    return files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")


def text(name: str) -> str:
    """A file that lies beside this one."""
    return files("harness.report.page").joinpath(name).read_text(encoding="utf-8")


def templates() -> Environment:
    """What makes pages of the templates beside this file: each value stands in them as harmless text."""

    def dash(cell: Cell, footnotes: Mapping[str, int]) -> Markup:
        small = Markup('<small class="none">{}</small>').format(cell.small) if cell.small else ""
        return Markup('<span class="none" title="{}">{}</span><sup>{}</sup>{}').format(
            shown(cell.why), cell.text, footnotes[cell.why], small
        )

    environment = Environment(
        loader=PackageLoader("harness.report.page", ""),
        autoescape=True,
        finalize=lambda value: (
            shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
        ),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"dash": dash}
    return environment
