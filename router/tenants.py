"""What each tenant may do: which models, how many tokens a minute, in which class. Pure; time is passed in.

Tenants come from the configuration, so there are never more of them than it names; whoever it does not name may do
everything. Tokens are a bucket that holds one minute's worth and fills evenly. A request pays its estimated prompt when
it comes; the answer is paid when it is over, and may leave the bucket in debt.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.errors import ModelNotAllowed, TokensSpent


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """One tenant. `models` empty: all; `tokens_per_minute` 0: no limit; `priority_class` empty: the first one."""

    name: str
    models: frozenset[str] = frozenset()
    tokens_per_minute: int = 0
    priority_class: str = ""


class _Bucket:
    """Tokens that may be spent at once: a minute's worth at most, less than nothing after an expensive answer."""

    __slots__ = ("level", "per_minute", "seen_at")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self.level = float(per_minute)
        self.seen_at = now

    def fill(self, now: float) -> None:
        """Take over the time that passed."""
        if now > self.seen_at:
            self.level = min(self.level + (now - self.seen_at) * self.per_minute / 60.0, float(self.per_minute))
            self.seen_at = now

    def resize(self, per_minute: int, now: float) -> None:
        """Another rate from now on; the share that is left stays the same."""
        self.fill(now)
        self.level *= per_minute / self.per_minute
        self.per_minute = per_minute


class Tenants:
    """The configured tenants and what is left of their tokens."""

    def __init__(self, settings: Iterable[TenantSettings] = (), now: float = 0.0) -> None:
        self._tenants: Mapping[str, TenantSettings] = {}
        self._buckets: dict[str, _Bucket] = {}
        self.configure(settings, now)

    def configure(self, settings: Iterable[TenantSettings], now: float) -> None:
        """Take over new settings; who stays keeps the share of a minute's tokens that was left."""
        self._tenants = {tenant.name: tenant for tenant in settings}
        old, self._buckets = self._buckets, {}
        for tenant in self._tenants.values():
            if tenant.tokens_per_minute > 0:
                bucket = old.get(tenant.name) or _Bucket(tenant.tokens_per_minute, now)
                bucket.resize(tenant.tokens_per_minute, now)
                self._buckets[tenant.name] = bucket

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._tenants

    @property
    def names(self) -> Iterable[str]:
        """The configured names."""
        return self._tenants.keys()

    def allows(self, tenant: str, model: str, adapter: str = "") -> bool:
        """Return whether `tenant` may use `model`, or at least the `adapter` of it that was asked for."""
        known = self._tenants.get(tenant)
        return known is None or not known.models or model in known.models or (adapter != "" and adapter in known.models)

    def check(self, tenant: str, model: str, adapter: str = "") -> None:
        """Raise ModelNotAllowed (403) for a model that `tenant` may not use."""
        if not self.allows(tenant, model, adapter):
            raise ModelNotAllowed(tenant, adapter or model)

    def limited(self, tenant: str) -> bool:
        """Return whether `tenant` may not use everything."""
        known = self._tenants.get(tenant)
        return known is not None and bool(known.models)

    def class_of(self, tenant: str) -> str:
        """Return the class `tenant` has, empty when it has none of its own."""
        known = self._tenants.get(tenant)
        return known.priority_class if known is not None else ""

    def take(self, tenant: str, tokens: int, now: float) -> None:
        """Pay for a prompt. Raises TokensSpent (429) with the exact time to come back.

        A prompt longer than a minute's worth passes when the bucket is full; else it could never pass.
        """
        bucket = self._buckets.get(tenant)
        if bucket is None:
            return
        bucket.fill(now)
        missing = min(tokens, bucket.per_minute) - bucket.level
        if missing > 1e-6:
            raise TokensSpent(tenant, bucket.per_minute, max(1, math.ceil(missing * 60.0 / bucket.per_minute)))
        bucket.level -= tokens

    def settle(self, tenant: str, tokens: int, now: float) -> None:
        """Pay what a request took beyond what was paid before; less than nothing gives back."""
        bucket = self._buckets.get(tenant)
        if bucket is not None:
            bucket.fill(now)
            bucket.level = min(bucket.level - tokens, float(bucket.per_minute))

    def left(self) -> Mapping[str, float]:
        """Return the tokens left of each limited tenant, as of its last request."""
        return {name: bucket.level for name, bucket in self._buckets.items()}
