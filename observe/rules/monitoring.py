"""Whether what watches is itself well: targets, and how those fail that fail."""

from __future__ import annotations

from observe.rules.parts import Group, Record
from observe.rules.watch import Watch

# A target that used this share of its time and failed is one that hangs.
_SHARE = 0.9


def monitoring(watch: Watch) -> tuple[Group, ...]:
    """The group that reads what Prometheus writes about its own scrapes."""
    by = "by (job, host, service)"
    down = f"max {by} (up) == 0"
    # Without the extra scrape metrics the time limit is the one of the configuration.
    limit = f"(scrape_timeout_seconds or up * 0 + {min(watch.scrape_seconds, 10)})"
    hanging = f"max {by} (scrape_duration_seconds >= {_SHARE} * {limit})"
    # A body was read, or some lines of it, and still the scrape failed.
    garbage = f"max {by} (scrape_body_size_bytes > 0 or scrape_samples_scraped > 0)"
    hangs = f"({down}) and {hanging}"
    mumbles = f"(({down}) and {garbage}) unless {hanging}"
    plain = f"({down}) unless {hanging} unless {garbage}"
    return (
        Group(
            "monitoring",
            15,
            (
                Record("target_up", f"max {by} (up)"),
                *(
                    Record("target_failing", f"({expr}) * 0 + 1", {"kind": kind})
                    for kind, expr in (("hanging", hangs), ("garbage", mumbles), ("down", plain))
                ),
                Record("scrape_seconds:max", "max by (job) (scrape_duration_seconds)"),
                Record("scrape_samples", "sum by (job) (scrape_samples_scraped)"),
            ),
        ),
    )
