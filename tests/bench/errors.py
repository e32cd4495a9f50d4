"""What a benchmark cannot do."""


class BenchError(Exception):
    """Something outside is missing or did not work: `where: what was found: what to do`."""
