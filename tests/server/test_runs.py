"""Finished runs by the REST API: what is listed, what is given out, and that nothing else is."""

import io
import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from nerf_seg.field.gaussians.formats import ply
from nerf_seg.server import find_runs, register
from zim_plugins.cli.commands.serve import ServeArgs, make_settings
from zim_plugins.cli.runtime import Misuse

from .finished_runs import PLY, VIEWS, write_nerf_run, write_splat_run
from .serving import pixels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_nerf_run(tmp_path / "outputs" / "lego" / "sa3d-zim" / "2026-01-01_000000")
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "object.ply").write_bytes(b"not for others")
    return tmp_path / "outputs"


@pytest.fixture
def client(clients, root):
    return clients(extensions=[register], folders=(root,))


def only_run(client) -> dict:
    (found,) = client.get("/api/runs").json()
    return found


def test_a_run_with_its_views_and_files(client):
    found = only_run(client)
    assert found["name"] == "lego/sa3d-zim/2026-01-01_000000"
    assert found["about"] == "prompted in r_0.png; 2 of 2 views agree"
    assert (found["views"], found["layers"]) == ([*VIEWS], ["overlay", "alpha", "matte", "rgba"])
    assert {one["name"]: one["bytes"] for one in found["files"]}["object_mesh.ply"] == len(PLY)
    place = f"/api/runs/{found['id']}"
    alpha = client.get(f"{place}/views/1/alpha")
    assert alpha.headers["content-type"] == "image/png" and pixels(alpha.content)[30, 35] == 255
    assert pixels(client.get(f"{place}/views/0/rgba").content).shape == (60, 80, 4)
    cloud = client.get(f"{place}/files/object_pointcloud.ply")
    assert cloud.content == PLY
    assert 'filename="2026-01-01_000000_object_pointcloud.ply"' in cloud.headers["content-disposition"]
    assert client.get("/api/info").json()["galleries"] == [{"label": "3D objects", "path": "/api/runs"}]


def test_a_run_of_zim_splat(clients, tmp_path):
    folder = write_splat_run(tmp_path / "out")
    client = clients(extensions=[register], folders=(folder,))
    found = only_run(client)
    assert found["name"] == "out" and found["layers"] == ["alpha"] and len(found["views"]) == 4
    assert "of 300 Gaussians" in found["about"]
    names = [one["name"] for one in found["files"]]
    assert {"object.ply", "rest.ply", "membership.ply", "contact_sheet.png", "report.json"} <= set(names)
    answer = client.get(f"/api/runs/{found['id']}/files/object.ply").content
    assert len(ply.parse(answer).rows) == json.loads((folder / "report.json").read_text())["gaussians"]["object"]


@pytest.mark.parametrize(
    "path",
    [
        *("views/2/matte", "views/3/alpha", "views/-1/alpha", "views/0/nothing", "views/0/nerfstudio_models"),
        *("files/config.yml", "files/object.ply", "files/nerfstudio_models", "files/..%2Fconfig.yml", "files/%00"),
        *("files/..%2F..%2F..%2Fprivate%2Fobject.ply", "files/%2Fetc%2Fpasswd"),
    ],
)
def test_what_is_not_on_the_list_is_not_given_out(client, path):
    answer = client.get(f"/api/runs/{only_run(client)['id']}/{path}")
    assert answer.status_code == 404 and "\n" not in answer.json()["detail"]
    assert str(Path.cwd()) not in answer.text and "/tmp" not in answer.text


@pytest.mark.parametrize("identifier", ["0", "..", "%2e%2e", "f" * 20, "lego"])
def test_other_identifiers_are_unknown(client, identifier):
    assert client.get(f"/api/runs/{identifier}/views/0/alpha").status_code == 404


def test_links_lead_nowhere_else(client, root):
    folder = root / "lego" / "sa3d-zim" / "2026-01-01_000000"
    (folder / "object.ply").symlink_to(root.parent / "private" / "object.ply")
    (folder / "alpha" / "r_0.png").unlink()
    (folder / "alpha" / "r_0.png").symlink_to(root.parent / "private" / "object.ply")
    (root / "linked").symlink_to(root.parent / "private")
    found = only_run(client)
    assert "object.ply" not in [one["name"] for one in found["files"]]
    for path in ("files/object.ply", "views/0/alpha"):
        answer = client.get(f"/api/runs/{found['id']}/{path}")
        assert answer.status_code == 404 and b"not for others" not in answer.content


def test_unfinished_and_damaged_runs(client, root):
    (root / "half" / "alpha").mkdir(parents=True)
    report = root / "lego" / "sa3d-zim" / "2026-01-01_000000" / "report.json"
    for damaged in ("", "[]", '{"views": 3}', "{"):
        report.write_text(damaged)
        assert only_run(client)["about"] == "its report.json cannot be read"
    report.unlink()
    assert client.get("/api/runs").json() == []


def test_the_newest_is_first_and_a_run_counts_once(root):
    newer = write_nerf_run(root / "fern" / "sa3d-zim" / "b")
    os.utime(newer / "report.json", (4e9, 4e9))
    runs = find_runs((root, newer))
    assert [run.folder.name for run in runs] == ["b", "2026-01-01_000000"]
    deep = write_nerf_run(root / "a" / "b" / "c" / "d" / "e" / "f" / "g")
    assert deep not in [run.folder for run in find_runs((root,))]
    assert find_runs((deep,))[0].folder == deep


def test_without_folders_there_is_nothing_to_show(clients, root):
    client = clients(extensions=[register])
    assert client.get("/api/runs").json() == []
    assert client.get("/api/info").json()["galleries"] == []


def test_a_token_is_asked_for_here_too(clients, root):
    client = clients(extensions=[register], folders=(root,), token="secret")
    assert client.get("/api/runs").status_code == 401
    assert len(client.get("/api/runs", headers={"authorization": "Bearer secret"}).json()) == 1


def test_the_command_line(root):
    settings = make_settings(ServeArgs(folder=(root,)))
    assert settings.folders == (root.resolve(),)
    with pytest.raises(Misuse, match=r"--folder .*nowhere is no folder: name a finished run"):
        make_settings(ServeArgs(folder=(root / "nowhere",)))


def test_images_are_as_they_are_on_disk(client, root):
    found = only_run(client)
    content = client.get(f"/api/runs/{found['id']}/views/2/alpha").content
    with PIL.Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(PIL.Image.open(next(root.rglob("alpha/r_2.png")))))
