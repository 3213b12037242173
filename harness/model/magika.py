"""The features of the Magika model: the first and the last bytes of a file, whitespace stripped.

As `Magika._extract_features_from_seekable` of magika 1.0.3 computes them, with the numbers of the
config.min.json beside its standard_v3_3 model: beg_size, end_size, padding_token, block_size; mid_size is 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BEGIN = 1024
END = 1024
PADDING = 256
BLOCK = 4096


def features(content: bytes) -> npt.NDArray[np.int32]:
    """INT32 [2048]: bytes are 0 to 255, 256 pads the begin at its end and the end at its begin."""
    row = np.full(BEGIN + END, PADDING, np.int32)
    begin = content[:BLOCK].lstrip()[:BEGIN]
    end = content[-BLOCK:].rstrip()[-END:]
    row[: len(begin)] = np.frombuffer(begin, np.uint8)
    row[len(row) - len(end) :] = np.frombuffer(end, np.uint8)
    return row
