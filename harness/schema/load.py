"""The load of a scenario and of a point: one shape, how its requests are spaced, and who sends them.

Both are written flat, the shape under its own key: {"concurrency": 8, "workers": 2}. What may be written
there is a record with a key for each known shape. It is made when the first load is read, because only then
it is known what installed packages add.
"""

from __future__ import annotations

import itertools
import json
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    GetJsonSchemaHandler,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue

from harness.schema.frozen import Frozen
from harness.schema.quantities import MANY, Arrivals
from harness.schema.shapes.all_shapes import Shape, shapes
from harness.schema.shapes.shape import LoadShape

Cv = Annotated[float, Field(gt=0, le=100)]
Workers = Annotated[int, Field(ge=1, le=256)]

_MOST_COMBINATIONS = 1000


class _AnyLoad(Frozen):
    """What a scenario's load and a point's have in common: how they are written."""

    arrivals: Arrivals | None = None
    """Spacing of an open loop: `constant` (the default), `poisson`, or `gamma`, which comes in bursts."""
    cv: Cv | None = None
    """Coefficient of variation of the gaps of `gamma` arrivals: 1 is Poisson, more comes in bursts."""
    workers: Workers = 1
    """Load processes that share the load: the union of what they send is the load that is asked for."""

    @classmethod
    def written(cls) -> type[BaseModel]:
        """The record of all keys that may stand in it."""
        return _written(tuple(shapes().values()), lists=False)

    @classmethod
    @abstractmethod
    def _of(cls, shape: Shape, value: Any) -> dict[str, Any]:
        """The fields that say which shape it is, and with which values."""

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, Mapping) or _is_shape(data.get("shape")):
            return data
        form = cls.written()
        # Of JSON once more as JSON, where a list is a tuple.
        read = (
            form.model_validate_json(json.dumps(data)) if info.mode == "json" else form.model_validate(data)
        )
        known = shapes()
        given = {key: value for key in known if (value := getattr(read, key)) is not None}
        if len(given) != 1:
            said = " and ".join(f"`{key}`" for key in given) or "none"
            raise ValueError(f"give exactly one of {', '.join(f'`{key}`' for key in known)}; here: {said}")
        ((key, value),) = given.items()
        return cls._of(known[key], value) | {name: getattr(read, name) for name in _AnyLoad.model_fields}

    @classmethod
    def __get_pydantic_json_schema__(cls, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler.resolve_ref_schema(handler(cls.written().__pydantic_core_schema__))


class Load(_AnyLoad):
    """A scenario's: the values of its shape may be lists."""

    shape: type[LoadShape]
    given: dict[str, Any]
    """The shape's fields: each a value or, where it is varied, a tuple of them."""

    @classmethod
    def written(cls) -> type[BaseModel]:
        return _written(tuple(shapes().values()), lists=True)

    @classmethod
    def _of(cls, shape: Shape, value: Any) -> dict[str, Any]:
        given = {shape.key: value} if shape.is_plain() else {n: getattr(value, n) for n in shape.model_fields}
        return {"shape": shape, "given": given}

    @model_validator(mode="after")
    def _coherent(self) -> Load:
        if self.arrivals is not None and not self.shape.spaced:
            raise ValueError(f"`arrivals` spaces an open loop's requests; `{self.shape.key}` has its own")
        if (self.cv is not None) != (self.arrivals == "gamma"):
            raise ValueError("`cv` and `arrivals: gamma` go together")
        names, values = zip(*self._values().items(), strict=True) if self.given else ((), ())
        for each in itertools.islice(itertools.product(*values), _MOST_COMBINATIONS):
            try:
                self.shape(**dict(zip(names, each, strict=True)))
            except ValidationError as error:
                why = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"`{self.shape.key}`: {why}") from error
        return self

    @model_serializer(mode="plain")
    def _to_be_written(self) -> Any:
        shape = self.shape
        value = self.given[shape.key] if shape.is_plain() else _listed(shape).model_construct(**self.given)
        return _flat(self, shape, value, lists=True)

    def choices(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """(dotted path, values) of everything in it that decides what is sent."""
        for name, values in self._values().items():
            yield self.shape.path(name), values
        yield "load.arrivals", ((self.arrivals or "constant") if self.shape.spaced else None,)
        yield "load.cv", (self.cv,)

    def at(self, chosen: Mapping[str, Any]) -> PointLoad:
        """With one value of each of `choices`, by path."""
        return PointLoad(
            shape=self.shape(**{name: chosen[self.shape.path(name)] for name in self.given}),
            arrivals=chosen["load.arrivals"],
            cv=chosen["load.cv"],
            workers=self.workers,
        )

    def room_for(self, paths: Collection[str]) -> dict[str, Any]:
        """As it is written, less what can't stand beside values at `paths`.

        That is its shape where they are of another, a spacing where the other has its own, and the cv where
        they name the arrivals.
        """
        written: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        for shape in shapes().values():
            if shape is not self.shape and any(shape.path(name) in paths for name in shape.model_fields):
                written.pop(self.shape.key, None)
                if not shape.spaced:
                    written = {key: value for key, value in written.items() if key not in ("arrivals", "cv")}
        if "load.arrivals" in paths:
            written.pop("cv", None)
        return written

    @property
    def files(self) -> dict[tuple[str, ...], str]:
        """Files of the scenario's folder that it names, by where in the scenario."""
        return {
            tuple(self.shape.path(name).split(".")): file
            for name in self.shape.files
            for file in self._values()[name]
            if file is not None
        }

    def _values(self) -> dict[str, tuple[Any, ...]]:
        listed = self.shape.varied
        return {n: v if n in listed and isinstance(v, tuple) else (v,) for n, v in self.given.items()}


class PointLoad(_AnyLoad):
    """A point's: each value is fixed. `arrivals` is None where the shape has a spacing of its own."""

    shape: InstanceOf[LoadShape]

    @classmethod
    def _of(cls, shape: Shape, value: Any) -> dict[str, Any]:
        return {"shape": shape(**{shape.key: value}) if shape.is_plain() else value}

    @model_serializer(mode="plain")
    def _to_be_written(self) -> Any:
        shape = type(self.shape)
        value = getattr(self.shape, shape.key) if shape.is_plain() else self.shape
        return _flat(self, shape, value, lists=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything in it that decides what is sent, by the dotted path that `Load.choices` gives it."""
        of_shape = {
            self.shape.path(name): getattr(self.shape, name) for name in type(self.shape).model_fields
        }
        return of_shape | {"load.arrivals": self.arrivals, "load.cv": self.cv}

    @property
    def open_loop(self) -> bool:
        return self.shape.users is None

    @property
    def steady_by_design(self) -> bool:
        """Whether the load asks for the same at any time, so that it can be looked at for longer."""
        return self.shape.steady_by_design

    @property
    def label(self) -> str:
        """In a reader's words: "concurrency 8", "50/s poisson", …"""
        bursts = "" if self.cv is None else f" (cv {self.cv:g})"
        return f"{self.shape.label} {self.arrivals}{bursts}" if self.shape.spaced else self.shape.label

    @property
    def short_label(self) -> str:
        """For a mark in a chart: "8", "50/s", …"""
        return self.shape.short_label or self.label


def load_places() -> dict[str, tuple[str, ...]]:
    """Where the spacing, and each value of each known shape, stands in a scenario, by dotted path."""
    paths = [f"load.{key}" for key in ("arrivals", "cv")]
    paths += [shape.path(name) for shape in shapes().values() for name in shape.model_fields]
    return {path: tuple(path.split(".")) for path in paths}


def _is_shape(value: Any) -> bool:
    return isinstance(value, LoadShape) or (isinstance(value, type) and issubclass(value, LoadShape))


def _flat(load: _AnyLoad, shape: Shape, value: Any, *, lists: bool) -> BaseModel:
    """The record to write; of a shape that isn't installed, too."""
    form = _written(tuple((shapes() | {shape.key: shape}).values()), lists=lists)
    beside = {name: getattr(load, name) for name in _AnyLoad.model_fields}
    return form.model_construct(**beside, **{shape.key: value})


@cache
def _written(known: tuple[Shape, ...], *, lists: bool) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for shape in known:
        if shape.is_plain():
            value = shape.model_fields[shape.key]
            of_it = _one_or_many(value) if lists and shape.varied else _annotation(value)
        else:
            of_it = _listed(shape) if lists else shape
        fields[shape.key] = (of_it | None, None)
    for name, field in _AnyLoad.model_fields.items():
        fields[name] = (_annotation(field), field.get_default())
    closed = ", ".join(f"`{shape.key}`" for shape in known if shape.users is not LoadShape.users)
    opened = ", ".join(f"`{shape.key}`" for shape in known if shape.users is LoadShape.users)
    described = f"Exactly one of {closed} (closed loop) and {opened} (open loop)."
    return create_model("Load", __base__=Frozen, __doc__=described, **fields)


@cache
def _listed(shape: Shape) -> type[BaseModel]:
    """The same record, in which a list may stand for each value that may be varied."""
    if not shape.varied:
        return shape
    fields: dict[str, Any] = {
        name: (
            _one_or_many(field) if name in shape.varied else _annotation(field),
            ... if field.is_required() else field.get_default(call_default_factory=True),
        )
        for name, field in shape.model_fields.items()
    }
    return create_model(shape.__name__, __base__=Frozen, __doc__=shape.__doc__, **fields)


def _one_or_many(field: FieldInfo) -> Any:
    value = _annotation(field)
    return value | Annotated[tuple[value, ...], MANY]  # type: ignore[valid-type]


def _annotation(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
