"""Packages: what apt itself would fetch for a host that has nothing, kept as a flat repository that any apt reads."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from bundle import index, program, sums
from bundle.folder import Folder
from bundle.manifest import BundleError, Packages
from bundle.request import Platform, Request, Source, asked

SECONDS = 60
CONFIGURATION = """Dir "{root}/";
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Etc "{root}/etc";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/etc/sources.list.d";
Dir::Etc::preferences "{root}/etc/preferences";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
"""


def stage(folder: Folder, request: Request) -> list[str]:
    """Fetch the packages of every platform that are not in the bundle; return the platforms."""
    return [platform.need.platform for platform in request.platforms if _one(folder, platform, request.refresh)]


def _one(folder: Folder, platform: Platform, refresh: bool) -> bool:
    name, question = platform.need.platform, asked(platform.model_dump(exclude={"need": {"hosts"}}))
    if not refresh and folder.has("packages", name, question):
        return False
    scratch = folder.scratch(f"packages-{name}")
    _prepare(scratch, platform)
    apt = ["apt-get", "--config-file", str(scratch / "apt.conf"), "--quiet", "--yes"]
    program.run([*apt, "update"])
    program.run(
        [*apt, "--download-only", "install", *platform.need.packages], env={"DEBIAN_FRONTEND": "noninteractive"}
    )
    files = _repository(scratch / "cache" / "archives", folder.root / "packages" / name, name)
    folder.add(
        Packages(
            name=name,
            purpose=f"what hosts with {name} install: {', '.join(platform.need.hosts) or 'none yet'}",
            asked=question,
            files=sums.listed(folder.root, files, " ".join(sorted({source.uris for source in platform.sources}))),
            folder=f"packages/{name}",
            packages=platform.need.packages,
        )
    )
    shutil.rmtree(scratch)
    return True


def _prepare(scratch: Path, platform: Platform) -> None:
    for name in ("state/lists/partial", "cache/archives/partial", "etc/sources.list.d", "etc/apt.conf.d"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    (scratch / "status").write_text("")
    architecture = platform.need.platform.rsplit("-", 1)[1]
    root = scratch.resolve()
    (scratch / "apt.conf").write_text(CONFIGURATION.format(root=root, architecture=architecture))
    (scratch / "etc" / "preferences").write_text("\n".join([*map(_preference, platform.sources), platform.preferences]))
    for number, source in enumerate(platform.sources):
        key = _key(source.key, root / f"key-{number}")
        (scratch / "etc" / "sources.list.d" / f"{number}.sources").write_text(paragraph(source, key))


def paragraph(source: Source, key: str) -> str:
    """One package source as apt reads it."""
    lines = ["Types: deb", f"URIs: {source.uris}", f"Suites: {source.suites}"]
    lines += [f"Components: {source.components}"] if source.components else []
    return "\n".join([*lines, f"Signed-By: {key}" if key else "Trusted: yes", ""])


def _preference(source: Source) -> str:
    if not source.only:
        return ""
    release = f"Pin: release n={source.suites.split()[0]}"
    return (
        f"Package: {' '.join(source.only)}\n{release}\nPin-Priority: 990\n\nPackage: *\n{release}\nPin-Priority: -1\n"
    )


def _key(key: str, path: Path) -> str:
    """A keyring's path; one at an address is fetched first."""
    if not key:
        return ""
    if key.startswith("/"):
        if not Path(key).exists():
            raise BundleError(
                [f"{key}: not on this machine: the keyring of a package source is needed; install its package"]
            )
        return key
    try:
        with urllib.request.urlopen(key, timeout=SECONDS) as answer:
            data: bytes = answer.read()
    except OSError as error:
        raise BundleError(
            [f"{key}: {error}: the key of a package source is needed; look whether it can be reached"]
        ) from None
    # apt tells the two forms of a key apart by the file's name.
    path = path.with_suffix(".asc" if data.startswith(b"-----") else ".gpg")
    path.write_bytes(data)
    return str(path)


def _repository(archives: Path, target: Path, platform: str) -> list[Path]:
    """The packages in their final place, with the two files that make it a repository."""
    shutil.rmtree(target, ignore_errors=True)  # mostly there is none
    target.mkdir(parents=True)
    kept = [
        Path(shutil.move(path, target / path.name.replace("%3a", ":").replace(":", "_"))) for path in _debs(archives)
    ]
    text = index.packages((_control(path), _fields(path)) for path in kept)
    (target / "Packages").write_text(text)
    (target / "Release").write_text(index.release(text, platform))
    return [*kept, target / "Packages", target / "Release"]


def _debs(archives: Path) -> Sequence[Path]:
    return sorted(archives.glob("*.deb"))


def _control(path: Path) -> str:
    return program.run(["dpkg-deb", "--field", str(path)])


def _fields(path: Path) -> dict[str, str | int]:
    return {"Filename": f"./{path.name}", "Size": path.stat().st_size, "SHA256": sums.sha256(path)}
