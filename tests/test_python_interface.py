"""From Python as from the shell: `harness.run` takes what the command takes."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest

import harness
from harness import cli
from harness.measurement import testbed


def options_of(command: Any) -> set[str]:
    return set(inspect.signature(command).parameters)


def test_run_takes_what_the_command_takes() -> None:
    own = options_of(harness.run) - {"options", "quiet"}
    from_python = own | set(get_type_hints(harness.Options))
    printed = {"as_json", "everything", "dry_run"}  # and `harness.dry_run`
    of_the_load = {"concurrency", "rate_per_s"}  # in Python an override
    from_the_shell = options_of(cli.run) - printed - of_the_load
    assert from_python == from_the_shell


def test_what_it_is_measured_with_is_all_of_a_testbed() -> None:
    assert set(get_type_hints(harness.Options)) == options_of(testbed.Testbed.of)


def test_what_is_no_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="sever"):
        harness.run("scenario.yaml", sever="docker")  # type: ignore[call-arg]


def test_options_that_do_not_go_together_are_one_sentence() -> None:
    with pytest.raises(harness.InputError, match="--image is of a container"):
        harness.run("scenario.yaml", image="triton")
