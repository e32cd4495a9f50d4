# Every service of a stack in one image: a scenario loads it once. Real HAProxy, Prometheus and router; a simulated engine.
ARG BASE_IMAGE=debian:13-slim
FROM ${BASE_IMAGE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates haproxy prometheus prometheus-alertmanager prometheus-node-exporter python3 python3-venv wget \
    && rm -rf /var/lib/apt/lists/* \
    && ln -s /usr/bin/prometheus-node-exporter /usr/local/bin/node_exporter \
    && ln -s /usr/bin/prometheus-alertmanager /usr/local/bin/alertmanager \
    && useradd --system --uid 10001 ironrack \
    && mkdir -p /prometheus /alertmanager && chown 65534:65534 /prometheus /alertmanager
COPY pyproject.toml uv.lock /app/
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir 'uv==0.9.*' \
    && /opt/uv/bin/uv export --project /app --frozen --no-dev --no-emit-project --quiet --output-file /app/requirements.txt \
    && /opt/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/router \
    && /opt/uv/bin/uv pip install --quiet --python /opt/router/bin/python --no-cache --require-hashes -r /app/requirements.txt \
    && rm -rf /opt/uv
COPY router /app/router
COPY tests /app/tests
COPY molecule/shared/images/vllm /usr/local/bin/vllm
ENV PATH=/opt/router/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
