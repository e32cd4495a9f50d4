"""Refusals in vLLM's words and shape."""

_TYPES = {400: "BadRequestError", 404: "NotFoundError", 429: "TooManyRequestsError", 503: "ServiceUnavailableError"}


class ApiError(Exception):
    """A request this engine does not serve: an HTTP status and a message for its author."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def body(self) -> dict[str, object]:
        """The error as vLLM writes it."""
        kind = _TYPES.get(self.status, "InternalServerError")
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.status}}
