"""Files that come with the ONNX project's own tests, with sizes that are fixed: what ONNX Runtime loads is
served, the rest refused in a sentence.

All of them, and what its generator makes, go through `python -m tests.bench.onnx_generator`.
"""

from pathlib import Path

import pytest
from onnx.backend import test

from harness.model.runtime import Refused, Session
from harness.schema.errors import InputError
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
