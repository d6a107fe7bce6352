"""Volumes over HTTP: slices as images, structures followed, labels in the volume's own space."""

import gzip

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'zim-plugins[serve]'")
pytest.importorskip("httpx", reason="httpx, which fastapi's test client asks for, is not installed")
pytest.importorskip("nibabel", reason="nibabel writes the volume")

import nibabel as nib
from fastapi.testclient import TestClient

from medical.protocol.polarities import BothPolarities
from medical.server import MAX_VALUES, register
from tests.conftest import FakePredictor
from zim_plugins.core import load_predictor
from zim_plugins.server import ServerSettings, create_app

AFFINE = np.array([[0.0, -2.0, 0.0, 5.0], [1.5, 0.0, 0.0, -7.0], [0.0, 0.0, 3.0, 11.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def client():
    app = create_app(FakePredictor(8.0), ServerSettings(memory_bytes=3_000_000), extensions=[register])
    with TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def volume(rng) -> bytes:
    values = rng.integers(0, 900, (40, 50, 6)).astype(np.int16)
    return gzip.compress(nib.Nifti1Image(values, AFFINE).to_bytes())


@pytest.fixture
def series(client, volume) -> dict:
    answer = client.post("/api/series", files={"image": ("../head.nii.gz", volume)})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_slices_are_images(client, series):
    assert (series["count"], series["name"]) == (6, "head.nii.gz")
    info = client.get(f"/api/series/{series['id']}/3").json()
    assert (info["width"], info["height"]) == (series["width"], series["height"])
    body = {"objects": [{"points": [[20, 20]]}]}
    assert client.post(f"/api/images/{info['id']}/matte", json=body).status_code == 200
    for number in (-1, 6):
        assert client.get(f"/api/series/{series['id']}/{number}").status_code == 422


def test_small_models_answer_slices_as_the_command_does(volume, monkeypatch):
    adapt, answered = BothPolarities.adapt, []

    def spy(self, prompts, found, image):
        answered.extend(prompts)
        return adapt(self, prompts, found, image)

    monkeypatch.setattr(BothPolarities, "adapt", spy)
    small = load_predictor("zim_tiny", device="cpu", zoom=False, refine="none")
    body = {"structures": [{"name": "core", "slices": {"2": {"box": [14, 14, 26, 26]}}}]}
    for model, is_adapted in ((small, True), (FakePredictor(8.0), False)):
        answered.clear()
        with TestClient(create_app(model, extensions=[register]), base_url="http://localhost:8000") as client:
            series = client.post("/api/series", files={"image": ("head.nii.gz", volume)}).json()
            assert client.post(f"/api/series/{series['id']}/segment", json=body).status_code == 200
        assert bool(answered) == is_adapted


def test_structures_are_followed_and_lie_where_the_volume_lies(client, series):
    structures = [{"name": "core", "slices": {"2": {"box": [14, 14, 26, 26]}}}]
    answer = client.post(f"/api/series/{series['id']}/segment", json={"structures": structures})
    assert answer.status_code == 200, answer.text
    assert 'filename="head_seg.nii.gz"' in answer.headers["content-disposition"]
    labels = nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))
    np.testing.assert_allclose(labels.affine, AFFINE)
    values = np.asarray(labels.dataobj)
    assert values.shape == (40, 50, 6) and set(np.unique(values)) == {0, 1}
    counts = values.sum(axis=(0, 1))
    assert (counts > 80).all()  # the fake answers every slice's box with a disk in it
    middle = np.argwhere(values[:, :, 2]).mean(axis=0)
    shown = client.get(f"/api/series/{series['id']}/2").json()
    assert sorted((shown["width"], shown["height"])) == [40, 50]
    assert np.isfinite(middle).all()


@pytest.mark.parametrize(
    "structures",
    [
        [],
        [{"name": "a", "slices": {}}],
        [{"name": "a", "slices": {"9": {"points": [[3, 3]]}}}],
        [{"name": "a", "slices": {"1": {"points": [[3000, 3]]}}}],
        [{"name": "a", "slices": {"1": {"points": [[3, 3, 0]]}}}],
        [{"name": "a", "slices": {"1": {}}}],
        [{"name": "a", "slices": {"1": {"points": [[3, 3]]}}}] * 2,
        [{"name": "", "slices": {"1": {"points": [[3, 3]]}}}],
    ],
)
def test_prompts_that_make_no_sense(client, series, structures):
    answer = client.post(f"/api/series/{series['id']}/segment", json={"structures": structures})
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["detail"]


def test_files_that_are_no_volume(client, volume):
    assert client.post("/api/series", files={"image": ("a.nii.gz", b"no volume")}).status_code == 422
    assert client.post("/api/series", files={"image": ("a.dcm", b"no series")}).status_code == 422
    two = [("image", ("a.nii.gz", volume)), ("image", ("b.nii.gz", volume))]
    assert client.post("/api/series", files=two).status_code == 422
    assert client.post("/api/series", json={}).status_code == 415
    assert client.post("/api/series", data={"image": "/etc/passwd"}).status_code in (415, 422)


def test_a_volume_larger_than_allowed_is_refused_from_its_header(client):
    header = nib.Nifti1Header()
    header.set_data_shape((1024, 1024, MAX_VALUES // 1024**2 + 1))
    header.set_data_dtype(np.uint8)
    bomb = gzip.compress(header.binaryblock + b"\0" * 4)
    answer = client.post("/api/series", files={"image": ("a.nii.gz", bomb)})
    assert answer.status_code == 422


def test_another_browser_does_not_see_it(client, series):
    with TestClient(client.app, base_url="http://localhost:8000") as other:
        assert other.get(f"/api/series/{series['id']}/0").status_code == 404


def test_volumes_are_let_go(client, series, volume):
    for _ in range(10):
        assert client.post("/api/series", files={"image": ("a.nii.gz", volume)}).status_code == 201
    gone = client.get(f"/api/series/{series['id']}/0")
    assert (gone.status_code, "send it again" in gone.json()["detail"]) == (404, True)


def test_a_dicom_series(client, test_data):
    files = sorted((test_data / "medical" / "clean" / "dicom").glob("*MR_small*.dcm"))
    if not files:
        pytest.skip("no DICOM image among the test data")
    answer = client.post("/api/series", files=[("image", (files[0].name, files[0].read_bytes()))])
    assert answer.status_code == 201, answer.text
    assert answer.json()["count"] == 1
