"""Files that come with the ONNX project's own tests, with sizes that are fixed: what ONNX Runtime loads is
served, the rest refused in a sentence.

All of them, and what its generator makes, go through `python -m tests.bench.onnx_generator`.
"""

from pathlib import Path

import pytest
from onnx.backend import test

from harness.model.runtime import Refused, Session
from harness.schema.errors import InputError
from tests.bench import onnx_generator
from tests.model.test_onnx_files import taken

FILES = sorted((Path(test.__file__).parent / "data").glob("pytorch-operator/*/model.onnx"))


@pytest.mark.usefixtures("empty_cache")
def test_files_of_the_onnx_project_are_served_where_onnx_runtime_loads_them() -> None:
    loaded = 0
    for file in FILES[::3]:
        try:
            Session(file)
        except Refused:
            with pytest.raises(InputError, match=r"^[^\n]*doesn't load the ONNX file[^\n]*$"):
                taken(file)
            continue
        loaded += 1
        alone = taken(file).alone
        assert alone is not None and "is fixed to" in alone, file
    assert loaded > 5


def test_a_model_that_ended_as_none_should_is_named() -> None:
    """What the bench ends with 1 for."""

    def ended(ending: str, *, batches: bool = False) -> onnx_generator.Outcome:
        return onnx_generator.Outcome("m", batches, batches, ending, "why", 0.1)

    fine = [
        ended(onnx_generator.SERVED, batches=True),
        ended(onnx_generator.ALONE),
        ended(onnx_generator.REFUSED),
    ]
    assert onnx_generator.wrong(fine) == []
    assert onnx_generator.wrong([ended(onnx_generator.FAILED)]) == ["m: a traceback or a crash (why)"]
    assert onnx_generator.wrong([ended(onnx_generator.SLOW)]) == ["m: over 30 s or 4 GB (why)"]
    assert "batches it rightly" in onnx_generator.wrong([ended(onnx_generator.REFUSED, batches=True)])[0]
    assert "batches it rightly" in onnx_generator.wrong([ended(onnx_generator.ALONE, batches=True)])[0]
