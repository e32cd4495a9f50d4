"""From what an operator wants to what runs where: settings, checks, placement, services and their configurations.

Everything here is a pure function of its arguments: no files, no network, no Ansible, no Docker.
"""

from stackplan.compose import compose_project
from stackplan.configs import edge_config, router_config, router_configs
from stackplan.gpu_hosts import gpu_counters
from stackplan.grafana import grafana_boards
from stackplan.guard import edge_secrets
from stackplan.observe import observe_configs, observe_secrets
from stackplan.offline import offline
from stackplan.plan import PlanError, plan, problems

__all__ = [
    "PlanError",
    "compose_project",
    "edge_config",
    "edge_secrets",
    "gpu_counters",
    "grafana_boards",
    "observe_configs",
    "observe_secrets",
    "offline",
    "plan",
    "problems",
    "router_config",
    "router_configs",
]
