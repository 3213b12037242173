"""`make pictures`: the README's pictures, of a real run: its page in a browser, its table in a terminal.

Usage: python docs/pictures.py RUN, the folder of a run; what `harness report` prints of it is the terminal's.
"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

DOCS = Path(__file__).parent
COLUMNS, WIDTH_PX = 140, 1160
BROWSER = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]

PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1c1f26; color: #d7dae0; font: 13px/1.35 "DejaVu Sans Mono", monospace; }}
pre {{ margin: 0; padding: 18px 22px; width: {columns}ch; font: inherit; }}
pre {{ white-space: pre-wrap; word-break: break-all; }}
</style><pre>{text}</pre>"""


def printed(command: list[str]) -> str:
    """What a command prints in a terminal of `COLUMNS` columns, with its colours."""
    main, side = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with subprocess.Popen(command, stdout=side, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(side)
        got = b""
        try:
            while piece := os.read(main, 1 << 16):
                got += piece
        except OSError:  # the end of a terminal whose program is gone
            pass
        process.wait()
    os.close(main)
    return got.decode().replace("\r\n", "\n")


def as_html(ansi: str) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(ansi), soft_wrap=True)  # the page breaks a line where a terminal does
    return console.export_html(code_format="{code}", inline_styles=True, theme=SVG_EXPORT_THEME)


def picture(url: str, file: Path, height_px: int) -> None:
    with tempfile.TemporaryDirectory() as profile:
        size = f"--window-size={WIDTH_PX},{height_px}"
        command = [*BROWSER, f"--user-data-dir={profile}", size, f"--screenshot={file}", url]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def main(run: Path) -> None:
    picture((run / "report.html").absolute().as_uri(), DOCS / "page.png", 1000)
    table = printed(["harness", "report", str(run)]).replace(str(Path.cwd()), "~/harness")
    shown = f"$ harness run scenarios/demo.yaml\n{table}"
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "terminal.html"
        page.write_text(PAGE.format(text=as_html(shown), columns=COLUMNS), encoding="utf-8")
        height = sum(max(1, -(-len(each.plain) // COLUMNS)) for each in Text.from_ansi(shown).split())
        picture(page.as_uri(), DOCS / "terminal.png", 40 + 18 * height)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
