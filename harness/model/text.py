"""Rows of real text, tokenized to an exact number of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.schema.errors import InputError

if TYPE_CHECKING:
    import tokenizers

OPTICKS = Path(__file__).parent / "data" / "opticks.txt"
"""Public domain; data/README.md says where it is from."""

LARGEST_TOKENIZER = 128 * 2**20
"""Bytes."""

SENTENCE_END = re.compile(r"[.?!]['\")\]]*$")


def token_rows(
    tokenizer_file: Path, texts: Sequence[str], tokens: int, rows: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """INT64 [rows, tokens]: token ids of running text, cut so that the special tokens fit, none padded.

    Rows start at sentences in a drawn order, then, when all of those were used, at the other words. They
    differ, unless the texts have too few beginnings. Raises InputError when `tokens` leaves no room for
    text, or when the texts have no token.
    """
    with _understood(tokenizer_file):
        return _token_rows(_tokenizer(tokenizer_file), texts, tokens, rows, generator)


def _token_rows(
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    tokens: int,
    rows: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    tokenizer.no_padding()
    special = tokenizer.num_special_tokens_to_add(False)
    if tokens <= special:
        raise InputError(
            f"{tokens} tokens leave no room for text beside the tokenizer's {special} special tokens: "
            f"ask for at least {special + 1}, or for `payload: random`"
        )
    tokenizer.enable_truncation(tokens)
    words = [word for text in texts for word in text.split()]
    if not words or not tokenizer.encode(" ".join(words[:64]), add_special_tokens=False).ids:
        raise InputError("the text files have no words: put text in the folder")
    made: dict[bytes, npt.NDArray[np.int64]] = {}
    for start in _starts(words, generator):
        if len(made) == rows:
            break
        row = _row(tokenizer, words, int(start), tokens)
        made.setdefault(row.tobytes(), row)
    different = list(made.values())
    return np.stack([different[row % len(different)] for row in range(rows)])


def _tokenizer(file: Path) -> tokenizers.Tokenizer:
    import tokenizers

    if file.stat().st_size > LARGEST_TOKENIZER:
        raise InputError(f"{file} has more than {LARGEST_TOKENIZER // 2**20} MiB: it is no tokenizer's file")
    return tokenizers.Tokenizer.from_file(str(file))


@contextmanager
def _understood(file: Path) -> Iterator[None]:
    """What tokenizers says of a tokenizer that it can't read or can't use, in a sentence."""
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # tokenizers has no kinds of its own, and a panic of Rust is no Exception
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{file} can't be used as a tokenizer ({said[0][:200]}): copy it again, or remove it and write "
            "`payload: random`"
        ) from error


def _starts(words: Sequence[str], generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Every word's position in a drawn order, those that begin a sentence first."""
    begins = np.array([True, *(bool(SENTENCE_END.search(word)) for word in words[:-1])])
    return np.concatenate(
        [generator.permutation(np.flatnonzero(begins)), generator.permutation(np.flatnonzero(~begins))]
    )


def _row(
    tokenizer: tokenizers.Tokenizer, words: Sequence[str], start: int, tokens: int
) -> npt.NDArray[np.int64]:
    """The text from `start`, round its end where needed; a word makes at least one token, nearly always."""
    for take in (tokens, 4 * tokens, 16 * tokens + len(words)):
        text = " ".join(words[(start + i) % len(words)] for i in range(take))
        ids = tokenizer.encode(text).ids
        if len(ids) == tokens:
            return np.array(ids, np.int64)
    raise InputError(
        f"the tokenizer makes {len(ids)} tokens of {take} words, not {tokens}: put text in the folder that "
        "it was made for"
    )
