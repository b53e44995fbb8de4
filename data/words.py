"""Categorical columns: words in place of texts, categories, booleans and whole numbers, and a code for each word.

A column's vocabulary is its words in sorted order. Code 0 stands for a missing word and for one that is not in the
vocabulary; code i for the i-th word. An empty text is missing. numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BLANKS", "MISSING", "as_words", "codes_of", "words_of"]

MISSING = ""
BLANKS = (MISSING, "NA", "N/A", "NaN", "nan", "null", "NULL", "n/a")  # where numbers stand; among words, words


def as_words(column: pd.Series[Any]) -> NDArray[Any]:
    """Each value of a column as a word (T,), `MISSING` where there is none.

    Texts are taken as they stand; a whole number is written without a point, because one blank in a file turns all of
    a column's integers into floats.
    """
    known = column.notna().to_numpy()
    return np.array([_word(v) if k else MISSING for v, k in zip(column.astype(object), known, strict=True)], object)


def codes_of(words: NDArray[Any], vocabulary: Sequence[str]) -> NDArray[np.float32]:
    """The code of each word, in any shape."""
    code = {word: float(i) for i, word in enumerate(vocabulary, start=1)}
    return np.array([code.get(word, 0.0) for word in words.ravel()], np.float32).reshape(words.shape)


def words_of(codes: NDArray[np.float32], vocabulary: Sequence[str]) -> NDArray[Any]:
    """The word of each code, in any shape: what `codes_of` has taken it from, or `MISSING`."""
    spelled: NDArray[Any] = np.array([MISSING, *vocabulary], object)[codes.astype(np.int64)]
    return spelled


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
