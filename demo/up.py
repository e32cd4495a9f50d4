"""From a bare machine to a conversation: Docker, images, model, the real playbook, six turns."""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Sequence

import openai

from demo import conversation, deployed, docker, freshness, images, local_settings, model, playbook, preflight
from demo.console import Console, StepError
from demo.conversation import Turn
from demo.deployed import Stack

WITHOUT_HEADER = conversation.QUESTIONS[:2]


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line of scripts/up."""
    parser = argparse.ArgumentParser(prog="scripts/up", description=__doc__)
    parser.add_argument("--model", metavar="OWNER/NAME", help="a model from the hub instead of the tiny one made here")
    parser.add_argument("--port", type=int, default=8080, help="where the endpoint listens (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Do it all; the last line on stdout is one JSON object, the exit status 1 when anything failed."""
    asked = arguments(argv)
    console = Console()
    try:
        stack = deploy(console, asked)
        report = talk(console, stack)
    except (StepError, openai.OpenAIError) as error:
        sys.stderr.write(f"scripts/up: {error}\n")
        return 1
    console.lines(json.dumps(report))
    return 0


def deploy(console: Console, asked: argparse.Namespace) -> Stack:
    """Everything up to a stack that the playbook has verified."""
    preflight.check(asked.port)
    if not docker.answers():
        with console.step("Install Docker and Compose"):
            playbook.run(console, "prepare")
    provided = images.provide(console)
    if asked.model:
        served = {"name": asked.model.split("/")[-1].lower(), "source": asked.model}
    else:
        served = {"name": model.TINY, "source": str(model.ensure_tiny(console, provided.references["engine"]))}
    local_settings.write(local_settings.settings(provided, served, asked.port))
    if freshness.is_current():
        console.say("Nothing was edited since the last deployment and every service is healthy: left as it is")
    else:
        with console.step("Deploy: ansible-playbook -i inventories/demo playbooks/site.yml"):
            playbook.run(console, "site")
        freshness.remember()
    return deployed.read(asked.port)


def talk(console: Console, stack: Stack) -> dict[str, object]:
    """Hold the conversation and show each turn; the report for the last line."""
    salt = uuid.uuid4().hex[:12]
    console.say(f"A conversation of six turns with {stack.model} at {stack.endpoint}")
    console.lines(_row("turn", "served by", "why", "first token", "prompt", "from cache"))
    turns = _show(console, stack, f"demo-{salt}", salt, conversation.QUESTIONS)
    ratio = round(conversation.hit_ratio(turns), 3)
    console.say(f"{ratio:.0%} of the prompt tokens came from vLLM's prefix cache. Once more without a session header:")
    _show(console, stack, None, uuid.uuid4().hex[:12], WITHOUT_HEADER)
    return {
        "endpoint": stack.endpoint,
        "model": stack.model,
        "engines": [{"name": engine.name, "url": engine.url} for engine in stack.engines],
        "prometheus": stack.prometheus,
        "turns": [{"served_by": turn.served_by, "reason": turn.reason, "ttft_ms": turn.ttft_ms} for turn in turns],
        "prefix_hit_ratio": ratio,
    }


def _show(console: Console, stack: Stack, session: str | None, salt: str, questions: Sequence[str]) -> list[Turn]:
    turns: list[Turn] = []
    for number, turn in enumerate(conversation.hold(stack, session, salt, questions), start=1):
        turns.append(turn)
        share = f"{turn.cached_tokens} ({turn.cached_tokens / max(1, turn.prompt_tokens):.0%})"
        console.lines(
            _row(str(number), turn.served_by, turn.reason, f"{turn.ttft_ms:.0f} ms", str(turn.prompt_tokens), share)
        )
    return turns


def _row(*cells: str) -> str:
    widths = (4, 20, 9, 11, 7, 12)
    return "         " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
