"""A workflow of GitHub Actions, for a runner on the machine that is to measure.

Source: "Workflow syntax for GitHub Actions". A ${{ … }} is replaced wherever it stands before a step runs: so
paths are values of `env`, with it escaped, and the shell takes them from there as they are.
"""

from __future__ import annotations

import json
from pathlib import PurePath

from harness.schedule.scheduled_night import QUIET, ScheduledNight


def workflow(night: ScheduledNight) -> dict[str, str]:
    """The text by file name. A scenario in the night's folder, which is to be the clone's root, is taken from
    what the runner checks out."""
    scenario = PurePath(night.scenario)
    if scenario.is_relative_to(night.folder):
        scenario = scenario.relative_to(night.folder)
    text = f"""\
# Put this file into .github/workflows/. The runner measures on its own machine, where harness is installed.
name: {night.name}
on:
  schedule:
    - cron: "{night.cron_time}"  # in UTC
  workflow_dispatch:
concurrency:
  group: harness-nightly
  cancel-in-progress: false
permissions:
  contents: read
jobs:
  nightly:
    runs-on: [self-hosted, linux]
    timeout-minutes: 600
    env:
      HARNESS_PYTHON: {value(night.python)}
      SCENARIO: {value(str(scenario))}
      RESULTS: {value(night.results)}  # not in the checkout, which is cleaned: the baseline is kept there
      HARNESS_WEBHOOK_URL: ${{{{ secrets.HARNESS_WEBHOOK_URL }}}}
      HARNESS_WEBHOOK_SECRET: ${{{{ secrets.HARNESS_WEBHOOK_SECRET }}}}
    steps:
      - uses: actions/checkout@v4
      - id: nightly
        shell: bash
        # An inconclusive night (exit code {QUIET}) doesn't fail the job; its warnings stand in the run.
        run: |
          began="$RUNNER_TEMP/began"
          touch "$began"
          code=0
          "$HARNESS_PYTHON" -P -m harness nightly "$SCENARIO" --results "$RESULTS" || code=$?
          folder=$(find "$RESULTS" -maxdepth 1 -name '*-nightly' -newer "$began" | head -n 1) || true
          echo "folder=$folder" >> "$GITHUB_OUTPUT"
          if [ -f "$folder/summary.md" ]; then cat "$folder/summary.md" >> "$GITHUB_STEP_SUMMARY"; fi
          if [ "$code" -eq {QUIET} ]; then code=0; fi
          exit "$code"
      - uses: actions/upload-artifact@v4
        if: always() && steps.nightly.outputs.folder != ''
        with:
          name: {night.name}
          if-no-files-found: ignore
          path: |
            ${{{{ steps.nightly.outputs.folder }}}}/*.json
            ${{{{ steps.nightly.outputs.folder }}}}/*.html
            ${{{{ steps.nightly.outputs.folder }}}}/summary.md
            ${{{{ steps.nightly.outputs.folder }}}}/junit.xml
"""
    return {f"{night.name}.yml": text}


def value(text: str) -> str:
    """A value of `env`: YAML's double-quoted text, in which JSON's is contained, without an expression."""
    return json.dumps(text.replace("${{", "${{ '${{' }}"), ensure_ascii=False)
