"""Long runs tell a log how far they are."""

import logging
from types import SimpleNamespace

import pytest

from zim_plugins.cli import reporting


def test_a_log_hears_of_a_long_run_now_and_then(caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(reporting.time, "monotonic", lambda: clock.now)
    with caplog.at_level(logging.INFO), reporting.progress_bar(70, "slice", "head") as bar:
        for _ in range(70):
            clock.now += 1
            bar.update()
    assert [record.getMessage() for record in caplog.records] == [
        "head: 30 of 70 slices after 30 s",
        "head: 60 of 70 slices after 60 s",
    ]


def test_a_short_run_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), reporting.progress_bar(None, "case") as bar:
        bar.update()
    assert not caplog.records and bar.n == 1
