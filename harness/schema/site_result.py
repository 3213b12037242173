"""What `harness site` wrote."""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.history_result import SkippedFolder


class ScenarioPage(Frozen):
    """The page of one scenario."""

    scenario: str
    page: str
    """The file's name in the site."""


class Site(Frozen):
    """`site.json` in the site's folder, which says that harness wrote it and may write it anew."""

    schema_version: Literal[1] = 1
    path: str
    results: str
    made_at: str
    """UTC, ISO 8601."""
    harness_version: str
    runs: int
    """That are listed."""
    linked: int
    """Those of them whose page is there, and linked."""
    copied: bool
    """Whether those pages were copied into the site."""
    scenarios: tuple[ScenarioPage, ...]
    skipped: tuple[SkippedFolder, ...]
    """What nothing is counted of, and why."""
