"""A scenario, or a --set, that is small and would take for ever: refused at once, in a sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.schema.errors import InputError
from harness.store.scenario_file import load_scenario

GOOD = "model: minilm\nrequests: [{name: a, tokens: 16}]\nload: {concurrency: 1}\n"

GENEROUS_S = 10.0
"""Half a second on a machine with nothing else to do; what is refused here took up to minutes."""

UP_TO_64 = str(list(range(1, 65)))

BOMBS = {
    "a list of 400,000": ("model: [" + "1," * 120_000 + "]", "over 5,000 values"),
    "a list in lines": ("model:\n" + "- 1\n" * 60_000, r":\d+: over 5,000 values"),
    "keys": ("a: {" + "".join(f"k{i}: 1, " for i in range(20_000)) + "}", "over 5,000 values"),
    "classes": ("requests:\n" + "- {name: a}\n" * 15_000, "over 5,000 values"),
    "brackets": ("[" * 200_000, "nested deeper than 20 levels"),
    "dashes": ("- " * 100_000, "nested deeper than 20 levels"),
    "questions": ("? " * 100_000, "nested deeper than 20 levels"),
    "laughs": ("a: &a [1, 1]\nb: &b [*a, *a]\n", r"the alias \*a is refused"),
    "a long alias": ("a: *" + "a" * 200_000, "the alias .* is refused"),
    "a long tag": ("a: !" + "a" * 200_000 + " 1", "the tag .* is refused"),
    "a long word": ("model: " + "a " * 120_000, "at most 1024 characters"),
    "a long number": ("model: " + "1" * 200_000, "at most 18 digits"),
    "a long key": (f"? {'k' * 200_000}\n: 1\n" + GOOD, "unknown key"),
    "a long key twice": (f"? {'k' * 90_000}\n: 1\n" * 2, "is given twice"),
    "too much of anything": (GOOD + "# \n" * 100_000, "is over 250 kB"),
    "a product of lists": (
        "model: minilm\nserver: {max_batch: L, queue_delay_us: L, instances: L, threads: L}\n"
        "requests: [{name: a, tokens: L}]\nload: {rate_per_s: L}\n".replace("L", UP_TO_64),
        "the lists make 68719476736 points",
    ),
    "a thousand errors": (GOOD.replace("16", "[" + "x," * 4_000 + "]"), "and .* more"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", BOMBS)
def test_a_scenario_that_expands_is_refused_at_once(tmp_path: Path, what: str) -> None:
    text, says = BOMBS[what]
    (tmp_path / "s.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(InputError, match=says) as refused:
        load_scenario(tmp_path / "s.yaml")
    assert time.monotonic() - began < GENEROUS_S
    assert len(str(refused.value)) < 2000, "a wall of text is no clear error"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("server.max_batch=[" + "1," * 120_000 + "]", "over 5,000 values"),
        ("server.max_batch=" + "[" * 100_000, "nested deeper than 20 levels"),
        ("model=" + "x" * 300_000, "is over 250 kB"),
        ("a." * 50_000 + "b=1", "deeper than 20 levels"),
        ("requests." + "9" * 5000 + "=1", "no item"),
        ("requests.²=1", "no item '²'"),
        ("requests.-1.tokens=1", "no item '-1'"),
        ("model." + "x" * 9000 + ".y=1", "under a plain value"),
        ("x" * 9000, "is not path=value"),
    ],
)
def test_so_is_an_override(tmp_path: Path, override: str, says: str) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    began = time.monotonic()
    with pytest.raises(InputError, match=says) as refused:
        load_scenario(tmp_path / "s.yaml", [override])
    assert time.monotonic() - began < GENEROUS_S
    assert len(str(refused.value)) < 2000


def test_the_largest_scenario_is_no_bomb(tmp_path: Path) -> None:
    classes = [
        f"{{name: c{i}, weight: 1, tokens: 16, axes: {{a: 1, b: 2, c: 3}}, low: 0, high: 9}}"
        for i in range(64)
    ]
    text = f"model: minilm\nrequests: [{', '.join(classes)}]\nload: {{concurrency: {UP_TO_64}}}\n"
    (tmp_path / "s.yaml").write_text(
        text.replace("}\n", "}\nserver: {queue_delay_us: [0,1,2,3,4,5,6,7,8,9]}\n", 1)
    )
    assert len(load_scenario(tmp_path / "s.yaml").points) == 640
