"""A model repository of the user's own, which is served and never written to (`--model-repository`).

A server of ours serves a folder of its own, with the same folders in it and a link to each file: Python, or a
backend, writes what it likes beside a model. Where a scenario sets something of a model, its `config.pbtxt`
there is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.cache import file_sha256
from harness.schema.errors import HarnessError, InputError
from harness.schema.faults import nearest
from harness.triton.repository import CONFIG
from harness.triton.server_folder import Entry


@dataclass(frozen=True, slots=True)
class TheirRepository:
    """The folder. Raises InputError where it is none."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> TheirRepository:
        if not path.is_dir():
            raise InputError(f"--model-repository {path} is no folder: name one that has a folder a model")
        return cls(path.resolve())

    @property
    def models(self) -> tuple[str, ...]:
        try:
            return tuple(sorted(each.name for each in self.path.iterdir() if _is_model(each)))
        except OSError as error:
            raise HarnessError(
                f"{self.path} can't be listed ({error.strerror}): give yourself the right"
            ) from error

    def check_has(self, model: str) -> None:
        """Raises InputError where it hasn't the model."""
        if model not in self.models:
            near = nearest(model, self.models) or f": it has {', '.join(self.models[:20]) or 'none'}"
            raise InputError(f"the model repository {self.path} has no model {model!r}{near}")

    def entry(self, model: str, config: Mapping[str, Any] | None) -> Entry:
        """What has a server serve everything that is there, `model` with this configuration, in JSON form, in
        place of its own; None for its own."""

        def linked(repository: Path) -> str:
            for name in self.models:
                _link(self.path / name, repository / name)
            if config is not None:
                (repository / model / CONFIG).unlink(missing_ok=True)
                (repository / model / CONFIG).write_text(config_text(config), encoding="utf-8")
            return model

        return linked

    def files(self, models: Sequence[str]) -> dict[str, str]:
        """SHA-256 of each file of these models, by its path in the repository. Raises HarnessError."""
        found = {}
        for model in dict.fromkeys(models):
            for file in sorted(_files(self.path / model)):
                try:
                    found[str(file.relative_to(self.path))] = file_sha256(file)
                except OSError as error:
                    raise HarnessError(
                        f"{file} can't be read ({error.strerror}): give yourself the right to read it"
                    ) from error
        return found


def _is_model(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _link(folder: Path, mirror: Path) -> None:
    """Raises HarnessError where the folder can't be read."""
    try:
        mirror.mkdir()
        for each in folder.iterdir():
            if each.is_dir():
                if each.name != "__pycache__":
                    _link(each, mirror / each.name)
            else:
                (mirror / each.name).symlink_to(each)
    except OSError as error:
        raise HarnessError(
            f"{folder} can't be served ({error.strerror}: {error.filename}): give yourself the right to "
            "read it"
        ) from error


def config_text(config: Mapping[str, Any]) -> str:
    """A ModelConfig in JSON form, as Triton gives it, as config.pbtxt."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    message = json_format.ParseDict(dict(config), model_config_pb2.ModelConfig(), ignore_unknown_fields=True)
    text: str = text_format.MessageToString(message)
    return text
