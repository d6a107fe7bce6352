"""Adapters register themselves; a broken one leaves the others alone."""

import importlib.metadata
import re
from importlib import import_module
from pathlib import Path

from fastapi import APIRouter

from tests.conftest import FakePredictor
from zim_plugins.server import Action, Extension, create_app
from zim_plugins.server.extensions import ENTRY_POINT_GROUP, installed_extensions

ROOT = Path(__file__).parents[2]


def register_echo(services):
    router = APIRouter(prefix="/api")

    @router.get("/images/{image_id}/echo")
    async def echo(image_id: str) -> dict[str, str]:
        """Say it again."""
        return {"said": image_id}

    return Extension("echo", router, (Action(name="echo", label="E", hint="e", path="/api/images/{image_id}/echo"),))


def register_nothing(services):
    raise ImportError("no such thing")


def test_routes_and_actions_of_an_adapter(clients):
    client = clients(extensions=[register_nothing, register_echo])
    assert client.get("/api/images/7/echo").json() == {"said": "7"}
    info = client.get("/api/info").json()
    assert [one["name"] for one in info["actions"]] == ["echo"]
    assert "no such thing" in info["unavailable"][0]


def test_entry_points_are_loaded_and_broken_ones_named(monkeypatch):
    points = [
        importlib.metadata.EntryPoint("a", "tests.server.test_extensions:register_echo", ENTRY_POINT_GROUP),
        importlib.metadata.EntryPoint("b", "no_such_module:register", ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr("zim_plugins.server.extensions.entry_points", lambda group: points)
    found, broken = installed_extensions()
    assert [one.__name__ for one in found] == ["register_echo"]
    assert broken == ["b: No module named 'no_such_module'"]
    assert create_app(FakePredictor()).state.services


def test_the_project_s_own_are_declared():
    section = (ROOT / "pyproject.toml").read_text().split(f'[project.entry-points."{ENTRY_POINT_GROUP}"]')[1]
    declared = re.findall(r'^([\w-]+) = "([\w.]+):(\w+)"', section.split("\n[")[0], flags=re.MULTILINE)
    assert "inpaint" in [name for name, _, _ in declared]
    for _, module, name in declared:
        assert callable(getattr(import_module(module), name))


def register_fault(services):
    router = APIRouter(prefix="/api")

    @router.get("/fault")
    async def fault() -> None:
        """Fail as a bug does."""
        raise KeyError("/a/path/of/the/server")

    return Extension("fault", router)


def test_a_bug_is_answered_in_one_line_that_shows_nothing(clients):
    answer = clients(extensions=[register_fault]).get("/api/fault")
    assert answer.status_code == 500
    assert "log" in answer.json()["detail"] and "path" not in answer.text
