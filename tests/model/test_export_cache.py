"""An unchanged model is exported once, whoever asks and however often."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.model.export import export
from harness.schema.errors import HarnessError
from harness.schema.model import ModelArtifact

ASK = """
import json, sys
from pathlib import Path
from harness.model.export import export
said = []
artifact = export(sys.argv[1], base_dir=Path(sys.argv[2]), progress=said.append)
print(json.dumps({"said": said, "torch": "torch" in sys.modules, "sha256": artifact.sha256}))
"""

FACTORY = """
import torch
from harness.model import Input, TorchModel
from helper_of_{name} import factor

class Scale(torch.nn.Module):
    def forward(self, x):
        return x * factor()

def make():
    return TorchModel(Scale(), (Input("x", "FP32", ("batch", 4)),))
"""


def ask(model: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", ASK, model, "."], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # neither torch nor ONNX Runtime talks on the terminal
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_second_ask_neither_exports_nor_imports_torch(
    minilm: ModelArtifact, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(session_cache))
    assert ask("minilm") == {"said": [], "torch": False, "sha256": minilm.sha256}


@pytest.mark.usefixtures("minilm")
def test_the_cache_may_be_moved(session_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved"
    made = shutil.ignore_patterns(".making-*")  # by another process of the suite
    shutil.copytree(session_cache / "models", moved / "models", ignore=made)
    monkeypatch.setenv("HARNESS_CACHE", str(moved))
    again = export("minilm", base_dir=Path(), progress=lambda m: pytest.fail(m))
    assert again.path.is_relative_to(moved)
    assert again.path.is_file()


@pytest.mark.usefixtures("empty_cache")
def test_a_damaged_file_is_made_again() -> None:
    first = export("magika", base_dir=Path(), progress=lambda _: None)
    with first.path.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    said: list[str] = []
    again = export("magika", base_dir=Path(), progress=said.append)
    assert said
    assert again == first


def test_two_processes_that_ask_at_once_make_it_once(empty_cache: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", ASK, "ocr-detector", "."], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert sorted(len(answer["said"]) > 0 for answer in answers) == [False, True]
    assert [path.name for path in (empty_cache / "models").iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("empty_cache")
def test_a_factory_is_exported_again_when_its_function_changed_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(FACTORY.format(name="scaled"))
    helper = tmp_path / "helper_of_scaled.py"

    def ask_anew() -> tuple[list[str], str]:
        for name in ("scaled", "helper_of_scaled"):
            sys.modules.pop(name, None)
        said: list[str] = []
        return said, export("scaled:make", base_dir=tmp_path, progress=said.append).sha256

    helper.write_text("def factor():\n    return 2.0\n")
    first_said, first = ask_anew()
    assert first_said
    assert ask_anew() == ([], first)
    # No hash covers the helper's code: the comparison with the fresh module finds it.
    helper.write_text("def factor():\n    return 3.0\n\n\n# longer than before\n")
    changed_said, changed = ask_anew()
    assert changed_said
    assert changed != first


def test_a_refused_export_leaves_nothing_behind(empty_cache: Path) -> None:
    here = Path(__file__).parent
    for _ in range(2):
        with pytest.raises(HarnessError, match="is random"):
            export("zoo:random", base_dir=here, progress=lambda _: None)
    assert list((empty_cache / "models").iterdir()) == []
