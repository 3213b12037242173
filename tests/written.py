"""What a tool has measured: printed, and put where a page of the documentation has its place for it."""

from __future__ import annotations

import re
from pathlib import Path

from harness.console import TerminalConsole


def show_and_write(made: str, page: Path | None, begin: str, end: str) -> None:
    """`made` is Markdown; it replaces what stands between the two marks in `page`, where there is one."""
    for line in made.splitlines():
        TerminalConsole().print(line, soft_wrap=True)
    if page is not None:
        text = page.read_text(encoding="utf-8")
        text = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{made}{end}", text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
