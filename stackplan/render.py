"""Every file of one host as text: the Compose file and each program's configuration.

Templates come in as text and nothing is written here, so that a render is a function of the plan alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
import yaml

from stackplan.compose import compose_project
from stackplan.configs import edge_config, router_configs
from stackplan.gpu_hosts import counters
from stackplan.observe import observe_configs

_EDGE = ("haproxy.cfg", "spoe.cfg")


def render(plan: Mapping[str, Any], host: str, templates: Mapping[str, str], header: str) -> dict[str, str]:
    """Contents by path below the project's folder.

    `templates` holds haproxy.cfg.j2, spoe.cfg.j2 and the parts they include, by path; `header` opens every YAML file,
    as comment lines.
    """
    kinds = {service["kind"] for service in plan["services"] if service["host"] == host}
    files = {"compose.yml": _text(header, compose_project(plan, host))}
    for name, config in router_configs(plan, host).items():
        files[f"config/{name}/router.yml"] = _text(header, config)
    files |= {path: _text(header, data) for path, data in observe_configs(plan, host).items()}
    if "gpu_exporter" in kinds:
        files["config/gpu-exporter/counters.csv"] = counters()
    if "edge" in kinds:
        edge = render_edge(edge_config(plan, host), templates)
        files |= {f"config/edge/{name}": text for name, text in edge.items()}
    return files


def render_edge(config: Mapping[str, Any], templates: Mapping[str, str]) -> dict[str, str]:
    """haproxy.cfg and spoe.cfg by name; `config` is what `edge_config` gives."""
    environment = _environment(templates)
    return {name: environment.get_template(f"{name}.j2").render(edge_config=config) for name in _EDGE}


def _text(header: str, data: Any) -> str:
    return f"---\n{header}{yaml.dump(data, Dumper=_Indented, sort_keys=False, width=120, allow_unicode=True)}"


def _environment(templates: Mapping[str, str]) -> jinja2.Environment:
    """Jinja2 as Ansible's template lookup uses it, so that both write the same bytes."""
    return jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )


class _Indented(yaml.SafeDumper):
    """List items indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent always; `indentless` is what YAML would allow."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice twice."""
        return True
