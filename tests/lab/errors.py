"""The one kind of failure a person sees."""


class LabError(Exception):
    """What was found, what is needed, and what to do: one line each."""
