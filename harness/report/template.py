"""Pages in Markdown from a template beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def markdown_page(template: str, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """The page. Nothing is escaped: a template passes what may hold Markdown to a filter that does."""
    jinja = Environment(
        loader=PackageLoader("harness.report", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    jinja.filters |= filters
    return jinja.get_template(template).render(**values)
