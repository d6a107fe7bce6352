"""Who may ask, how much, and what is never shown."""

import io

import numpy as np
import PIL.Image
import pytest

from .serving import add, png

CLICK = {"objects": [{"points": [[60, 40]]}]}


class TestNames:
    @pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1", "[::1]:8000", "127.8.8.8"])
    def test_loopback_names_pass(self, client, host):
        assert client.get("/api/info", headers={"host": host}).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            *("evil.example", "localhost.evil.example:8000", "127.0.0.1.nip.io", "192.168.1.7:8000"),
            *("", "x@localhost", "[::1"),
        ],
    )
    def test_a_rebound_name_is_refused(self, client, host):
        assert client.get("/api/info", headers={"host": host}).status_code == 403

    def test_further_names_are_told(self, clients):
        client = clients(hosts=("mattes.example",), takes_addresses=True)
        for host in ("mattes.example", "192.168.1.7:8000"):
            assert client.get("/api/info", headers={"host": host}).status_code == 200
        assert client.get("/api/info", headers={"host": "evil.example"}).status_code == 403


class TestOrigins:
    @pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9", "null", "http://[", "file://"])
    def test_another_page_s_requests_are_refused(self, client, ball, origin):
        answer = client.post("/api/images", files={"image": png(ball)}, headers={"origin": origin})
        assert answer.status_code == 403
        assert client.get("/api/images").json() == []

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    def test_also_where_only_the_fetch_metadata_tells(self, client, site):
        assert client.get("/api/images", headers={"sec-fetch-site": site}).status_code == 403
        assert client.get("/", headers={"sec-fetch-site": site}).status_code == 200  # a link to the page

    def test_own_page_passes(self, client, ball):
        headers = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
        assert client.post("/api/images", files={"image": png(ball)}, headers=headers).status_code == 201

    def test_no_answer_lets_others_read_or_frame_it(self, client):
        for path in ("/", "/api/info", "/api/images/x", "/nothing"):
            headers = client.get(path).headers
            assert "access-control-allow-origin" not in headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"


class TestToken:
    def test_is_asked_for_by_every_path(self, clients):
        client = clients(token="hush")
        for path in ("/", "/app.js", "/api/info", "/api/openapi.json", "/api/images", "/nothing"):
            assert client.get(path).status_code == 401
        assert client.post("/api/images", content=b"x").status_code == 401

    @pytest.mark.parametrize(
        "shown", ["Bearer wrong", "Bearer", "hush", "Basic hush", "Bearer hush2", "Bearer h\xfcsh"]
    )
    def test_must_be_the_right_one(self, clients, shown):
        client = clients(token="hush")
        assert client.get("/api/info", headers={"authorization": shown.encode("latin-1")}).status_code == 401

    def test_of_programs(self, clients):
        assert clients(token="hush").get("/api/info", headers={"authorization": "Bearer hush"}).status_code == 200

    def test_of_browsers_leaves_the_address_bar(self, clients):
        client = clients(token="hush")
        answer = client.get("/?token=hush&x=1", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
        assert "hush" not in answer.headers["set-cookie"]
        assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=Strict" in answer.headers["set-cookie"]
        assert client.get("/api/info").status_code == 200
        assert clients(token="hush").get("/?token=no", follow_redirects=False).status_code == 401


class TestSessions:
    def test_one_browser_sees_nothing_of_another(self, clients, ball):
        mine = clients()
        other = clients(mine.app)
        image_id = add(mine, ball)["id"]
        assert [one["id"] for one in mine.get("/api/images").json()] == [image_id]
        assert other.get("/api/images").json() == []
        for ask in (
            other.get(f"/api/images/{image_id}"),
            other.get(f"/api/images/{image_id}/preview"),
            other.get(f"/api/images/{image_id}/file"),
            other.delete(f"/api/images/{image_id}"),
            other.post(f"/api/images/{image_id}/matte", json=CLICK),
        ):
            assert ask.status_code == 404
        assert mine.get(f"/api/images/{image_id}").status_code == 200

    def test_a_session_cannot_be_made_up(self, clients, ball):
        mine = clients()
        add(mine, ball)
        cookie = mine.cookies["zim_session"]
        for forged in (cookie[:-1] + ("A" if cookie[-1] != "A" else "B"), cookie.split(".")[0], "x.y", ""):
            other = clients(mine.app)
            assert other.get("/api/images", headers={"cookie": f"zim_session={forged}"}).json() == []
        assert len(clients(mine.app).get("/api/images", headers={"cookie": f"zim_session={cookie}"}).json()) == 1

    def test_cookies_are_for_this_server_alone(self, clients):
        answer = clients(cookie_suffix="_8000").get("/")
        assert answer.headers["set-cookie"].startswith("zim_session_8000=")
        assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]


class TestBounds:
    def test_body(self, clients, ball):
        client = clients(max_upload_bytes=2000)
        assert client.post("/api/images", content=b"x" * 2001, headers={"content-type": "image/png"}).status_code == 413
        chunks = iter([b"x" * 600] * 4)  # without a content length
        assert client.post("/api/images", content=chunks, headers={"content-type": "image/png"}).status_code == 413
        form = client.post("/api/images", files={"image": b"x" * 2000})
        assert form.status_code == 413
        assert client.get("/api/info", headers={"content-length": "-1"}).status_code in (400, 413)

    def test_pixels_are_refused_from_the_header(self, clients):
        client = clients(max_pixels=10_000)
        bomb = io.BytesIO()
        PIL.Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
        for content in (bomb.getvalue(), png(np.zeros((101, 100), np.uint8))):
            answer = client.post("/api/images", files={"image": content})
            assert answer.status_code == 422
            assert "too large" in answer.json()["detail"]
        assert client.post("/api/images", files={"image": png(np.zeros((100, 100), np.uint8))}).status_code == 201

    def test_programs_are_not_run(self, client):
        script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/etc/passwd) (r) file\nshowpage\n"
        answer = client.post("/api/images", files={"image": ("x.png", script)})
        assert answer.status_code == 422

    @pytest.mark.slow
    def test_memory_over_500_images(self, clients, ball):
        client = clients(memory_bytes=2_000_000)
        store = client.app.state.services.store
        ids, told = [], []
        for _ in range(500):
            info = add(client, ball)
            ids.append(info["id"])
            told += info["evicted"]
            assert store.held_bytes <= 2_000_000 + ball.nbytes  # the last one's encoding is trimmed when it is done
        assert len(store) < 100
        told += add(client, ball)["evicted"]
        assert told == ids[: len(told)] and 501 - len(store) - len(told) in (0, 1)
        gone = client.post(f"/api/images/{ids[0]}/matte", json=CLICK)
        assert (gone.status_code, "send it again" in gone.json()["detail"]) == (410, True)
        assert client.post(f"/api/images/{ids[-1]}/matte", json=CLICK).status_code == 200

    def test_mattes_count_too(self, clients, rng):
        client = clients(memory_bytes=3_000_000)
        noise = rng.integers(0, 255, (400, 400, 3), dtype=np.uint8)
        ids = [add(client, noise)["id"] for _ in range(3)]
        for x in range(60):
            body = {"objects": [{"points": [[100 + x, 200]]}]}
            assert client.post(f"/api/images/{ids[-1]}/matte", json=body).status_code == 200
        assert client.app.state.services.store.held_bytes <= 3_000_000

    def test_one_image_beyond_all_memory_is_refused(self, clients, ball):
        answer = clients(memory_bytes=1000).post("/api/images", files={"image": png(ball)})
        assert (answer.status_code, "--memory-mb" in answer.json()["detail"]) == (413, True)

    def test_work_takes_no_longer_than_it_may(self, clients, ball, fake_predictor):
        import threading

        let_go = threading.Event()
        fake_predictor.predict = lambda prompt: let_go.wait(20)
        client = clients(predictor=fake_predictor, work_seconds=0.3)
        image_id = add(client, ball)["id"]
        answer = client.post(f"/api/images/{image_id}/matte", json=CLICK)
        let_go.set()
        assert (answer.status_code, "0.3 s" in answer.json()["detail"]) == (503, True)
        assert answer.headers["retry-after"] == "3"

    def test_the_queue_is_bounded(self):
        import asyncio
        import threading

        from zim_plugins.server.work import Busy, WorkQueue

        async def ask() -> list[object]:
            queue, let_go = WorkQueue(1, max_waiting=2, seconds=10), threading.Event()
            first = asyncio.create_task(queue.run(let_go.wait))
            await asyncio.sleep(0.1)  # it runs, and waits no more
            rest = [asyncio.create_task(queue.run(int, "7")) for _ in range(3)]
            await asyncio.sleep(0)
            let_go.set()
            done = await asyncio.gather(first, *rest, return_exceptions=True)
            assert queue.close()
            return done

        first, second, third, fourth = asyncio.run(ask())
        assert (first, second, third) == (True, 7, 7)
        assert isinstance(fourth, Busy)


class TestFiles:
    @pytest.mark.parametrize(
        "path",
        ["/../pyproject.toml", "/..%2f..%2fsettings.py", "/page/app.js", "/settings.py", "/%2e%2e/app.py",
         "//etc/passwd",
         "/api/images/..%2f..%2fetc%2fpasswd/file", "/index.html", "/.git/config"],
    )  # fmt: skip
    def test_no_path_leads_to_one(self, client, path):
        assert client.get(path).status_code == 404

    def test_nothing_is_fetched_or_read_for_a_client(self, client, ball):
        for image in ("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x.png", "sample:dogs"):
            assert client.post("/api/images", json={"image": image}).status_code == 422

    def test_names_are_names(self, client, ball):
        info = add(client, ball, name="../../etc/pass\u202ewd?.png")
        assert info["name"] == "passwd.png"
        answer = client.get(f"/api/images/{info['id']}/file")
        assert answer.headers["content-disposition"] == 'inline; filename="passwd.png"'


def test_page_is_light_and_loads_nothing_from_elsewhere(client):
    from zim_plugins.server.app import page_files

    files = {name: content for name, content in page_files().items() if name != "sample.jpg"}
    assert sum(map(len, files.values())) < 200_000
    for name, content in files.items():
        assert client.get("/" if name == "index.html" else f"/{name}").content == content
        text = content.decode().replace("http://www.w3.org/", "")
        assert "http://" not in text and "https://" not in text and "style=" not in text, name
    scripts = ["api.js", "app.js", "compose.js", "documents.js", "panel.js", "runs.js", "view.js"]
    assert sorted(files) == sorted([*scripts, "icon.svg", "index.html", "style.css"])
