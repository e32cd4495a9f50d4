"""Cross checks of who may ask: tenants and certificates that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from stackplan.guard import handover_path
from stackplan.settings import Settings


def guard_problems(settings: Settings) -> list[str]:
    """Every contradiction among tenants, keys, certificates and sockets."""
    return [*_tenants(settings), *_keys(settings), *_tls(settings), *_sockets(settings)]


def _tenants(settings: Settings) -> Iterator[str]:
    served = {name for model in settings.models for name in (model.name, *model.aliases)}
    served |= {adapter.name for model in settings.models for adapter in model.adapters}
    classes = [each.name for each in settings.router.admission.classes]
    seen: dict[str, int] = {}
    for index, tenant in enumerate(settings.edge.tenants):
        where = f"stack_edge.tenants[{index}]"
        if seen.setdefault(tenant.name, index) != index:
            yield f"{where}.name: {tenant.name!r} was found before: each tenant has its own name; rename one"
        for name in sorted(set(tenant.models) - served):
            yield f"{where}.models: {name!r} was found: allowed are names in stack_models; correct it"
        if tenant.priority_class and tenant.priority_class not in classes:
            yield (
                f"{where}.priority_class: {tenant.priority_class!r} was found: allowed are the names in "
                f"stack_router.admission.classes ({', '.join(classes) or 'none'}); correct it"
            )


def _keys(settings: Settings) -> Iterator[str]:
    seen: dict[str, int] = {}
    for index, tenant in enumerate(settings.edge.tenants):
        for at, digest in enumerate(tenant.key_hashes):
            if seen.setdefault(digest, index) != index:
                yield (
                    f"stack_edge.tenants[{index}].key_hashes[{at}]: the digest of stack_edge.tenants[{seen[digest]}] "
                    "was found: a key belongs to one tenant; make another with scripts/key"
                )


def _tls(settings: Settings) -> Iterator[str]:
    tls, where = settings.edge.tls, "stack_edge.tls"
    served = bool(tls.certificate or tls.self_signed)
    if tls.certificate and tls.self_signed:
        yield f"{where}.self_signed: true was found with a certificate: one of both is allowed; remove one"
    if tls.redirect_port and not served:
        yield f"{where}.redirect_port: {tls.redirect_port} was found: it needs a certificate; name one or remove it"
    if tls.acme_responder and not tls.redirect_port:
        yield f"{where}.acme_responder: it was found without redirect_port: it is asked there; set redirect_port: 80"


def _sockets(settings: Settings) -> Iterator[str]:
    path = settings.edge.runtime_socket
    if path == handover_path(path):
        yield (
            f"stack_edge.runtime_socket: {path!r} was found: that file is where a reload hands over: any other name is "
            "allowed; rename it"
        )
