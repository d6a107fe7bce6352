"""The REST API as programs know it: its routes, and what each takes, are those of tests/public_api.json."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.conftest import FakePredictor
from zim_plugins.server import create_app

KNOWN = json.loads((Path(__file__).parents[1] / "public_api.json").read_text(encoding="utf-8"))["zim serve"]
ADAPTERS = ("inpaint.server", "medical.server", "nerf_seg.server")


def resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A schema, or what it refers to."""
    name = part.get("$ref", "").rpartition("/")[2]
    return schema["components"]["schemas"][name] if name else part


def routes(schema: dict[str, Any]) -> list[str]:
    """Each route as `METHOD path: fields of its body`; `*` marks those that must be given."""
    found = []
    for path, methods in schema["paths"].items():
        for method, said in methods.items():
            fields: dict[str, bool] = {}
            for query in (one for one in said.get("parameters", []) if one["in"] != "path"):
                fields[f"?{query['name']}"] = query.get("required", False)
            for content in said.get("requestBody", {}).get("content", {}).values():
                body = resolved(schema, content["schema"])
                for name in body.get("properties", {}):
                    fields[name] = fields.get(name, True) and name in body.get("required", [])
            told = ", ".join(name + "*" * required for name, required in fields.items())
            found.append(f"{method.upper()} {path}{': ' if told else ''}{told}")
    return sorted(found)


def test_the_routes_are_those_that_are_known() -> None:
    """A route or field that goes missing breaks programs; a new one is added to tests/public_api.json on purpose."""
    adapters = [import_module(name).register for name in ADAPTERS]
    assert routes(create_app(FakePredictor(), extensions=adapters).openapi()) == KNOWN


def test_each_adapter_of_the_project_is_among_them() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    group = project.partition('[project.entry-points."zim_plugins.server"]')[2].partition("[")[0]
    named = {line.partition('"')[2].partition(":")[0] for line in group.splitlines() if "=" in line}
    assert named == set(ADAPTERS)
