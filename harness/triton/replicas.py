"""Several Tritons that serve the same model, measured as one: a load is spread evenly over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType, TracebackType
from typing import Self

from harness.address import Address
from harness.schema.errors import InputError
from harness.schema.model import Model
from harness.schema.point import ServerSettings
from harness.schema.served_model import Served, ServedModel
from harness.triton.control import Control
from harness.triton.remote import RemoteServer
from harness.triton.statistics import Statistics, added
from harness.triton.way import Way


class Replicas:
    """A `Server` (harness.triton.server) of several that already run, which are never stopped or restarted.

    What is said of one server is said of the first, once it is known that the others are as it is.
    """

    mode = "remote"
    image: str | None = None
    command: tuple[str, ...] | None = None
    access: Mapping[str, str] = MappingProxyType({})

    def __init__(self, replicas: Sequence[RemoteServer]) -> None:
        """At least two, which are entered with this one."""
        self.replicas = tuple(replicas)
        self._first = self.replicas[0]
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as entering:
            for each in self.replicas:
                entering.enter_context(each)
            self._entered = entering.pop_all()
        for each in self.replicas[1:]:
            if each.version != self.version:
                self._first.say(f"{each.where} is {each.version}, and {self._first.where} is {self.version}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, trace)

    @property
    def host(self) -> str:
        return self._first.host

    @property
    def http_port(self) -> int:
        return self._first.http_port

    @property
    def address(self) -> Address:
        return self._first.address

    @property
    def grpc_port(self) -> int | None:
        return self._first.grpc_port

    @property
    def metrics_port(self) -> int | None:
        return self._first.metrics_port

    @property
    def way(self) -> Way:
        """To the first."""
        return self._first.way

    @property
    def url(self) -> str:
        """Of each, with commas between them."""
        return ",".join(dict.fromkeys(each.url for each in self.replicas))

    @property
    def version(self) -> str:
        return self._first.version

    @property
    def backend(self) -> str:
        return self._first.backend

    @property
    def backend_version(self) -> str | None:
        return self._first.backend_version

    @property
    def execution_provider(self) -> str | None:
        return self._first.execution_provider

    @property
    def provider_options(self) -> dict[str, str] | None:
        return self._first.provider_options

    @property
    def loaded(self) -> ServerSettings | None:
        """How each has the model; its instances are those of all together."""
        loaded = self._first.loaded
        if loaded is None or loaded.instances is None:
            return loaded
        return loaded.model_copy(update={"instances": loaded.instances * len(self.replicas)})

    @property
    def outputs(self) -> frozenset[str] | None:
        return self._first.outputs

    @property
    def control(self) -> Control:
        """The first one's."""
        return self._first.control

    def describe(self, served: Served) -> ServedModel:
        """Raises InputError where they don't all have the same."""
        first, *others = (each.describe(served) for each in self.replicas)
        for each, other in zip(self.replicas[1:], others, strict=True):
            if other.sha256 != first.sha256:
                raise InputError(
                    f"{each.where} has another {served} than {self._first.where}: give replicas the same "
                    "model and configuration, or measure each by itself and compare them"
                )
        return first

    def serve(self, model: Model, settings: ServerSettings) -> str:
        first, *_ = [each.serve(model, settings) for each in self.replicas]
        for each in self.replicas[1:]:
            theirs = each.loaded, each.outputs, each.execution_provider
            if theirs != (self._first.loaded, self._first.outputs, self._first.execution_provider):
                raise InputError(
                    f"{each.where} has {first} loaded in another way than {self._first.where}: load it "
                    "alike, or set what differs in the scenario's `server`, which loads it anew on each"
                )
        return first

    def statistics(self, model: str, *, version: int | None = None, settled: bool = True) -> Statistics:
        """Of all together."""
        return added([s.statistics(model, version=version, settled=settled) for s in self.replicas])

    def exit_reason(self) -> str | None:
        return None

    def healthy(self) -> bool:
        return all(each.healthy() for each in self.replicas)

    def open_interfaces(self) -> tuple[str, ...]:
        """What anybody can do at one of them beside sending requests."""
        return tuple(dict.fromkeys(what for each in self.replicas for what in each.open_interfaces()))

    def restart(self) -> None:
        self._first.restart()

    def process_ids(self) -> list[int]:
        return []
