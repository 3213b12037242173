"""Broken scenario files, made by breaking a good one in every way we can name."""

from __future__ import annotations

from collections.abc import Iterator

GOOD = """\
model: minilm
protocol: http
server:
  max_batch: 8
  queue_delay_us: 500
  instances: 1
  threads: 1
requests:
  - {name: short, tokens: 16, batch: 1, weight: 8}
  - {name: long, tokens: 128, batch: 8, weight: 2}
load:
  concurrency: 8
measure:
  warmup_s: 1
  duration_s: 8
  at_most_s: 20
  precision: {p99: 0.05, throughput: 0.02}
objective: {p99_ms: 200, errors: 0.001}
validity: {foreign_cpu: 0.2, send_lag_ms: 4}
seed: 1
"""

KEYS = {
    "max_batch": "8", "queue_delay_us": "500", "instances": "1", "threads": "1", "tokens": "16",
    "batch": "1", "weight": "8", "concurrency": "8", "warmup_s": "1", "duration_s": "8", "at_most_s": "20",
    "p99_ms": "200", "errors": "0.001", "seed": "1", "p99": "0.05", "foreign_cpu": "0.2", "send_lag_ms": "4",
}  # fmt: skip
SECTIONS = ("server", "requests", "load", "measure", "objective", "validity")


def broken() -> Iterator[tuple[str, str]]:
    """(what is wrong, text) of each file; every one of them must be refused."""
    yield from _truncated()
    for key, value in KEYS.items():
        for wrong in ("x", "'8'", "true", "[[1]]", "{a: 1}", "2026-11-22"):
            yield f"{key} of a wrong type: {wrong}", _with(key, value, wrong)
        for huge in ("99999999999999999999999", "1e999", "-1e308", "9" * 5000, ".inf", ".nan", "-3"):
            yield f"{key} out of range: {huge[:12]}", _with(key, value, huge)
        yield f"{key} misspelt", GOOD.replace(f"{key}:", f"{key[:-1]}q:", 1)
    for section in SECTIONS:
        yield f"{section} misspelt", GOOD.replace(f"{section}:", f"{section}x:", 1)
        yield f"{section} is a word", _section(section, " word")
        yield f"{section} is a list of lists", _section(section, " [[]]")
    yield from _tags()
    yield from _leaving()
    yield from _impossible()
    yield from _of_gpus()
    yield from _not_yaml()


def _with(key: str, value: str, wrong: str) -> str:
    text = GOOD.replace(f"{key}: {value}", f"{key}: {wrong}", 1)
    assert text != GOOD, key
    return text


def _section(section: str, value: str) -> str:
    """The section's content replaced by `value`, up to the next top-level key."""
    lines, kept, inside = GOOD.splitlines(), [], False
    for line in lines:
        if line.startswith(f"{section}:"):
            kept.append(f"{section}:{value}")
            inside = True
        elif not inside or not line.startswith(" "):
            inside = False
            kept.append(line)
    return "\n".join(kept) + "\n"


def _truncated() -> Iterator[tuple[str, str]]:
    end = GOOD.index("concurrency: 8")
    for cut in range(0, end, 5):
        yield f"cut after {cut} bytes", GOOD[:cut]


def _tags() -> Iterator[tuple[str, str]]:
    for tag in (
        "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!python/module:os",
        "!!python/object/new:type []", "!!binary aGk=", "!custom 3", "!!set {a}", "!!omap []",
        "!<tag:yaml.org,2002:python/none> x", "!!str minilm", "!!float 3", "!!timestamp 2026-01-01",
    ):  # fmt: skip
        yield f"tag {tag}", GOOD.replace("model: minilm", f"model: {tag}")
        yield f"tag {tag} within", GOOD.replace("max_batch: 8", f"max_batch: {tag}")


def _leaving() -> Iterator[tuple[str, str]]:
    for path in (
        "../x",
        "../../../../etc/passwd",
        "/etc/passwd",
        "a/../../x",
        "/",
        "..",
        "~/../..",
        "missing",
    ):
        yield f"replay of {path}", GOOD.replace("concurrency: 8", f"replay: {{file: '{path}'}}")
        yield f"folder {path}", GOOD.replace("tokens: 16", f"tokens: 16, folder: '{path}'")


def _impossible() -> Iterator[tuple[str, str]]:
    for what, old, new in (
        ("two loads", "concurrency: 8", "concurrency: 8\n  rate_per_s: 5"),
        ("no load", "concurrency: 8", "arrivals: poisson"),
        ("arrivals of a closed loop", "concurrency: 8", "concurrency: 8\n  arrivals: poisson"),
        ("batch over max_batch", "max_batch: 8", "max_batch: 4"),
        ("batch over one of the max_batch", "max_batch: 8", "max_batch: [8, 4]"),
        ("the same value twice", "instances: 1", "instances: [1, 1]"),
        ("an empty list", "instances: 1", "instances: []"),
        ("65 values", "instances: 1", f"instances: {[1 + i % 64 for i in range(65)]}"),
        ("two classes of a name", "name: long", "name: short"),
        ("at most under duration", "at_most_s: 20", "at_most_s: 2"),
        ("precision without a limit", "  at_most_s: 20\n", ""),
        ("precision of nothing", "{p99: 0.05, throughput: 0.02}", "{}"),
        ("precision of what isn't measured", "{p99: 0.05,", "{p98: 0.05,"),
        ("precision of a ramp", "concurrency: 8", "ramp: {from_per_s: 1, to_per_s: 9}"),
        ("gamma without its cv", "concurrency: 8", "rate_per_s: 8\n  arrivals: gamma"),
        ("cv without gamma", "concurrency: 8", "rate_per_s: 8\n  cv: 2"),
        ("no worker", "concurrency: 8", "concurrency: 8\n  workers: 0"),
        ("workers varied", "concurrency: 8", "concurrency: 8\n  workers: [1, 2]"),
        ("shared memory of a wrong kind", "protocol: http", "shared_memory: posix"),
        ("made up and real", "tokens: 16", "tokens: 16, payload: random, folder: ."),
        ("low without high", "tokens: 16", "tokens: 16, low: 3"),
        ("low over high", "tokens: 16", "tokens: 16, low: 3, high: 1"),
        ("a wrong choice", "protocol: http", "protocol: htpp"),
        ("a wrong payload", "tokens: 16", "tokens: 16, payload: pickles"),
        ("a key twice", "seed: 1", "seed: 1\nseed: 2"),
        ("a class without a name", "name: short, ", ""),
        ("a class with a strange name", "name: short", "name: '../x'"),
        ("an unknown model", "model: minilm", "model: minilmm"),
        ("an axis the model hasn't", "tokens: 16", "height: 16"),
        ("an axis too few", "tokens: 16, ", ""),
        ("an axis too large", "tokens: 16", "tokens: 100000"),
        ("a million points", "threads: 1", f"threads: {list(range(1, 65))}\n  kind: cpu"),
    ):
        text = GOOD.replace(old, new, 1)
        assert text != GOOD, what
        if what == "a million points":
            text = text.replace("instances: 1", f"instances: {list(range(1, 65))}")
        yield what, text


def _of_gpus() -> Iterator[tuple[str, str]]:
    """The keys that have to do with GPUs: of a wrong value, and with an instance kind that has none."""
    for key in ("gpus: [0]", "provider: cuda", "provider: [tensorrt]", "cuda_graph: true"):
        yield f"{key} on a CPU", GOOD.replace("threads: 1", f"kind: cpu\n  {key}")
    yield (
        "a CUDA graph among others, on a CPU",
        GOOD.replace("threads: 1", "kind: cpu\n  cuda_graph: [false, true]"),
    )
    for memory in ("cuda", "[none, cuda]"):
        yield (
            f"shared memory {memory} on a CPU",
            GOOD.replace("threads: 1", "kind: cpu").replace("protocol: http", f"shared_memory: {memory}"),
        )
    yield (
        "a CUDA graph in TensorRT",
        GOOD.replace("threads: 1", "kind: gpu\n  provider: [cuda, tensorrt]\n  cuda_graph: [false, true]"),
    )
    for wrong in ("fp8", "float16", "16", "[fp32, fp8]", "[]", "[fp16, fp16]", "{a: fp16}", "true"):
        yield f"dtype {wrong}", GOOD.replace("protocol: http", f"dtype: {wrong}")
    for key, values in {
        "gpus": ("0", "[]", "[-1]", "[256]", "[0, 0]", "all", "[[0], [1]]", "[0.5]"),
        "provider": ("cudaa", "cpu", "[]", "[cuda, cuda]"),
        "cuda_graph": ("yes", "1", "[true, true]"),
        "kind": ("[cpu, abacus]", "cuda"),
    }.items():
        for wrong in values:
            yield f"{key} {wrong}", GOOD.replace("threads: 1", f"{key}: {wrong}")
    for key in ("gpu: [0]", "providers: cuda", "cuda_graphs: true", "dtype: fp16"):
        yield f"unknown key {key}", GOOD.replace("threads: 1", key)


def _not_yaml() -> Iterator[tuple[str, str]]:
    yield "nothing", ""
    yield "a comment", "# nothing\n"
    yield "a list", "- a\n- b\n"
    yield "a word", "hello\n"
    yield "two documents", GOOD + "---\n" + GOOD
    yield "an alias", GOOD.replace("max_batch: 8", "max_batch: &a 8").replace("instances: 1", "instances: *a")
    yield (
        "a billion laughs",
        "a: &a [x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]\n" for i in range(20)),
    )
    yield "a merge", GOOD + "<<: {seed: 3}\n"
    yield "deep lists", "model: " + "[" * 5000 + "]" * 5000
    yield "a tab", GOOD.replace("  max_batch", "\tmax_batch")
    yield "an open quote", GOOD.replace("minilm", "'minilm")
    yield "a control character", GOOD.replace("minilm", "mini\x07lm")
    yield "a key that is a list", "? [a]\n: 3\n" + GOOD
    yield "a number as key", "3: 3\n" + GOOD
