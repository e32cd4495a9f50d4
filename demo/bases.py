"""Base images made on the spot: what debootstrap makes of a Debian release, trimmed, with this machine's own CAs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import docker
from demo.catalogue import SUITES
from demo.console import Console, StepError
from demo.paths import CACHE

MIRROR = "http://deb.debian.org/debian"
MIRROR_SECONDS = 10.0
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SCRIPTS = Path("/usr/share/debootstrap/scripts")
AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Programs with a CA list of their own are told to use the system's.
ENVIRONMENT = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
SOURCES = """Types: deb
URIs: {mirror}
Suites: {suite} {suite}-updates
Components: main
Signed-By: {keyring}

Types: deb
URIs: {mirror}-security
Suites: {suite}-security
Components: main
Signed-By: {keyring}
"""
WITHOUT_DOCS = "path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n"


def mirror_answers(mirror: str = MIRROR) -> bool:
    """Whether a Debian mirror has what debootstrap asks of it first: its top folder need not answer anything."""
    try:
        with urllib.request.urlopen(f"{mirror}/dists/{next(iter(SUITES.values()))}/Release", timeout=MIRROR_SECONDS):
            return True
    except OSError:
        return False


def ensure(console: Console, tag: str) -> None:
    """Make the base image `tag` unless it is there; needs root, debootstrap and a Debian mirror."""
    with _alone():
        if docker.has(tag):
            return
        with (
            console.step(f"Make the base image {tag} from Debian's packages"),
            tempfile.TemporaryDirectory(dir=CACHE, prefix="base-") as folder,
        ):
            _bootstrap(console, SUITES[tag], Path(folder))
            _trim(Path(folder), SUITES[tag])
            _trust(console, Path(folder))
            _import(Path(folder), tag)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for whoever makes a base image of this checkout at the moment: then it may be there already."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "bases.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bootstrap(console: Console, suite: str, folder: Path) -> None:
    script = [] if (SCRIPTS / suite).exists() else [str(SCRIPTS / "sid")]
    flags = ["--variant=minbase", "--include=ca-certificates", f"--keyring={KEYRING}"]
    console.stream(["debootstrap", *flags, suite, str(folder), MIRROR, *script], every_seconds=2)


def _trim(folder: Path, suite: str) -> None:
    (folder / "etc/apt/sources.list").unlink(missing_ok=True)
    sources = SOURCES.format(mirror=MIRROR, suite=suite, keyring=KEYRING)
    (folder / "etc/apt/sources.list.d/debian.sources").write_text(sources, encoding="utf-8")
    (folder / "etc/dpkg/dpkg.cfg.d/without-docs").write_text(WITHOUT_DOCS, encoding="utf-8")
    for name in ("var/lib/apt/lists", "var/cache/apt", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(folder / name, ignore_errors=True)  # a suite may come without one of them
    for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (folder / name).mkdir(parents=True)


def _trust(console: Console, folder: Path) -> None:
    for certificate in sorted(AUTHORITIES.glob("*.crt")):
        shutil.copy(certificate, folder / AUTHORITIES.relative_to("/"))
    console.stream(["chroot", str(folder), "update-ca-certificates"], every_seconds=2)


def _import(folder: Path, tag: str) -> None:
    environment = " ".join(f"{name}={BUNDLE}" for name in ENVIRONMENT)
    argv = ["docker", "import", "--change", 'CMD ["bash"]', "--change", f"ENV {environment}", "-", tag]
    with subprocess.Popen(["tar", "-C", str(folder), "-c", "."], stdout=subprocess.PIPE) as tar:
        done = subprocess.run(argv, stdin=tar.stdout, capture_output=True, text=True, check=False)
    if tar.returncode or done.returncode:
        raise StepError(f"docker import: {tag} could not be made: {done.stderr.strip() or 'tar failed'}")
