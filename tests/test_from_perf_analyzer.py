"""docs/from-perf-analyzer.md has a row for each option of perf_analyzer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.cache import unpacked
from harness.calibration import perf_analyzer
from harness.triton.install import WHEEL

PAGE = Path(__file__).parents[1] / "docs" / "from-perf-analyzer.md"
README = Path(__file__).parents[1] / "README.md"

NAMED = """
-? -h --help -m -x --service-kind --bls-composing-models --model-signature-name -v --measurement-mode -p
--measurement-interval --measurement-request-count -s --stability-percentage --percentile
--warmup-request-count --request-count -r --max-trials --concurrency-range --periodic-concurrency-range
--request-period
--request-parameter --request-rate-range --request-distribution -l --latency-threshold --binary-search
--request-intervals --max-threads --num-of-sequences --sequence-length --sequence-length-variation
--sequence-id-range --serial-sequences --input-data -b --shape --string-data --string-length --shared-memory
--output-shared-memory-size --input-tensor-format --output-tensor-format -i -a --async --sync --streaming -H
--grpc-compression-algorithm -u --ssl-grpc-use-ssl --ssl-grpc-root-certifications-file
--ssl-grpc-private-key-file --ssl-grpc-certificate-chain-file --ssl-https-verify-peer --ssl-https-verify-host
--ssl-https-ca-certificates-file --ssl-https-client-certificate-file --ssl-https-client-certificate-type
--ssl-https-private-key-file --ssl-https-private-key-type --triton-server-directory --model-repository
--collect-metrics --metrics-url --metrics-interval -f --profile-export-file --verbose-csv --trace-level
--trace-rate --trace-count --log-frequency --data-directory -c -d -t -z
"""
"""The options in its docs/cli.md, in its order."""


def rows() -> dict[str, str]:
    """What stands beside each option."""
    found = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `-"):
            options, said = line.strip("| ").split(" | ", 1)
            found |= dict.fromkeys(re.findall(r"`(-[^`]+)`", options), said)
    return found


def test_every_option_of_its_documentation_has_a_row() -> None:
    assert set(NAMED.split()) <= set(rows())
    assert all(len(said) > 3 for said in rows().values())


def test_every_option_of_its_own_help_has_a_row(tmp_path: Path) -> None:
    if (missing := perf_analyzer.problem()) is not None:
        pytest.skip(missing)
    (cudart,) = (unpacked(WHEEL) / "nvidia_pytriton.libs").glob("libcudart*.so*")
    program = perf_analyzer.PerfAnalyzer(cudart, tmp_path)
    done = subprocess.run(
        [program.binary, "--help"],
        env=program.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = set(re.findall(r"^\s*(?:-\w, )?(--[a-z][a-z0-9-]+)", done.stdout + done.stderr, re.MULTILINE))
    assert len(told) > 30 and told - set(rows()) == set()


def test_what_harness_lacks_is_named_in_the_readme() -> None:
    missing = README.read_text().split("## Not here yet")[1]
    for option, said in rows().items():
        if said.startswith("none yet"):
            word = {"--streaming": "decoupled models"}[option]
            assert word in missing, option
