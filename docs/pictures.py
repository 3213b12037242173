"""`make pictures`: the README's pictures, of real runs: a page in a browser, its table in a terminal, and the
charts of a sweep.

Usage: python docs/pictures.py RUN [SWEEP], folders of runs; what `harness report` prints of the first is the
terminal's.
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

DOCS = Path(__file__).parent
COLUMNS, WIDTH_PX = 140, 1160
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")

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


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--window-size={WIDTH_PX},1000"):
        options.add_argument(flag)
    # Named, because selenium would ask the network for them.
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def picture(browser: webdriver.Chrome, page: Path, file: Path, height_px: int, begins: str = "html") -> None:
    """So much of the page, from the place that the CSS selector `begins` names."""
    browser.get(page.absolute().as_uri())
    top = f"return document.querySelector({begins!r}).getBoundingClientRect().top + scrollY"
    clip = {"x": 0, "y": browser.execute_script(top), "width": WIDTH_PX, "height": height_px, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    file.write_bytes(b64decode(shot["data"]))


def main(run: Path, sweep: Path | None = None) -> None:
    table = printed(["harness", "report", str(run)]).replace(str(Path.cwd()), "~/harness")
    shown = f"$ harness run scenarios/demo.yaml\n{table}"
    height = sum(max(1, -(-len(each.plain) // COLUMNS)) for each in Text.from_ansi(shown).split())
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        terminal = Path(folder) / "terminal.html"
        terminal.write_text(PAGE.format(text=as_html(shown), columns=COLUMNS), encoding="utf-8")
        picture(browser, terminal, DOCS / "terminal.png", 40 + 18 * height)
        picture(browser, run / "report.html", DOCS / "page.png", 1000)
        if sweep is not None:
            picture(browser, sweep / "report.html", DOCS / "page-96.png", 900, begins="#charts")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
