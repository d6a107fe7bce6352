"""The REST API over HTTP: images in, mattes out, in each of its forms."""

import base64
import json

import numpy as np
import PIL.Image
import pytest

from tests.conftest import soft_disk

from .serving import add, pixels, png

CLICK = {"objects": [{"name": "ball", "points": [[60, 40]]}]}
TRUTH = soft_disk((80, 120), (60, 40), 20)


def matte(client, image_id, **body):
    return client.post(f"/api/images/{image_id}/matte", json=CLICK | body)


class TestImages:
    def test_three_ways_to_send_one(self, client, ball):
        content = png(ball)
        ways = [
            client.post("/api/images", files={"image": ("a.png", content)}),
            client.post("/api/images", files={"file": ("a.png", content)}),
            client.post("/api/images", json={"image": base64.b64encode(content).decode(), "name": "a.png"}),
            client.post("/api/images", json={"image": "data:image/png;base64," + base64.b64encode(content).decode()}),
            client.post("/api/images", content=content, headers={"content-type": "image/png"}),
        ]
        assert [one.status_code for one in ways] == [201] * 5
        assert {(one.json()["width"], one.json()["height"]) for one in ways} == {(120, 80)}
        assert [one["name"] for one in client.get("/api/images").json()[:3]] == ["a.png"] * 3

    def test_is_upright_and_shown_as_srgb(self, client, ball, tmp_path):
        exif = PIL.Image.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        PIL.Image.fromarray(ball).save(tmp_path / "turned.jpg", exif=exif, quality=95)
        info = client.post("/api/images", files={"image": (tmp_path / "turned.jpg").read_bytes()}).json()
        assert (info["width"], info["height"]) == (80, 120)
        preview = client.get(f"/api/images/{info['id']}/preview")
        assert preview.headers["content-type"] == "image/jpeg"
        assert pixels(preview.content).shape == (120, 80, 3)

    def test_file_comes_back_in_its_own_depth(self, client):
        deep = (np.arange(6 * 8) * 1300).astype(np.uint16).reshape(6, 8)
        info = client.post("/api/images", files={"image": png(deep)}).json()
        back = client.get(f"/api/images/{info['id']}/file")
        np.testing.assert_array_equal(pixels(back.content), deep)

    def test_is_forgotten_when_told(self, client, image_id):
        assert client.delete(f"/api/images/{image_id}").status_code == 204
        assert client.get(f"/api/images/{image_id}").status_code == 404
        assert client.get("/api/images").json() == []

    @pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"<svg></svg>"])
    def test_no_image_is_refused_in_one_line(self, client, content):
        answer = client.post("/api/images", files={"image": ("x.png", content)})
        assert answer.status_code == 422
        assert "\n" not in answer.json()["detail"]
        assert "standard input" not in answer.json()["detail"]

    def test_one_request_is_one_image(self, client, ball):
        two = [("image", ("a.png", png(ball))), ("image", ("b.png", png(ball)))]
        assert client.post("/api/images", files=two).status_code == 422
        assert client.post("/api/images", files={"picture": png(ball)}).status_code == 422
        assert client.post("/api/images", json={"image": "!"}).status_code == 422
        assert client.post("/api/images", content=b"x", headers={"content-type": "text/plain"}).status_code == 415


class TestMattes:
    def test_alpha_has_the_predictor_s_pixels(self, client, image_id):
        answer = matte(client, image_id)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        np.testing.assert_allclose(pixels(answer.content) / 255, TRUTH, atol=0.5 / 255 + 1e-4)
        assert answer.headers["x-zim-scores"] == "0.9"

    def test_sixteen_bits(self, client, image_id):
        alpha = pixels(matte(client, image_id, bits=16).content)
        assert alpha.dtype == np.uint16 or alpha.dtype == np.int32
        np.testing.assert_allclose(alpha / 65535, TRUTH, atol=1.1 / 65535)
        assert (alpha % 257 != 0).any()  # more than 8 bits spread over 16

    @pytest.mark.parametrize("bits", [8, 16])
    def test_cut_out_is_free_of_the_background(self, client, image_id, ball, bits):
        content = matte(client, image_id, output="cutout", bits=bits).content
        assert content[24] == bits  # of the PNG header
        rgba = pixels(content).astype(int)
        np.testing.assert_allclose(rgba[..., 3] / 255, TRUTH, atol=1.1 / 255)
        fringe = (TRUTH > 0.2) & (TRUTH < 0.8)
        own, seen = (
            np.abs(one - (220, 30, 20)).mean(axis=2)[fringe].mean() for one in (rgba[..., :3], ball.astype(int))
        )
        assert own < 10 < 30 < seen

    def test_overlay_tints_the_object(self, client, image_id, ball):
        drawn = pixels(matte(client, image_id, output="overlay").content).astype(int)
        assert drawn[40, 60, 2] > ball[40, 60, 2] + 50
        assert drawn[5, 5].sum() < ball[5, 5].sum()

    def test_several_objects(self, client, image_id):
        objects = [{"name": "left", "box": [10, 20, 50, 60]}, {"name": "right", "points": [[95, 40, 1], [5, 5, 0]]}]
        said = matte(client, image_id, objects=objects, output="json").json()
        assert [(one["name"], one["score"]) for one in said["objects"]] == [("left", 0.9), ("right", 0.9)]
        left = pixels(base64.b64decode(said["objects"][0]["matte"]))
        assert (left[40, 30], left[40, 95]) == (255, 0)
        assert said["objects"][0]["box"] == [10, 20, 50, 60]
        union = pixels(matte(client, image_id, objects=objects).content)
        assert (union[40, 30], union[40, 95], union[5, 5]) == (255, 255, 0)

    def test_coco_is_read_by_pycocotools(self, client, image_id):
        coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools reads what is written")
        objects = [
            {"name": "a", "points": [[60, 40]]},
            {"name": "b", "box": [5, 5, 25, 25]},
            {"name": "a", "points": [[99, 60]]},
        ]
        said = matte(client, image_id, objects=objects, output="coco").json()
        assert [one["name"] for one in said["categories"]] == ["a", "b"]
        assert [one["category_id"] for one in said["annotations"]] == [1, 2, 1]
        first = said["annotations"][0]
        np.testing.assert_array_equal(coco_mask.decode(first["segmentation"]), TRUTH > 0.5)
        assert first["area"] == int((TRUTH > 0.5).sum())
        assert first["bbox"] == coco_mask.toBbox(first["segmentation"]).tolist()

    def test_a_scribble_is_clicks_along_it(self, client, image_id):
        stroke = {"objects": [{"scribbles": [{"path": [[60, 40], [70, 40]]}, {"path": [[5, 5]], "label": 0}]}]}
        assert pixels(matte(client, image_id, **stroke).content)[40, 60] == 255

    def test_form_with_clicks_as_the_command_line_writes_them(self, client, image_id):
        place = f"/api/images/{image_id}/matte"
        by_hand = client.post(place, data={"point": ["60,40", "3,3,0"], "output": "alpha", "bits": "16"})
        assert by_hand.status_code == 200, by_hand.text
        assert (
            by_hand.content
            == client.post(
                place,
                files={"objects": (None, json.dumps([{"points": [[60, 40, 1], [3, 3, 0]]}])), "bits": (None, "16")},
            ).content
        )

    def test_in_one_request_nothing_is_kept(self, client, ball):
        answer = client.post("/api/matte", files={"image": png(ball)}, data={"point": "60,40"})
        np.testing.assert_allclose(pixels(answer.content) / 255, TRUTH, atol=0.5 / 255 + 1e-4)
        in_json = {"image": base64.b64encode(png(ball)).decode(), **CLICK}
        assert client.post("/api/matte", json=in_json).content == answer.content
        assert client.get("/api/images").json() == []
        assert client.post("/api/matte", json=CLICK).status_code == 422

    def test_preview_is_small_and_speaks_of_the_image_s_pixels(self, clients, ball):
        client = clients(preview_px=60)
        image_id = add(client, ball)["id"]
        alpha = pixels(matte(client, image_id, quality="preview").content)
        assert alpha.shape == (40, 60)
        assert alpha[20, 30] == 255
        assert pixels(matte(client, image_id).content).shape == (80, 120)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ({"objects": []}, "objects"),
            ({"objects": [{}]}, "a click, a scribble or a box"),
            ({"objects": [{"points": [[1000, 40]]}]}, "outside"),
            ({"objects": [{"points": [[60, 40, 0]]}]}, "foreground"),
            ({"objects": [{"points": [[60, 40, 2]]}]}, "label"),
            ({"objects": [{"points": [[60]]}]}, "points"),
            ({"objects": [{"box": [5, 5, 5, 9]}]}, "area"),
            ({"objects": [{"box": [5, 5, 9]}]}, "box"),
            ({"objects": [{"points": [[60, 40]], "colour": 3}]}, "colour"),
            ({"objects": [{"points": [[60, 40]]}] * 65}, "64"),
            ({"objects": [{"points": [[60, 40]] * 257}]}, "256"),
            ({**CLICK, "bits": 12}, "bits"),
            ({**CLICK, "output": "tiff"}, "output"),
            ({**CLICK, "sise": 3}, "sise"),
            ({**CLICK, "objects": [{"name": "\ud800", "points": [[60, 40]]}]}, "name"),
            ([], "object"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_served_is_said_in_one_line(self, client, image_id, body, said):
        answer = client.post(
            f"/api/images/{image_id}/matte", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]

    @pytest.mark.parametrize(
        "content", [b"{", b"", b"[" * 100_000, b'{"objects": [{"points": [[1e999, 2]]}]}', b"\xff"]
    )
    def test_broken_json(self, client, image_id, content):
        headers = {"content-type": "application/json"}
        assert client.post(f"/api/images/{image_id}/matte", content=content, headers=headers).status_code == 422

    def test_exr_is_linear_and_premultiplied(self, client, image_id, ball, tmp_path):
        openexr = pytest.importorskip("OpenEXR", reason="OpenEXR writes and reads EXR files")
        (tmp_path / "ball.exr").write_bytes(matte(client, image_id, output="exr").content)
        rgba = openexr.File(str(tmp_path / "ball.exr")).channels()["RGBA"].pixels
        np.testing.assert_allclose(rgba[..., 3], TRUTH, atol=2e-5)
        assert rgba[40, 60, 0] == pytest.approx(((220 / 255 + 0.055) / 1.055) ** 2.4, abs=1e-3)
        assert not rgba[5, 5].any()


class TestInfo:
    def test_says_what_it_is(self, client):
        said = client.get("/api/info").json()
        assert (said["model"], said["actions"], said["unavailable"]) == ("fake", [], [])
        assert {"alpha", "cutout", "overlay", "json", "coco"} <= set(said["outputs"])

    def test_openapi_has_no_dangling_reference(self, client):
        schema = client.get("/api/openapi.json").json()
        text = json.dumps(schema)
        names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert names <= set(schema["components"]["schemas"])
        assert {"/api/images", "/api/images/{image_id}/matte", "/api/matte"} <= set(schema["paths"])
