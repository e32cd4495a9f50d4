"""`/v1/models` over the whole fleet: what a client may put in `model`, and is served if it does.

Names come from the settings; adapters that somebody loaded into a running engine are read from the engines' own lists,
off the request path. Of an adapter only what all its model's usable engines hold is offered: any of them may be asked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from router.errors import Refused, shown
from router.fleet import EngineSnapshot, State

OWNER = "ironrack"
_MOST_ADAPTERS = 1000  # of one engine
_LONGEST_NAME = 128

Engines = Sequence[EngineSnapshot]
Snapshot = Callable[[], Iterable[EngineSnapshot]]
Allows = Callable[[str, str, str], bool]


@dataclass(frozen=True, slots=True)
class Offer:
    """A configured model: other names for the same thing, and the adapters its engines load when they start."""

    name: str
    aliases: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one engine's own list says: adapters beside its model, and how many tokens fit into it, 0 for unknown."""

    adapters: frozenset[str] = frozenset()
    max_model_len: int = 0


class _Card(msgspec.Struct):
    id: str = ""
    parent: str | None = None
    max_model_len: int | None = None


class _Cards(msgspec.Struct):
    data: list[_Card] = []


_CARDS = msgspec.json.Decoder(_Cards)


def read_cards(octets: bytes) -> Learnt | None:
    """Read an engine's `/v1/models`; None for anything else."""
    try:
        cards = _CARDS.decode(octets).data
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    names = [card.id for card in cards if card.parent and 0 < len(card.id) <= _LONGEST_NAME]
    longest = max((card.max_model_len or 0 for card in cards if not card.parent), default=0)
    return Learnt(frozenset(names[:_MOST_ADAPTERS]), longest)


class Catalogue:
    """Everything that can be asked for. `allows`: whether a tenant may use a model (or at least an adapter of it)."""

    def __init__(
        self,
        offers: Iterable[Offer],
        engines: Snapshot,
        created: int,
        allows: Allows = lambda tenant, model, adapter: True,
    ) -> None:
        self._engines = engines
        self._created = created
        self._allows = allows
        self._learnt: dict[str, Learnt] = {}
        self.configure(offers)

    def configure(self, offers: Iterable[Offer]) -> None:
        """Take over other models; what was learnt of engines stays, until they are looked at again."""
        self._offers = tuple(offers)
        taken = {name for offer in self._offers for name in (offer.name, *offer.aliases, *offer.adapters)}
        self._taken = frozenset(taken)

    def learn(self, engine: str, learnt: Learnt) -> bool:
        """Take over what an engine says of itself. Return whether that is news."""
        if self._learnt.get(engine) == learnt:
            return False
        self._learnt[engine] = learnt
        return True

    def keep_only(self, engines: Iterable[str]) -> None:
        """Forget engines that are gone."""
        kept = set(engines)
        self._learnt = {name: learnt for name, learnt in self._learnt.items() if name in kept}

    def found(self) -> Mapping[str, str]:
        """Return adapters that the settings do not name but the engines hold: adapter → model."""
        engines = tuple(self._engines())
        return {adapter: offer.name for offer in self._offers for adapter in self._loaded(offer, engines)}

    def listed(self, tenant: str) -> list[dict[str, Any]]:
        """Return OpenAI's model objects: what is servable, and marked `ready: false` what is still starting."""
        engines = tuple(self._engines())
        servable = {engine.model for engine in engines if engine.available}
        starting = {engine.model for engine in engines if engine.state is State.STARTING}
        return [
            card if offer.name in servable else card | {"ready": False}
            for offer in self._offers
            if offer.name in servable | starting
            for card in self._cards(offer, tenant, engines)
        ]

    def one(self, tenant: str, name: str) -> dict[str, Any]:
        """Return one model object. Raises Refused (404) for a name that `tenant` would not find in the list."""
        found = next((card for card in self.listed(tenant) if card["id"] == name), None)
        if found is None:
            message = f"model: {shown(name)} is not served here: GET /v1/models lists what is"
            raise Refused(404, "not_found_error", message, param="model", code="model_not_found")
        return found

    def _cards(self, offer: Offer, tenant: str, engines: Engines) -> Iterator[dict[str, Any]]:
        """The model itself, then its other names, then its adapters, in vLLM's words."""
        about: dict[str, Any] = {"object": "model", "created": self._created, "owned_by": OWNER}
        longest = self._longest(offer, engines)
        about |= {"max_model_len": longest} if longest else {}
        if self._allows(tenant, offer.name, ""):
            yield {"id": offer.name, **about}
        for name in offer.aliases:
            if self._allows(tenant, offer.name, name):
                yield {"id": name, **about, "root": offer.name, "parent": None}
        for name in (*offer.adapters, *self._loaded(offer, engines)):
            if self._allows(tenant, offer.name, name):
                yield {"id": name, **about, "root": name, "parent": offer.name}

    def _loaded(self, offer: Offer, engines: Engines) -> list[str]:
        """Adapters of no configured name, which every usable engine of the model holds."""
        usable = [engine.name for engine in engines if engine.model == offer.name and engine.available]
        held = [self._learnt.get(name, Learnt()).adapters for name in usable]
        return sorted(frozenset.intersection(*held) - self._taken) if held else []

    def _longest(self, offer: Offer, engines: Engines) -> int:
        """What fits into every engine of the model that told; 0 when none did."""
        mine = (self._learnt.get(engine.name, Learnt()) for engine in engines if engine.model == offer.name)
        return min((learnt.max_model_len for learnt in mine if learnt.max_model_len), default=0)
