"""Cross checks of what observes: receivers, logins and secrets that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from stackplan.observe_settings import Observe, RemoteWrite, Watchdog, Webhook

WEB = "web.yml"  # made by the role, beside the secrets
WHERE = "stack_observe"


def observe_problems(mine: Observe) -> list[str]:
    """Every contradiction in `stack_observe`."""
    hooks: list[tuple[str, Webhook | Watchdog]] = [
        (f"alerts.webhooks[{index}]", hook) for index, hook in enumerate(mine.alerts.webhooks)
    ]
    hooks += [("alerts.watchdog", mine.alerts.watchdog)] if mine.alerts.watchdog else []
    return [
        *(problem for where, hook in hooks for problem in _hook(f"{WHERE}.{where}", hook)),
        *_twice("alerts.webhooks", [hook.name for hook in mine.alerts.webhooks]),
        *_mail(mine),
        *_twice("remote_write", [each.name for each in mine.remote_write]),
        *(problem for index, each in enumerate(mine.remote_write) for problem in _remote(index, each)),
    ]


def _hook(where: str, hook: Webhook | Watchdog) -> Iterator[str]:
    if bool(hook.url) == bool(hook.url_secret):
        found = "both were found" if hook.url else "nothing was found"
        yield f"{where}.url: {found}: exactly one of url and url_secret is allowed; correct it"


def _mail(mine: Observe) -> Iterator[str]:
    mail = mine.alerts.mail
    if mail and bool(mail.username) != bool(mail.password_secret):
        yield (
            f"{WHERE}.alerts.mail.username: {mail.username!r} was found with"
            f"{'' if mail.password_secret else 'out'} password_secret: both or neither are allowed; correct it"
        )


def _remote(index: int, each: RemoteWrite) -> Iterator[str]:
    where = f"{WHERE}.remote_write[{index}]"
    if each.token_secret and each.username:
        yield f"{where}.token_secret: it was found with a username: one way to log in is allowed; remove the other"
    if bool(each.username) != bool(each.password_secret):
        yield f"{where}.username: username and password_secret belong together: both or neither; correct it"


def _twice(where: str, names: list[str]) -> Iterator[str]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"{WHERE}.{where}[{index}].name: {name!r} was found before: each has its own name; rename one"
