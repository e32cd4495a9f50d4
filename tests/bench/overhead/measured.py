"""One measurement, as it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload on one subject, once. `microseconds`: of CPU per request or per chunk, by part."""

    subject: str
    workload: str
    repeat: int
    requests: int
    failed: int
    per_second: float
    microseconds: Mapping[str, float]

    @property
    def together(self) -> float:
        """All parts."""
        return sum(self.microseconds.values())
