"""What a benchmark measures: rows with their bars, and samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.rig import Rig


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. *least* and *most* bound the ratio, or our value if *absolute*."""

    key: str
    what: str
    unit: str
    least: float | None = None
    most: float | None = None
    absolute: bool = False
    against: str = ""

    def bar(self) -> str:
        """Return the bar as text."""
        if self.least is None and self.most is None:
            return ""
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {shown(bound, self.unit)}" if self.absolute else f"{sign} {bound:g} x"

    def verdict(self, ours: float, ratio: float | None) -> str:
        """Return ok, MISS, or nothing for a row without a bar."""
        value = ours if self.absolute else ratio
        if value is None or (self.least is None and self.most is None):
            return ""
        fits = value >= self.least if self.least is not None else value <= (self.most or 0)
        return "ok" if fits else "MISS"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one repeat measured for a row."""

    ours: float
    other: float | None = None

    @property
    def ratio(self) -> float | None:
        """Our value by the other."""
        return self.ours / self.other if self.other else None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A name for the command line, the rows, and the function that measures one repeat."""

    name: str
    rows: Sequence[Row]
    measure: Callable[[Rig], dict[str, Sample]]
    most_repeats: int = 99


@dataclass(slots=True)
class Outcome:
    """The samples of a row."""

    row: Row
    samples: list[Sample] = field(default_factory=list)

    def line(self) -> dict[str, Any]:
        """Return the medians; the ratio is the median of the repeats' ratios."""
        ratios = [sample.ratio for sample in self.samples if sample.ratio is not None]
        others = [sample.other for sample in self.samples if sample.other is not None]
        ours = median(sample.ours for sample in self.samples)
        ratio = median(ratios) if ratios else None
        return {
            "what": self.row.what,
            "unit": self.row.unit,
            "ours": ours,
            "celery": None if self.row.against or not others else median(others),
            "against": self.row.against or None,
            "other": median(others) if others else None,
            "ratio": ratio,
            "bar": self.row.bar(),
            "verdict": self.row.verdict(ours, ratio),
            "repeats": len(self.samples),
        }


def shown(value: float | None, unit: str) -> str:
    """Return a value with its unit, to three digits."""
    if value is None:
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which *part* (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
