"""What a person is told instead of a screen."""


class StatusError(Exception):
    """Nothing can be shown: what was found, what is needed, what to do."""
