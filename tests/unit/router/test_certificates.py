"""The end of a certificate, as HAProxy writes it."""

import pytest

from router.certificates import until


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("Filename: /a.pem\nnotBefore: Nov 22 21:37:19 2026 GMT\nnotAfter: Dec 22 21:37:19 2026 GMT\n", 1797975439.0),
        ("Can't display the certificate: Not found or the certificate is a bundle!", None),
        ("notAfter: some day", None),
        ("", None),
    ],
)
def test_end_is_read_or_said_to_be_unknown(said: str, end: float | None) -> None:
    """A text that is not understood is no end: a wrong date would wake somebody for nothing."""
    assert until(said) == end
