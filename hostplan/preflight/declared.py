"""What an operator says of a host's GPUs beside their number: another card is a mistake or a swap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hostplan.gpus import Gpu
from hostplan.preflight import boards
from hostplan.preflight.finding import Finding, ok, refused, skipped
from hostplan.preflight.smi import Smi

CHECK = "gpu model"
GIB = 2**30
TOLERANCE = 0.1  # ECC and the driver keep up to a sixteenth; the next size is a quarter away
_MAKERS = {"nvidia", "tesla", "geforce"}


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    memory_gib: float  # 0 where nobody knows
    by_id: bool


def check(facts: Mapping[str, Any], smi: Smi | None, expected: int) -> list[Finding]:
    """`facts["declared"]`: `model`, a part of its name, and `memory_gib`; nothing is judged where nothing is said.

    Of the GPUs that the plan counts with. Without a driver it goes by PCI id: the family in its name, and its memory.
    """
    said = facts.get("declared", {})
    model, memory = str(said.get("model") or ""), float(said.get("memory_gib") or 0)
    if not model and not memory:
        return []
    cards = _cards(facts, smi)[:expected]
    if not cards:
        return [skipped(CHECK, "no GPU to compare with what was declared")]
    wrong = [*_models(cards, model), *_memories(cards, memory)]
    words = ", ".join(filter(None, [model, f"{memory:g} GiB" if memory else ""]))
    return wrong or [ok(CHECK, f"{words} as declared{' (by PCI id)' if cards[0].by_id else ''}")]


def _cards(facts: Mapping[str, Any], smi: Smi | None) -> list[_Card]:
    if smi:
        return [_Card(gpu.name, gpu.memory_bytes / GIB, by_id=False) for gpu in smi.gpus]
    return [_Card(_name(gpu), gpu.board.memory_gib, by_id=True) for gpu in boards.of(facts)]


def _name(gpu: Gpu) -> str:
    """An empty text where the id says no more than a generation."""
    return gpu.board.name if gpu.board.memory_gib else ""


def _models(cards: Sequence[_Card], model: str) -> list[Finding]:
    names = dict.fromkeys(card.name for card in cards if model and card.name and not _is(card, model))
    remedy = "correct preflight_gpu_model of this host, or look for who swapped the card"
    return [refused(CHECK, f"{name} was found", f"{model} is declared", remedy) for name in names]


def _is(card: _Card, model: str) -> bool:
    if not card.by_id:
        return model.casefold() in card.name.casefold()
    words = [word for word in model.casefold().split() if word not in _MAKERS]
    return not words or words[0] in card.name.casefold().split()


def _memories(cards: Sequence[_Card], memory: float) -> list[Finding]:
    sizes = dict.fromkeys(
        (card.name, round(card.memory_gib, 1))
        for card in cards
        if memory and card.memory_gib and abs(card.memory_gib - memory) > memory * TOLERANCE
    )
    remedy = "correct preflight_gpu_memory_gib of this host, or look for who swapped the card"
    return [
        refused(CHECK, f"{name or 'a GPU'} with {size:g} GiB was found", f"{memory:g} GiB are declared", remedy)
        for name, size in sizes
    ]
