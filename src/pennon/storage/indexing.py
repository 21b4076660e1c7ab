"""Kinds of indexes, each with its parameters, checked in the same words by every backend."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pennon.errors import InvalidInput, InvalidOption, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BTree",
    "Bitmap",
    "BloomFilter",
    "FullText",
    "Index",
    "IndexKind",
    "IvfFlat",
    "IvfHnswFlat",
    "IvfHnswPq",
    "IvfHnswSq",
    "IvfPq",
    "IvfRq",
    "IvfSq",
    "LabelList",
    "Metric",
    "MinHash",
    "NGram",
    "RTree",
    "ScalarIndex",
    "VectorIndex",
    "ZoneMap",
]

IndexKind = Literal[
    "btree",
    "bitmap",
    "label_list",
    "ngram",
    "zonemap",
    "bloomfilter",
    "rtree",
    "minhash",
    "fts",
    "ivf_flat",
    "ivf_pq",
    "ivf_sq",
    "ivf_rq",
    "ivf_hnsw_flat",
    "ivf_hnsw_pq",
    "ivf_hnsw_sq",
]
Metric = Literal["l2", "cosine", "dot", "hamming"]
Tokenizer = Literal["simple", "whitespace", "raw", "ngram", "icu", "icu/split", "code"]
Language = Literal[
    "Arabic",
    "Danish",
    "Dutch",
    "English",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hungarian",
    "Italian",
    "Norwegian",
    "Portuguese",
    "Romanian",
    "Russian",
    "Spanish",
    "Swedish",
    "Tamil",
    "Turkish",
]

FEW_ROWS = 10_000
"""Up to so many rows every vector is compared: that is fast, and exact."""
MANY_ROWS = 1_000_000
"""From so many rows on vectors are kept as small as can be, and graphs are split."""


class Index:
    """What every kind has."""

    kind: ClassVar[IndexKind]
    suffix: ClassVar[str]
    """What the name of an index ends with that nobody named."""

    def check(self, field: pa.Field, table: str) -> None:
        """Refuse a column that no index of this kind can be built on.

        Raises:
            InvalidInput: It is one.
        """
        if not self._fits(field):
            raise InvalidInput(
                f"No {self.kind} index can be built on the column {field.name!r} of {table}, which "
                f"holds {field.type}; it is for {self._for()}.",
                column=field.name,
                kind=self.kind,
            )

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by name, as JSON takes them; see :func:`from_parameters`."""
        return asdict(self)  # pyright: ignore[reportArgumentType]

    def _fits(self, field: pa.Field) -> bool:
        raise NotImplementedError

    def _for(self) -> str:
        raise NotImplementedError


class ScalarIndex(Index):
    """An index for filters."""

    def _fits(self, field: pa.Field) -> bool:
        import pyarrow.types as t

        kind: Any = getattr(field.type, "storage_type", field.type)
        tests = (
            t.is_integer,
            t.is_floating,
            t.is_boolean,
            t.is_string,
            t.is_large_string,
            t.is_binary,
            t.is_large_binary,
            t.is_temporal,
            t.is_decimal128,
            t.is_decimal256,
            t.is_fixed_size_binary,
        )
        return any(test(kind) for test in tests)

    def _for(self) -> str:
        return "numbers, texts, bytes, booleans, times and decimals"


@dataclass(frozen=True, kw_only=True)
class BTree(ScalarIndex):
    """For ``=``, ranges and ``IN`` on columns with many different values."""

    kind = "btree"
    suffix = "btree"


@dataclass(frozen=True, kw_only=True)
class Bitmap(ScalarIndex):
    """For ``=`` and ``IN`` on columns with few different values."""

    kind = "bitmap"
    suffix = "bitmap"


@dataclass(frozen=True, kw_only=True)
class LabelList(ScalarIndex):
    """For ``array_has``, ``array_has_any`` and ``array_has_all``: few different values."""

    kind = "label_list"
    suffix = "label_list"

    def _fits(self, field: pa.Field) -> bool:
        import pyarrow.types as t

        kind: Any = field.type
        return (t.is_list(kind) or t.is_large_list(kind)) and not t.is_nested(kind.value_type)

    def _for(self) -> str:
        return "lists of plain values"


class _OnText(ScalarIndex):
    def _fits(self, field: pa.Field) -> bool:
        import pyarrow.types as t

        return t.is_string(field.type) or t.is_large_string(field.type)

    def _for(self) -> str:
        return "texts"


@dataclass(frozen=True, kw_only=True)
class NGram(_OnText):
    """For ``contains`` and ``starts_with`` on texts."""

    kind = "ngram"
    suffix = "ngram"


@dataclass(frozen=True, kw_only=True)
class ZoneMap(ScalarIndex):
    """Tiny; for ranges on columns that are written nearly in order.

    Args:
        rows_per_zone: Rows of which the least and the greatest value are kept.
    """

    kind = "zonemap"
    suffix = "zonemap"
    rows_per_zone: int = 8192

    def __post_init__(self) -> None:
        _check_number(self, "rows_per_zone", 1)


@dataclass(frozen=True, kw_only=True)
class BloomFilter(ScalarIndex):
    """Small; for ``=`` on columns with many different values.

    Args:
        number_of_items: Rows of one filter.
        probability: How often a filter says by mistake that a value is there.
    """

    kind = "bloomfilter"
    suffix = "bloomfilter"
    number_of_items: int = 8192
    probability: float = 0.00057

    def __post_init__(self) -> None:
        _check_number(self, "number_of_items", 1)
        if not isinstance(self.probability, float) or not 0 < self.probability < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"probability={self.probability!r} must lie between 0 and 1.")

    def _fits(self, field: pa.Field) -> bool:
        import pyarrow.types as t

        kind: Any = getattr(field.type, "storage_type", field.type)
        others = (
            t.is_boolean,
            t.is_float16,
            t.is_duration,
            t.is_decimal,
            t.is_fixed_size_binary,
        )
        return super()._fits(field) and not any(test(kind) for test in others)

    def _for(self) -> str:
        return "numbers but halves and decimals, texts, bytes of any length, dates and times"


@dataclass(frozen=True, kw_only=True)
class RTree(ScalarIndex):
    """For boxes on columns of GeoArrow geometries."""

    kind = "rtree"
    suffix = "rtree"

    def _fits(self, field: pa.Field) -> bool:
        name = getattr(field.type, "extension_name", None)
        given = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode()
        return (name or given).startswith("geoarrow.")

    def _for(self) -> str:
        return "geometries, with the extension names of GeoArrow"


@dataclass(frozen=True, kw_only=True)
class MinHash(_OnText):
    """For near-duplicates of texts.

    Args:
        num_hashes: Hashes of one text, a multiple of ``num_bands``.
        num_bands: Groups of hashes of which one must be equal.
        shingle_size: Words that are hashed together.
    """

    kind = "minhash"
    suffix = "minhash"
    num_hashes: int = 128
    num_bands: int = 16
    shingle_size: int = 3

    def __post_init__(self) -> None:
        for name in ("num_hashes", "num_bands", "shingle_size"):
            _check_number(self, name, 1)
        if self.num_hashes % self.num_bands:
            raise InvalidOption(
                f"num_hashes={self.num_hashes} must be a multiple of num_bands={self.num_bands}."
            )


@dataclass(frozen=True, kw_only=True)
class FullText(Index):
    """How text becomes the words that are searched for.

    Args:
        tokenizer: ``"simple"`` splits at whitespace and punctuation, ``"whitespace"`` and
            ``"raw"`` at less; ``"icu"`` knows languages without spaces, ``"icu/split"`` splits
            its words further; ``"ngram"`` finds parts of words, ``"code"`` parts of identifiers.
        language: Of the stems and stop words.
        positions: Whether to keep where words stand, which phrases need; makes it larger.
        stem: Whether words match whatever their ending; None for yes, unless ``tokenizer`` is
            ``"ngram"`` or ``"code"``.
        remove_stop_words: Whether to leave out words such as "the"; None as for ``stem``.
        stop_words: Which; those of the language if None.
        lower_case: Whether case does not matter.
        ascii_folding: Whether accents do not matter.
        max_token_length: Longer words are left out; None for none.
        min_ngram: Letters of the shortest part of a word, for ``"ngram"``.
        max_ngram: Letters of the longest one.
        prefix_only: Whether only parts at the start of words are found, for ``"ngram"``.
    """

    kind = "fts"
    suffix = "fts"
    tokenizer: Tokenizer = "simple"
    language: Language = "English"
    positions: bool = True
    stem: bool | None = None
    remove_stop_words: bool | None = None
    stop_words: tuple[str, ...] | None = None
    lower_case: bool = True
    ascii_folding: bool = True
    max_token_length: int | None = 40
    min_ngram: int = 3
    max_ngram: int = 3
    prefix_only: bool = False

    def __post_init__(self) -> None:
        _check_word(self, "tokenizer", Tokenizer)
        _check_word(self, "language", Language)
        for name in ("positions", "lower_case", "ascii_folding", "prefix_only"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidOption(f"{name}={getattr(self, name)!r} must be True or False.")
        for name in ("stem", "remove_stop_words"):
            if not isinstance(getattr(self, name), bool | None):
                raise InvalidOption(f"{name}={getattr(self, name)!r} must be True, False or None.")
        if self.stop_words is not None:
            words: Any = self.stop_words
            some = isinstance(words, Iterable) and not isinstance(words, str)
            if not some or not all(isinstance(w, str) for w in words):
                raise InvalidOption(f"stop_words={words!r} must be a list of words.")
            object.__setattr__(self, "stop_words", tuple(words))
        if self.max_token_length is not None:
            _check_number(self, "max_token_length", 1)
        _check_number(self, "min_ngram", 1)
        _check_number(self, "max_ngram", self.min_ngram)

    def _fits(self, field: pa.Field) -> bool:
        import pyarrow.types as t

        kind: Any = field.type
        if t.is_list(kind) or t.is_large_list(kind):
            kind = kind.value_type
        given = (field.metadata or {}).get(b"ARROW:extension:name")
        json = getattr(kind, "extension_name", None) in {"lance.json", "arrow.json"}
        return t.is_string(kind) or t.is_large_string(kind) or json or given == b"lance.json"

    def _for(self) -> str:
        return "texts, lists of texts and JSON"


@dataclass(frozen=True, kw_only=True)
class VectorIndex(Index):
    """An index for the nearest neighbours of a vector.

    Args:
        metric: ``"l2"``, ``"cosine"`` or ``"dot"`` for floats, ``"hamming"`` for uint8; None for
            ``"l2"``, for ``"hamming"`` on uint8, and ``"cosine"`` on lists of vectors, which have
            no other.
        partitions: Groups of vectors near each other, of which a search visits some; None for
            about the square root of the rows, and 1 if there are few.
    """

    suffix = "vector"
    metric: Metric | None = None
    partitions: int | None = None

    def __post_init__(self) -> None:
        if self.metric is not None:
            _check_word(self, "metric", Metric)
        if self.partitions is not None:
            _check_number(self, "partitions", 1)

    @property
    def least_rows(self) -> int:
        """Return how many vectors it takes to learn how to keep them."""
        return 1

    def partitions_for(self, rows: int) -> int:
        """Return how many partitions to make for so many rows."""
        if self.partitions is not None:
            return max(1, min(self.partitions, rows))
        return 1 if rows < FEW_ROWS else math.isqrt(rows)

    def metric_for(self, field: pa.Field) -> Metric:
        """Return the metric, which the type of the column may decide."""
        if self.metric is not None:
            return self.metric
        _, element, several = _vectors(field)
        if several:
            return "cosine"
        return "hamming" if _is_bytes(element) else "l2"

    def check(self, field: pa.Field, table: str) -> None:
        """Refuse a column of another type, or one that the metric is not for."""
        super().check(field, table)
        _, element, several = _vectors(field)
        metric = self.metric_for(field)
        hint: str | None = None
        if several and metric != "cosine":
            hint = "lists of vectors are compared by 'cosine'"
        elif _is_bytes(element) and metric == "hamming" and self.kind != "ivf_flat":
            hint = "bits are compared by an 'ivf_flat' index"
        elif (metric == "hamming") != _is_bytes(element):
            hint = "'hamming' is for uint8, and the other metrics for floats"
        if hint is not None:
            raise InvalidInput(
                f"No {self.kind} index with the metric {metric!r} can be built on the column "
                f"{field.name!r} of {table}, which holds {field.type}: {hint}.",
                column=field.name,
                kind=self.kind,
            )

    def _fits(self, field: pa.Field) -> bool:
        import pyarrow.types as t

        _, element, _ = _vectors(field)
        return element is not None and (t.is_floating(element) or _is_bytes(element))

    def _for(self) -> str:
        return "vectors: fixed-size lists of floats or uint8, or lists of them"


@dataclass(frozen=True, kw_only=True)
class IvfFlat(VectorIndex):
    """Whole vectors in partitions: exact within those that are searched."""

    kind = "ivf_flat"


@dataclass(frozen=True, kw_only=True)
class IvfPq(VectorIndex):
    """Vectors cut into parts, each kept as a number: the smallest.

    Args:
        metric: See :class:`VectorIndex`.
        partitions: See :class:`VectorIndex`.
        sub_vectors: Parts of a vector; divides its length. None for parts of 8 numbers.
        bits: Of each part: 8, or 4 for half the size.
    """

    kind = "ivf_pq"
    sub_vectors: int | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sub_vectors is not None:
            _check_number(self, "sub_vectors", 1)
        if not isinstance(self.bits, int) or self.bits not in {4, 8}:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"bits={self.bits!r} must be 4 or 8.")

    @property
    def least_rows(self) -> int:
        """Return how many vectors it takes: one for each value of a part."""
        return 2**self.bits

    def sub_vectors_for(self, field: pa.Field) -> int:
        """Return the number of parts of the vectors of a column."""
        length, _, _ = _vectors(field)
        if self.sub_vectors is not None:
            return self.sub_vectors
        return length // next(n for n in (8, 4, 2, 1) if length % n == 0)

    def check(self, field: pa.Field, table: str) -> None:
        """Refuse also vectors that cannot be cut so."""
        super().check(field, table)
        length, _, _ = _vectors(field)
        parts = self.sub_vectors_for(field)
        if length % parts or (self.bits == 4 and parts % 2):  # noqa: PLR2004
            raise InvalidInput(
                f"Vectors of {length} numbers, as the column {field.name!r} of {table} holds, "
                f"cannot be cut into sub_vectors={parts} of {self.bits} bits: it must divide the "
                "length, and be even for 4 bits.",
                column=field.name,
            )


@dataclass(frozen=True, kw_only=True)
class IvfSq(VectorIndex):
    """Vectors of small numbers: a quarter of the size, nearly exact."""

    kind = "ivf_sq"


@dataclass(frozen=True, kw_only=True)
class IvfRq(VectorIndex):
    """Vectors turned and kept in a few bits for each number (RaBitQ).

    Args:
        metric: See :class:`VectorIndex`.
        partitions: See :class:`VectorIndex`.
        bits: For each number: 1 to 9.
    """

    kind = "ivf_rq"
    bits: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number(self, "bits", 1, 9)

    def check(self, field: pa.Field, table: str) -> None:
        """Refuse also vectors that are not whole bytes of bits."""
        super().check(field, table)
        length, _, _ = _vectors(field)
        if length % 8:
            raise InvalidInput(
                f"No ivf_rq index can be built on the column {field.name!r} of {table}, whose "
                f"vectors have {length} numbers: that must be a multiple of 8.",
                column=field.name,
                kind=self.kind,
            )


@dataclass(frozen=True, kw_only=True)
class _Graph(VectorIndex):
    m: int = 20
    ef_construction: int = 150

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number(self, "m", 2)
        _check_number(self, "ef_construction", self.m)

    def partitions_for(self, rows: int) -> int:
        """Return how many partitions to make: one for each million rows, unless told."""
        if self.partitions is not None:
            return super().partitions_for(rows)
        return max(1, rows // MANY_ROWS)


@dataclass(frozen=True, kw_only=True)
class IvfHnswFlat(_Graph):
    """A graph of neighbours over whole vectors: fast to search, large, slow to build.

    Args:
        metric: See :class:`VectorIndex`.
        partitions: Graphs; None for one for each million rows.
        m: Neighbours of a vector.
        ef_construction: Vectors that are looked at to find them.
    """

    kind = "ivf_hnsw_flat"


@dataclass(frozen=True, kw_only=True)
class IvfHnswPq(_Graph, IvfPq):
    """A graph as :class:`IvfHnswFlat` has, over vectors as :class:`IvfPq` keeps them."""

    kind = "ivf_hnsw_pq"


@dataclass(frozen=True, kw_only=True)
class IvfHnswSq(_Graph):
    """A graph as :class:`IvfHnswFlat` has, over vectors as :class:`IvfSq` keeps them."""

    kind = "ivf_hnsw_sq"


def _vectors(field: pa.Field) -> tuple[int, Any, bool]:
    """Return the length and the numbers of vectors, and whether a row has several of them."""
    import pyarrow.types as t

    kind: Any = getattr(field.type, "storage_type", field.type)
    several = t.is_list(kind)
    if several:
        kind = kind.value_type
    if not t.is_fixed_size_list(kind):
        return 0, None, several
    return kind.list_size, kind.value_type, several


def _is_bytes(element: Any) -> bool:
    import pyarrow.types as t

    return element is not None and t.is_uint8(element)


def _check_number(of: object, name: str, lowest: int, highest: int = 2**31 - 1) -> None:
    value = getattr(of, name)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        upto = "" if highest == 2**31 - 1 else f" to {highest}"
        raise InvalidOption(f"{name}={value!r} must be a whole number from {lowest}{upto}.")


def _check_word(of: object, name: str, known: Any) -> None:
    value = getattr(of, name)
    if value not in get_args(known):
        raise InvalidOption(
            f"{name}={value!r} is none there is; {did_you_mean(str(value), get_args(known))}"
        )
