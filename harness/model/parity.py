"""The proof of an export: the function of its source on several shapes, and rows that are independent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.model.comparison import INFINITE, Difference, difference, not_numbers
from harness.model.output_axes import check_values, output_specs
from harness.model.runtime import Refused, Session
from harness.model.shapes import RUNGS, Sizes, proving_feeds, proving_shapes
from harness.model.signature import BATCH, Signature
from harness.schema.axis_sizes import NoSize
from harness.schema.errors import InputError
from harness.schema.model import Parity, ParityCase
from harness.schema.tensors import Tensors, TensorSpec

TOLERANCE = 1e-4
"""For FP32 and wider outputs: sums in another order differ by about 1e-6, a wrong function by far more."""
HALF_TOLERANCE = 1e-2
"""Where an output is FP16, whose unit roundoff is 5e-4, or the model was converted to FP16: rounding every
weight and value makes some 1e-3 of it (docs/models.md has figures). What overflows is infinite, and a mask or
a norm that is lost makes 1e-1 and more."""

TORCH = "torch"
FP32_FILE = "the FP32 file"
NO_REFERENCE = "none: the file is the source"

_DIFFERS = (
    "the export computes another function than its source: {}; remove what an export can't follow "
    "(Python values taken from a tensor or a shape, branches on them)"
)
_HALF_DIFFERS = (
    "it computes another function in FP16 than in FP32: {}; leave out `dtype: fp16`, or keep its values "
    "under 65504, FP16's largest"
)


class CannotBatch(InputError):
    """It runs, but Triton can't make a batch of several requests."""

    def __init__(self, name: str, why: str, remedy: str) -> None:
        super().__init__(f"{name}: {why}, so Triton can't batch requests: {remedy}")
        self.why, self.remedy = why, remedy


class OneAtATime(CannotBatch):
    """It runs with a batch of 1 and no other."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What computes the function as it should be."""

    words: str
    """For the record: TORCH or FP32_FILE."""
    run: Callable[[Tensors], Tensors]
    """May raise Refused."""
    remarks: tuple[str, ...] = ()
    """What is known of it beforehand, and belongs to the proof."""


@dataclass(frozen=True, slots=True)
class Proof:
    parity: Parity
    outputs: tuple[TensorSpec, ...]
    """As observed: an axis that is always as large as an input's has its name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is proven, and how much is known of it."""

    name: str
    session: Session
    signature: Signature
    reference: Reference | None = None
    half: bool = False
    """It was converted to FP16, and its reference computes in FP32."""
    probabilities: Collection[str] = ()
    """Outputs whose errors are taken over 1."""
    drawn_by: Collection[str] = ()
    """Its operators that draw random numbers."""
    described_in: str | None = None
    """Name of the file that may describe an ONNX file; None for others."""

    @property
    def guessed(self) -> bool:
        """Nobody says which sizes are valid, so a shape of ours may fail."""
        return self.reference is None and not self.signature.axes


def prove(subject: Subject, *, shapes: Sequence[Sizes] | None = None, asked: Sequence[Sizes] = ()) -> Proof:
    """Compare on every proving shape (or on `shapes`), and on the sizes that are `asked` for; raise unless
    the export is the same function.

    Each row is also compared with the same row in other company (alone, or beside another), because Triton
    will batch it with strangers, unless the signature says that it won't; without a reference, that is all
    that can be compared, and is recorded.

    Raises CannotBatch where the batch is no axis of all that it takes and returns; InputError when an error
    is over the tolerance, with the figures, when rows depend on each other, when two runs differ, when too
    few shapes run or an asked one doesn't, or when Triton can't describe what it returns.
    """
    proving = _Proving(subject)
    for sizes in shapes if shapes is not None else proving_shapes(subject.signature):
        proving.at(sizes)
    proving.settle_batch()
    for sizes in asked:
        if (reason := proving.at(sizes)) is not None:
            raise InputError(
                f"{subject.name}: ONNX Runtime fails to run it at {words(sizes)} ({reason}): give the "
                "request class sizes that the model takes"
            )
    for rung in range(1, RUNGS):
        if proving.enough or shapes is not None or not subject.guessed:
            break
        for sizes in proving_shapes(subject.signature, rung):
            proving.at(sizes)
        proving.settle_batch()
    proving.check_enough()
    return proving.proof()


def words(sizes: Sizes) -> str:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items()) or "its one size"


@dataclass(slots=True)
class _Proving:
    """The comparisons so far."""

    subject: Subject
    cases: list[ParityCase] = field(default_factory=list)
    seen: list[tuple[Sizes, Tensors]] = field(default_factory=list)
    failed: list[tuple[Sizes, str]] = field(default_factory=list)
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        self.tolerance = HALF_TOLERANCE if self.subject.half else TOLERANCE

    def at(self, sizes: Sizes) -> str | None:
        """Compare on one shape; None, or why ONNX Runtime doesn't run it."""
        subject, number = self.subject, len(self.cases) + len(self.failed)
        try:
            given = proving_feeds(subject.signature, sizes, seed=number)
            got = subject.session.run(given)
            check_values(subject.name, got)
            if any(value.dtype == np.float16 for value in got.values()):
                self.tolerance = HALF_TOLERANCE
            if not self.cases:
                self._check_repeats(given, got, sizes)
            if subject.signature.batching:
                self._check_batch(got, sizes[BATCH])
            off = self._from_reference(given, got, sizes)
            if subject.signature.batching:
                apart = self._from_itself_alone(given, got, sizes)
                off = off if off is not None else apart
        except (Refused, NoSize) as error:
            self.failed.append((sizes, str(error)))
            return str(error)
        off = off if off is not None else Difference(0.0, 0.0)
        self.seen.append((sizes, got))
        self.cases.append(
            ParityCase(
                axes=sizes,
                traced=subject.reference is not None and subject.reference.words == TORCH and number == 0,
                max_abs_error=off.absolute,
                max_rel_error=off.relative,
            )
        )
        return None

    def settle_batch(self) -> None:
        """Sizes may fail for their axes: where only a batch of 1 ran, 2 are tried with its axes."""
        alone = [case.axes for case in self.cases if case.axes.get(BATCH) == 1]
        if self.failed and alone and len(alone) == len(self.cases) and self.subject.signature.batching:
            self.at({**alone[0], BATCH: 2})

    @property
    def enough(self) -> bool:
        """An ONNX file doesn't say which sizes are valid, so a shape of ours may fail; not all of a kind, and
        not where only the batch has sizes."""
        if not self.failed:
            return True
        signature = self.subject.signature
        if not self.subject.guessed or (signature.batching and not signature.dynamic):
            return False
        batches = any(case.axes.get(BATCH, 0) > 1 for case in self.cases)
        return len(self.cases) > 1 and (batches or not signature.batching)

    def check_enough(self) -> None:
        if self.enough:
            return
        sizes, reason = self.failed[-1] if self.cases else self.failed[0]
        beside, signature = self.subject.described_in, self.subject.signature
        remedy = "export it with a batch and axes that the whole graph follows"
        unknown = [i.name for i in signature.inputs if i.low is None and "INT" in i.datatype]
        if beside is not None and unknown:
            remedy = (
                f"say which values it takes, in {beside} (`inputs: {{{unknown[0]}: {{low: 1, high: 9}}}}`)"
            )
        elif beside is not None and signature.dynamic:
            axis = signature.dynamic[0]
            remedy = (
                f"say which sizes it takes, in {beside} (`axes: {{{axis}: {{least: 1000}}}}`), or {remedy}"
            )
        raise InputError(
            f"{self.subject.name}: ONNX Runtime fails to run it at {words(sizes)} ({reason}): {remedy}"
        )

    def proof(self) -> Proof:
        subject, reference = self.subject, self.subject.reference
        outputs = output_specs(
            subject.name,
            self.seen,
            subject.session.output_shapes,
            batching=subject.signature.batching,
            described_in=subject.described_in,
        )
        remarks = [*(reference.remarks if reference else ())]
        remarks += not_numbers([got for _, got in self.seen])
        remarks += [f"ONNX Runtime fails at {words(sizes)}" for sizes, _ in self.failed[:3]]
        return Proof(
            Parity(
                reference=reference.words if reference else NO_REFERENCE,
                tolerance=self.tolerance,
                cases=tuple(self.cases),
                remarks=tuple(remarks),
            ),
            outputs,
        )

    def _from_reference(self, given: Tensors, got: Tensors, sizes: Sizes) -> Difference | None:
        reference = self.subject.reference
        if reference is None:
            return None
        wanted = reference.run(given)
        off = difference(got, wanted, self.subject.probabilities)
        if off.relative <= self.tolerance:
            return off
        self._check_repeats(given, got, sizes)
        if difference(reference.run(given), wanted).relative > self.tolerance:
            raise self._random(sizes)
        where = f"largest error {off} at {words(sizes)}, tolerance {self.tolerance:g}"
        differs = _HALF_DIFFERS if self.subject.half else _DIFFERS
        raise InputError(f"{self.subject.name}: {differs.format(where)}")

    def _from_itself_alone(self, given: Tensors, got: Tensors, sizes: Sizes) -> Difference:
        """How far rows are from the same rows in other company."""
        apart = Difference(0.0, 0.0)
        for row, other in self._in_other_company(given, sizes):
            mine = {name: value[row : row + 1] for name, value in got.items()}
            one = difference(mine, other, self.subject.probabilities)
            if not one.relative <= self.tolerance:
                self._check_repeats(given, got, sizes)
                raise self._neighbours(mine, other, one, sizes)
            apart = max(apart, one, key=lambda each: each.relative)
        return apart

    def _in_other_company(self, given: Tensors, sizes: Sizes) -> Iterator[tuple[int, Tensors]]:
        """(row, what it gives) of the same rows, each run alone; or of a single row, run beside another."""
        session, batch = self.subject.session, sizes[BATCH]
        if batch == 1:
            stranger = proving_feeds(self.subject.signature, sizes, seed=1000)
            pair = self._pair({n: np.concatenate([v, stranger[n]]) for n, v in given.items()})
            self._check_batch(pair, 2)
            yield 0, {name: value[:1] for name, value in pair.items()}
            return
        for row in range(batch):
            alone = session.run({n: v[row : row + 1] for n, v in given.items()})
            self._check_batch(alone, 1)
            yield row, alone

    def _pair(self, given: Tensors) -> Tensors:
        """Two rows where one alone runs. The sizes of an ONNX file may be wrong; here the batch is."""
        try:
            return self.subject.session.run(given)
        except Refused as error:
            if self.subject.reference is not None:
                raise
            raise OneAtATime(
                self.subject.name,
                f"ONNX Runtime runs it with a batch of 1 and fails with 2 ({error})",
                "export it with a batch that the whole graph follows",
            ) from error

    def _check_batch(self, got: Tensors, batch: int) -> None:
        without = {n: list(v.shape) for n, v in got.items() if v.ndim == 0 or v.shape[0] != batch}
        if not without:
            return
        output, shape = next(iter(without.items()))
        beside = self.subject.described_in
        remedy = "return one row per request row, or leave the output out"
        if beside is not None and len(without) < len(got):
            listed = ", ".join(without)
            remedy = f"leave out what has no batch axis, in {beside}: `outputs: {{leave_out: [{listed}]}}`"
        raise CannotBatch(
            self.subject.name,
            f"output {output!r} is {shape} for a batch of {batch}, and the batch is not its first axis",
            remedy,
        )

    def _check_repeats(self, given: Tensors, got: Tensors, sizes: Sizes) -> None:
        """Raise InputError where the same inputs give something else the second time."""
        again = self.subject.session.run(given)
        if not difference(again, got, self.subject.probabilities).relative <= self.tolerance:
            raise self._random(sizes)

    def _random(self, sizes: Sizes) -> InputError:
        by = f" ({', '.join(sorted(self.subject.drawn_by))})" if self.subject.drawn_by else ""
        return InputError(
            f"{self.subject.name} is random{by}: two runs with the same inputs differ at {words(sizes)}, so "
            "that nothing can be proven of its results: export it in evaluation mode, or remove what draws "
            "random numbers"
        )

    def _neighbours(self, mine: Tensors, other: Tensors, apart: Difference, sizes: Sizes) -> InputError:
        beside = self.subject.described_in
        remedy = "remove what mixes rows (a norm or a sum over axis 0)"
        if beside is not None:
            remedy += f", or have each request computed alone: `batch: false` in {beside}"
        what = f"a row's result depends on the rows beside it (largest error {apart}"
        if apart == INFINITE and (size := next((n for n in mine if mine[n].shape != other[n].shape), None)):
            what = (
                f"the size of output {size!r} depends on the rows beside it (a row is "
                f"{list(mine[size].shape)} in a batch, {list(other[size].shape)} in another"
            )
        return InputError(
            f"{self.subject.name}: {what} at {words(sizes)}, tolerance {self.tolerance:g}), so Triton can't "
            f"batch requests: {remedy}"
        )
