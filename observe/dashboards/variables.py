"""The choices at the top of dashboards: the same names everywhere, so that links carry them along."""

from __future__ import annotations

from observe.dashboards.model import Variable

MODEL = Variable("model", "Model", "ironrack:model_engines")
ENGINE = Variable("engine", "Engine", 'ironrack:engine_up{model=~"$model"}')
HOST = Variable("host", "Host", "ironrack:host_up")
TENANT = Variable("tenant", "Tenant", "ironrack:tenant_tokens:rate")

# Selectors that go with them.
OF_MODEL = '{model=~"$model"}'
OF_ENGINE = '{model=~"$model", engine=~"$engine"}'
OF_HOST = '{host=~"$host"}'
