"""Preflight: a host's raw facts and the plan in, findings out. Pure: gathering is the role `preflight`'s."""

from hostplan.preflight.evaluate import Rules, evaluate
from hostplan.preflight.finding import Finding, Level

__all__ = ["Finding", "Level", "Rules", "evaluate"]
