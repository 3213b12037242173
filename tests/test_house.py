"""What CONTRIBUTING says of the house, as far as a test can see it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "harness"

ONE_THOUGHT = {
    "answer.py": "its record, and the report's words for it",
    "environment.py": "read by the probe, said in words by the report",
    "export.py": "the model's, and the story about it",
    "gpu_check.py": "the story, its record and its page",
    "gpus.py": "read by the probe, said in words by the report",
    "host.py": "read by the probe, made figures by the analysis",
    "model.py": "what is served; Triton wants the name of a backend's",
    "samples.py": "their records, and the story that hands them out",
    "worker.py": "of Locust, and the command that starts one",
}
"""File names that stand twice, for the same thing on two floors."""


def test_no_file_name_stands_for_two_thoughts() -> None:
    names = Counter(file.name for file in PACKAGE.rglob("*.py") if not file.name.startswith("__"))
    assert names.total() > 200
    assert {name for name, count in names.items() if count > 1} == set(ONE_THOUGHT)


def test_the_house_is_listed_as_it_stands() -> None:
    listed = set(re.findall(r"\b([a-z_]+(?:\.py|/))", (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]))
    rooms = {f"{folder.name}/" for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    floor = {file.name for file in PACKAGE.glob("*.py") if not file.name.startswith("__")}
    assert rooms | floor <= listed
    there = {f"{path.name}/" if path.is_dir() else path.name for path in PACKAGE.rglob("*")} | {"harness/"}
    assert listed <= there
