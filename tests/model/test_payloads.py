"""Payloads: exactly the class's sizes, real contents, the same for a seed, never from outside a folder."""

import functools
import hashlib
import importlib.util
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model import magika
from harness.model.catalog import MAGIKA
from harness.model.check import inputs_of
from harness.model.files import user_files
from harness.model.payloads import payloads
from harness.schema.errors import InputError
from harness.schema.point import PointClass
from harness.schema.tensors import NUMPY, Tensors
from tests.model.classes import request_class

HERE = Path(__file__).parent


def made(
    model: str, request: PointClass, count: int = 1, seed: int = 1, base: Path = HERE
) -> tuple[Tensors, ...]:
    return payloads(model, request, base_dir=base, count=count, seed=seed)


def digest(payload: Tensors) -> str:
    return hashlib.sha256(b"".join(v.tobytes() for v in payload.values())).hexdigest()


CLASSES = st.one_of(
    st.builds(
        lambda t, b, p: ("minilm", request_class(batch=b, tokens=t, payload=p)),
        st.integers(3, 512), st.integers(1, 5), st.sampled_from([None, "text", "random"]),
    ),
    st.builds(
        lambda h, w, b: ("ocr-detector", request_class(batch=b, height=32 * h, width=32 * w)),
        st.integers(1, 4), st.integers(1, 4), st.integers(1, 3),
    ),
    st.builds(
        lambda b, p: ("magika", request_class(batch=b, payload=p)),
        st.integers(1, 5), st.sampled_from([None, "bytes", "random"]),
    ),
)  # fmt: skip


@given(CLASSES, st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_payloads_have_the_class_sizes_the_models_types_and_valid_values(
    drawn: tuple[str, PointClass], count: int, seed: int
) -> None:
    model, request = drawn
    got = made(model, request, count, seed)
    assert len(got) == count
    for payload in got:
        signature = inputs_of(model, base_dir=HERE)
        assert list(payload) == [tensor.name for tensor in signature.inputs]
        for tensor in signature.inputs:
            values: Any = payload[tensor.name]
            assert values.shape == tensor.shape({"batch": request.batch, **request.axes})
            assert values.dtype == NUMPY[tensor.datatype]
            assert tensor.low is not None and tensor.high is not None
            assert values.min() >= tensor.low and values.max() < tensor.high
    assert [digest(p) for p in got] == [digest(p) for p in made(model, request, count, seed)]


@pytest.mark.parametrize("request_", [request_class(tokens=8), request_class(tokens=64, batch=4)])
def test_text_payloads_differ_from_each_other_and_between_seeds(request_: PointClass) -> None:
    first, second = (made("minilm", request_, 200, seed) for seed in (1, 2))
    assert len({digest(p) for p in first}) == 200
    assert [digest(p) for p in first] != [digest(p) for p in second]


def test_text_is_real_english_between_the_tokenizers_own_marks() -> None:
    import tokenizers

    place = inputs_of("minilm", base_dir=HERE).tokenizer
    assert place is not None
    tokenizer = tokenizers.Tokenizer.from_file(str(place.get()))
    (payload,) = made("minilm", request_class(tokens=40, batch=6))
    text = " ".join((HERE.parents[1] / "harness/model/data/opticks.txt").read_text().lower().split())
    ids: Any = payload["input_ids"]
    assert (ids[:, 0] == tokenizer.token_to_id("[CLS]")).all()
    assert (ids[:, -1] == tokenizer.token_to_id("[SEP]")).all()
    assert (payload["attention_mask"] == 1).all()
    assert not np.isin(ids, [tokenizer.token_to_id("[PAD]"), tokenizer.token_to_id("[UNK]")]).any()
    squeezed = "".join(text.split())
    for row in ids:
        words = "".join(tokenizer.decode(row.tolist()).split())
        assert words[:60] in squeezed


def test_text_without_room_beside_the_special_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="at least 3, or for `payload: random`"):
        made("minilm", request_class(tokens=2))


def test_text_comes_from_the_users_folder_and_goes_round_when_it_is_short(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("Blue. Red.")
    (payload,) = made("minilm", request_class(tokens=100, folder="texts"), base=tmp_path)
    ids: Any = payload["input_ids"]
    assert ids.shape == (1, 100)
    assert len(np.unique(ids)) == 5  # [CLS] blue . red [SEP]
    (tmp_path / "texts" / "a.txt").write_text(" \n\t ")
    with pytest.raises(InputError, match="no words"):
        made("minilm", request_class(tokens=10, folder="texts"), base=tmp_path)


def test_text_that_the_tokenizer_drops_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("word " + "\u200b " * 5000)  # zero-width spaces make no token
    with pytest.raises(InputError, match="put text in the folder"):
        made("minilm", request_class(tokens=512, folder="texts"), base=tmp_path)


def test_folder_files_are_taken_in_sorted_order_whole_rows_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "f" / "sub").mkdir(parents=True)
    for name in ("b", "a", "sub/c"):
        (tmp_path / "f" / name).write_bytes(name[-1].encode() * 3000)
    got = made("magika", request_class(batch=2, folder="f"), count=2, base=tmp_path)
    firsts = [[chr(row[0]) for row in p["bytes"].tolist()] for p in got]
    assert firsts == [["a", "b"], ["c", "a"]]


@functools.cache
def extractor() -> Any:
    """Magika's own module, out of its wheel; doubles stand for imports that its extraction doesn't use."""
    needless = ["dotenv", "magika", "magika.logger", "magika.types"]
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in needless}):
        for name in ("magika.types.seekable", "magika.magika"):
            file = MAGIKA.folder / f"{name.replace('.', '/')}.py"
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        sys.modules["magika.magika"].__dict__["ModelFeatures"] = SimpleNamespace
        return sys.modules["magika.magika"].Magika, sys.modules["magika.types.seekable"]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda a, n, b, m, c: a * n + b * m + c,
            st.sampled_from([b" ", b"\n\t", b"x", b"\xff\x00"]), st.integers(0, 5000),
            st.sampled_from([b" ", b"y"]), st.integers(0, 5000), st.binary(max_size=50),
        ),
    )
)  # fmt: skip
def test_features_are_those_that_magika_itself_extracts(content: bytes) -> None:
    own, seekable = extractor()
    wanted = own._extract_features_from_seekable(
        seekable.Seekable(io.BytesIO(content)), 1024, 0, 1024, 256, 4096, False
    )
    assert magika.features(content).tolist() == [*wanted.beg, *wanted.mid, *wanted.end]


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("../outside", "leaves the scenario's folder"),
        ("/etc", "leaves the scenario's folder"),
        ("link", "leaves the scenario's folder"),
        ("with_link", "a.txt is a link out of the folder"),
        ("empty", "has no file with content"),
        ("in", "has no file with content"),
        ("file", "is not a folder"),
        ("\0", "leaves the scenario's folder"),
    ],
)
def test_a_folder_that_leaves_the_scenarios_or_holds_nothing_is_refused(
    folder: str, words: str, tmp_path: Path
) -> None:
    base = tmp_path / "scenarios"
    outside = tmp_path / "outside"
    for made_folder in (base / "in", base / "with_link", base / "empty", outside):
        made_folder.mkdir(parents=True)
    (outside / "secret.txt").write_text("secret")
    (base / "file").write_text("a file")
    (base / "link").symlink_to(outside)
    (base / "with_link" / "a.txt").symlink_to(outside / "secret.txt")
    (base / "empty" / "void").write_text("")
    with pytest.raises(InputError, match=re.escape(words)) as raised:
        user_files(base, folder, "some")
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError):
        made("magika", request_class(folder=folder), base=base)


def test_integers_without_a_known_range_need_one(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.INT64, ["N", 4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"input 'x' of m.onnx takes .*give `low` and `high`, or `ranges: "):
        made("m.onnx", request_class(), base=tmp_path)
    with pytest.raises(InputError, match=r"no value from 0.2"):
        made("m.onnx", request_class(low=0.2, high=0.9), base=tmp_path)
    (payload,) = made("m.onnx", request_class(batch=500, low=-3.0, high=2.0), base=tmp_path)
    assert set(np.unique(payload["x"]).tolist()) == {-3, -2, -1, 0, 1}
    (raw,) = made("m.onnx", request_class(batch=2, payload="bytes"), base=tmp_path)
    assert raw["x"].dtype == np.int64


def test_each_input_may_have_a_range_of_its_own(tmp_path: Path) -> None:
    """As the ids of two vocabularies have."""
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(n, TensorProto.INT64, ["N", 4]) for n in ("user", "item", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["user", "item"], ["y"])], "g", values[:2], values[2:])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    item = {"item": {"low": 7.0, "high": 9.0}}
    (payload,) = made("m.onnx", request_class(batch=90, low=0.0, high=3.0, ranges=item), base=tmp_path)
    assert set(np.unique(payload["user"]).tolist()) == {0, 1, 2}
    assert set(np.unique(payload["item"]).tolist()) == {7, 8}
    for ranges, words in (
        (item, r"input 'user' of m.onnx takes integers .*`ranges: \{user: \{low: 0, high: 100\}\}`"),
        ({"items": item["item"]}, r"range of 'items', which is no input of m.onnx: did you mean `item`"),
    ):
        with pytest.raises(InputError, match=words):
            made("m.onnx", request_class(ranges=ranges), base=tmp_path)
