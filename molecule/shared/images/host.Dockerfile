# A whole server as far as a role can tell: Debian 12 or 13 with systemd, and nothing a fresh server would not have.
ARG BASE_IMAGE=debian:12-slim
FROM ${BASE_IMAGE} AS bare
# A host that lives for minutes need not survive a power cut, and nobody reads apt's translations in it.
RUN echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/unsafe-io && echo 'Acquire::Languages "none";' >/etc/apt/apt.conf.d/no-languages
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates dbus iproute2 kmod procps python3 python3-apt systemd systemd-sysv \
    && rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d \
    && systemctl mask getty.target console-getty.service systemd-udevd.service systemd-logind.service \
        systemd-journald-audit.socket sys-kernel-debug.mount sys-kernel-tracing.mount
# Made of the same module texts again and again; a file ending in .pth is what Python reads at each start.
COPY compiled_modules.py /usr/lib/python3/dist-packages/
RUN echo import compiled_modules >/usr/lib/python3/dist-packages/compiled_modules.pth
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]

# The same with what the role docker installs, for scenarios that are about what runs on top. One stage for both releases: a builder
# that is not BuildKit runs every stage before the one that is asked for.
FROM bare AS docker
COPY trixie.sources trixie.preferences /srv/
RUN . /etc/os-release \
    && if [ "$VERSION_ID" = 12 ]; then \
        cp /srv/trixie.sources /etc/apt/sources.list.d/ && cp /srv/trixie.preferences /etc/apt/preferences.d/trixie; \
    else client=docker-cli; fi \
    && apt-get update \
    && apt-get install -y --no-install-recommends docker.io ${client:-} iptables docker-compose nftables \
    && rm -rf /var/lib/apt/lists/* /srv/trixie.*
