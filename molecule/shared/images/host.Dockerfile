# A whole server as far as a role can tell: Debian 12 or 13 with systemd, and nothing a fresh server would not have.
ARG BASE_IMAGE=debian:12-slim
FROM ${BASE_IMAGE} AS bare
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates dbus iproute2 kmod procps python3 python3-apt systemd systemd-sysv \
    && rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d \
    && systemctl mask getty.target console-getty.service systemd-udevd.service systemd-logind.service \
        systemd-journald-audit.socket sys-kernel-debug.mount sys-kernel-tracing.mount
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]

# The same with what the role docker installs, for scenarios that are about what runs on top.
FROM bare AS docker
COPY trixie.sources /etc/apt/sources.list.d/trixie.sources
COPY trixie.preferences /etc/apt/preferences.d/trixie
RUN apt-get update \
    && apt-get install -y --no-install-recommends docker.io iptables docker-compose nftables \
    && rm -rf /var/lib/apt/lists/*

# Debian 13 has Compose v2 of its own.
FROM bare AS docker-13
RUN apt-get update \
    && apt-get install -y --no-install-recommends docker.io docker-cli iptables docker-compose nftables \
    && rm -rf /var/lib/apt/lists/*
