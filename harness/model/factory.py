"""A user's own torch module: `package.module:factory`, called without arguments."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal

from harness.cache import file_sha256
from harness.model.guest import guest, said
from harness.model.signature import BATCH, Place, Signature, TorchModel, servable
from harness.schema.errors import InputError


@dataclass(slots=True)
class Factory:
    """Its module is looked for on Python's path, then in the scenario's folder, then in the current one."""

    path: str
    """`package.module:factory`"""
    base_dir: Path
    converted: bool = False
    """Its weights, of another type, were converted to FP32."""
    note: str | None = None
    kind: Literal["torch"] = "torch"
    _made: TorchModel | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return servable(f"{self.path}-fp32" if self.converted else self.path)

    @property
    def words(self) -> str:
        return f"torch module of {self.path}{', converted to FP32' if self.converted else ''}"

    def signature(self) -> Signature:
        made = self.load()
        tokenizer = Place((self.base_dir / made.tokenizer).resolve()) if made.tokenizer else None
        return Signature(made.inputs, made.axes, tokenizer)

    def content(self) -> str:
        """Every parameter and buffer, the source files of every module class and of the factory, and the
        plain attributes of every module.

        Code that these files call elsewhere is not in it: a cached export of a factory is therefore also
        compared with the freshly built module before it is used.
        """
        made = self.load()
        with self._looking():
            digest = hashlib.sha256(repr((made.inputs, made.outputs, made.axes)).encode())
            for name, tensor in [*made.module.named_parameters(), *made.module.named_buffers()]:
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(_bytes(tensor))
            for name, part in made.module.named_modules():
                plain = {
                    k: v for k, v in vars(part).items() if isinstance(v, int | float | str | tuple | None)
                }
                digest.update(f"{name} {type(part).__qualname__} {sorted(plain.items(), key=str)}".encode())
            classes = {type(part).__module__ for part in made.module.modules()}
        for file in sorted(filter(None, map(_source, {*classes, self.path.split(":")[0]}))):
            digest.update(file_sha256(Path(file)).encode())
        return digest.hexdigest()

    def load(self) -> TorchModel:
        if self._made is None:
            self._made = self._ready(self._call())
        return self._made

    def _ready(self, made: TorchModel) -> TorchModel:
        from harness.model.torch_module import check_weights, unwrapped

        with self._looking():
            module = unwrapped(made.module)
            check_weights(f"model {self.path!r}", module)
            if self.converted:
                module.float()
        return replace(made, module=module)

    def in_fp32(self) -> Factory:
        """Itself where its weights are FP32. Raises InputError for one that takes FP16 or FP64 inputs."""
        if self.weights() <= {"float32"}:
            return self
        made = self.load()
        for tensor in made.inputs:
            if tensor.datatype in ("FP16", "FP64"):
                raise InputError(
                    f"model {self.path!r}: input {tensor.name!r} is {tensor.datatype}, which a module in "
                    "FP32 doesn't take: leave out `dtype`, or declare it FP32 and convert it in the module"
                )
        return Factory(self.path, self.base_dir, converted=True)

    def weights(self) -> set[str]:
        """Of which types its weights are, those that are numbers with a fraction, as torch calls them."""
        module = self.load().module
        with self._looking():
            tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
            return {str(t.dtype).removeprefix("torch.") for t in tensors}

    def file_to_run(self) -> Path | None:
        """The file that `load` would execute first; None where its module was imported before, or has none.
        Nothing is executed to tell."""
        names = self.path.split(":")[0].split(".")
        if ".".join(names) in sys.modules:
            return None
        importlib.invalidate_caches()
        search = _searched(self.base_dir)
        for depth, name in enumerate(names, start=1):
            # By its last name alone: a namespace package would look for its parents among what is imported.
            found = PathFinder.find_spec(name, search)
            if found is None:
                return None
            if found.origin is not None and ".".join(names[:depth]) not in sys.modules:
                return Path(found.origin)
            search = list(found.submodule_search_locations or ())
        return None

    def _looking(self) -> AbstractContextManager[None]:
        """At a module whose methods and attributes are the user's."""
        return guest(lambda error: f"model {self.path!r}: its module raised {said(error)}: mend the module")

    def _call(self) -> TorchModel:
        module_name, function_name = self.path.split(":")
        if module_name.split(".")[0] in sys.stdlib_module_names:
            raise InputError(
                f"model {self.path!r}: {module_name} is Python's own, and has no function that returns a "
                "TorchModel: give the module that has it another name"
            )
        with _importable(self.base_dir):
            with guest(lambda e: f"model {self.path!r}: importing {module_name} raised {said(e)}"):
                try:
                    module = importlib.import_module(module_name)
                except ModuleNotFoundError as error:
                    raise InputError(
                        f"model {self.path!r}: {error}; put the module in the scenario's folder, "
                        "or install it"
                    ) from error
            factory = getattr(module, function_name, None)
            if not callable(factory):
                known = [
                    n for n, v in vars(module).items() if inspect.isfunction(v) and not n.startswith("_")
                ]
                raise InputError(
                    f"model {self.path!r}: {module_name} has no function {function_name!r}; "
                    f"it has {', '.join(known) or 'none'}"
                )
            with guest(
                lambda e: (
                    f"model {self.path!r}: the factory raised {said(e)}; call it in Python to see where "
                    f"(`{function_name}()` of {module_name}, no arguments)"
                )
            ):
                return _checked(self.path, factory())


def _checked(name: str, made: object) -> TorchModel:
    import torch

    if not isinstance(made, TorchModel) or not isinstance(made.module, torch.nn.Module):
        raise InputError(
            f"model {name!r}: the factory returned {type(made).__name__}, and must return "
            "harness.model.TorchModel(module, inputs=(Input(name, datatype, axes), …))"
        )
    if not made.inputs:
        raise InputError(f"model {name!r}: `inputs` is empty; describe each input with harness.model.Input")
    for tensor in made.inputs:
        if not tensor.axes or tensor.axes[0] != BATCH:
            raise InputError(
                f"model {name!r}: the first axis of input {tensor.name!r} is "
                f"{tensor.axes[0] if tensor.axes else 'missing'!r}, and must be 'batch'"
            )
        if BATCH in tensor.axes[1:]:
            raise InputError(f"model {name!r}: input {tensor.name!r} names two axes 'batch'; rename one")
    used = {a for tensor in made.inputs for a in tensor.axes}
    for axis in made.axes:
        if axis.name not in used:
            raise InputError(
                f"model {name!r}: no input has the axis {axis.name!r} of `axes`; rename one of them"
            )
    names = [tensor.name for tensor in made.inputs] + list(made.outputs)
    for twice in sorted(n for n in set(names) if names.count(n) > 1):
        raise InputError(f"model {name!r}: two tensors are named {twice!r}; give each its own name")
    made.module.eval()
    return made


def _searched(base_dir: Path) -> list[str]:
    """Python's own path comes first: a file beside the scenario is nobody's `json` or `torch`."""
    return [*sys.path, str(base_dir.absolute()), str(Path.cwd())]


@contextmanager
def _importable(base_dir: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:] = _searched(base_dir)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _source(module_name: str) -> str | None:
    file = getattr(sys.modules.get(module_name), "__file__", None)
    return file if file and Path(file).is_file() else None


def _bytes(tensor: Any) -> bytes:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy().data)
