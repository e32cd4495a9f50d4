"""Benchmarks: `python -m tests.bench overhead|quality|memory|faults`; docs/performance.md explains."""
