"""`zim doctor`: what is installed, what is missing, and the command that mends it."""

import importlib
import importlib.metadata
import importlib.util
import json
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement

from zim_plugins.cli.runtime import DONE, FAILED, CommandArgs, one_line

DISTRIBUTION = "zim-plugins"
NEEDS_SYSTEM = {"nerfstudio": "open3d"}
"""Modules that come with a requirement and need libraries of the system, by the requirement's name."""
SYSTEM_PACKAGES = {
    "libusb-1.0": "libusb-1.0-0",
    "libGL": "libgl1",
    "libEGL": "libegl1",
    "libX11": "libx11-6",
    "libgomp": "libgomp1",
}
"""Packages of Debian and Ubuntu by the beginning of the library's name."""

NEWEST_PYTHON = {"nerf": (3, 12), "all": (3, 12)}
"""The newest Python for which all packages of an extra have builds, where later ones want compilers; numpy 1 is one."""


@dataclass(frozen=True)
class DoctorArgs(CommandArgs):
    """Say what is installed, what is missing, and the command that mends it."""

    json: bool = False
    """Print one JSON record instead."""


@dataclass(frozen=True)
class Need:
    """One requirement of this distribution and what is installed of it."""

    name: str
    """Distribution that is required."""
    wanted: str
    """Version specifier; empty where any version will do."""
    installed: str | None
    """Version found; None where there is none."""
    is_met: bool
    """Whether the installed version satisfies the specifier."""


def main(args: DoctorArgs) -> int:
    """Examine and report."""
    report = examine()
    if args.json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        for line in _lines(report):
            print(line)
    return DONE if report["healthy"] else FAILED


def examine() -> dict:
    """All findings as JSON-ready values."""
    from zim_plugins import __version__
    from zim_plugins.cli.commands.models import describe_checkpoint
    from zim_plugins.core.checkpoints import records as checkpoints

    core = needs()
    extras = {name: _extra(name, needs(name)) for name in extra_names()}
    devices = _devices()
    records = [describe_checkpoint(record) for record in checkpoints.CHECKPOINTS.values()]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "core": [vars(need) for need in core],
        "extras": extras,
        "devices": devices,
        "checkpoints": records,
        "checkpoint_folder": str(checkpoints.cache_folder()),
        "network_allowed": not checkpoints.is_offline(),
        "remedies": _remedies(core),
        "healthy": all(need.is_met for need in core) and any(record["path"] for record in records),
    }


def extra_names() -> list[str]:
    """The extras of the installed distribution, `all` last; none where it is not installed."""
    try:
        names = importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return sorted(names, key=lambda name: (name == "all", name))


def needs(extra: str = "") -> list[Need]:
    """Return what the core, or one extra, requires on this Python and platform; extras of extras are followed."""
    found = {requirement.name: requirement for requirement in _requirements(extra, set())}
    return [_need(requirement) for requirement in found.values()]


def _requirements(extra: str, followed: set[str]) -> Iterator[Requirement]:
    followed.add(extra)
    try:
        texts = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": extra}):
            continue
        if extra and (marker is None or marker.evaluate({"extra": ""})):
            continue  # of the core
        if requirement.name == DISTRIBUTION:
            for other in sorted(requirement.extras - followed):
                yield from _requirements(other, followed)
        else:
            yield requirement


def _need(requirement: Requirement) -> Need:
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        installed = None
    is_met = installed is not None and requirement.specifier.contains(installed, prereleases=True)
    return Need(requirement.name, str(requirement.specifier), installed, is_met)


def _extra(name: str, found: list[Need]) -> dict[str, object]:
    missing = [need.name + need.wanted for need in found if not need.is_met]
    broken = {} if missing else _broken([need.name for need in found])
    command = _install(name) if missing else "; ".join(dict.fromkeys(broken.values()))
    return {
        "complete": not missing and not broken,
        "installed": {need.name: need.installed for need in found if need.installed is not None},
        "missing": missing,
        "broken": list(broken),
        "command": command or None,
    }


def _install(extra: str) -> str:
    """Return the command that installs an extra, and the Python it wants where this one is too new."""
    newest = NEWEST_PYTHON.get(extra, sys.version_info[:2])
    if sys.version_info[:2] <= newest:
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    return f"pip install -e '.[{extra}]' in the clone and an environment of Python {newest[0]}.{newest[1]}"


def _broken(names: list[str]) -> dict[str, str]:
    """Return the modules that are installed but do not load, each with what mends it."""
    broken = {}
    for module in (NEEDS_SYSTEM[name] for name in names if name in NEEDS_SYSTEM):
        if importlib.util.find_spec(module) is None:
            continue
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:
            broken[f"{module} does not load: {one_line(error)}"] = _system_remedy(module, str(error))
    return broken


def _system_remedy(module: str, error: str) -> str:
    """Return what gives a module the library of the system that its error names.

    >>> _system_remedy("open3d", "libusb-1.0.so.0: cannot open shared object file: No such file or directory")
    'apt-get install libusb-1.0-0'
    """
    found = re.search(r"(lib[\w.+-]+?)\.so[\d.]*: cannot open shared object", error)
    if found is None:
        return f"pip install --force-reinstall {module}"
    package = SYSTEM_PACKAGES.get(found[1])
    return f"apt-get install {package}" if package else f"install the system's {found[1]}"


def _devices() -> dict[str, object]:
    """Return what torch and onnxruntime can compute on; the reason where one of them does not load."""
    devices: dict[str, object] = {}
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch": f"does not load: {one_line(error)}"}
    devices["cpu"] = f"{torch.get_num_threads()} threads"
    devices["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices["mps"] = torch.backends.mps.is_available()
    if importlib.util.find_spec("onnxruntime") is not None:
        try:
            import onnxruntime

            devices["onnxruntime"] = onnxruntime.get_available_providers()
        except (ImportError, OSError) as error:
            devices["onnxruntime"] = f"does not load: {one_line(error)}"
    return devices


def _remedies(core: list[Need]) -> list[str]:
    """Commands that mend what the extras alone do not."""
    remedies = []
    if not core:
        remedies.append(f"{DISTRIBUTION} is not installed, only importable: pip install -e . in its folder")
    if any(not need.is_met for need in core):
        remedies.append(f"the core is incomplete: pip install --upgrade {DISTRIBUTION}")
    if _has_both("opencv-python", "opencv-python-headless"):
        remedies.append("opencv-python and opencv-python-headless overwrite one another: pip uninstall opencv-python")
    if _has_both("onnxruntime", "onnxruntime-gpu"):
        remedies.append("onnxruntime and onnxruntime-gpu overwrite one another: pip uninstall onnxruntime")
    return remedies


def _has_both(first: str, second: str) -> bool:
    """Return whether two distributions that write the same folder are installed."""
    return all(_need(Requirement(name)).installed is not None for name in (first, second))


def _lines(report: dict) -> Iterator[str]:
    yield f"zim-plugins {report['version']}, Python {report['python']}, {report['platform']}"
    yield ""
    yield "core"
    for need in report["core"]:
        state = need["installed"] or "MISSING"
        yield f"  {need['name']:<18} {state}" + (
            "" if need["is_met"] else f"  (needs {need['wanted'] or 'any version'})"
        )
    yield ""
    yield "extras"
    for name, extra in report["extras"].items():
        missing = ", ".join(extra["missing"]) if name != "all" else f"{len(extra['missing'])} of the above"
        fault = f"missing: {missing}" if extra["missing"] else "; ".join(extra["broken"])
        state = "complete" if extra["complete"] else f"{extra['command']}  ({fault})"
        yield f"  {name:<18} {state}"
    yield ""
    yield "devices"
    for name, found in report["devices"].items():
        shown = ", ".join(found) if isinstance(found, list) else {True: "yes", False: ""}.get(found, found)
        yield f"  {name:<18} {shown or 'none'}"
    yield ""
    yield f"checkpoints, kept in {report['checkpoint_folder']}"
    for record in report["checkpoints"]:
        yield f"  {record['name']:<18} {record['path'] or record['command']}"
    if not report["network_allowed"]:
        yield "  the network is switched off by HF_HUB_OFFLINE or ZIM_PLUGINS_OFFLINE"
    if report["remedies"]:
        yield ""
        yield "to mend"
        yield from (f"  {remedy}" for remedy in report["remedies"])
