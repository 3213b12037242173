"""Pages in Markdown from a template beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.report.markdown import cells, code, plain


def markdown_page(template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """The page. Every value stands in it as text, but for what is `Markdown` already."""
    jinja = Environment(
        loader=PackageLoader("harness.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        finalize=lambda value: plain(value) if isinstance(value, str) else value,
    )
    jinja.filters |= {"cells": cells, "code": code, **filters}
    return jinja.get_template(template).render(**values)
