"""`zim doctor`: what is missing, too old or does not load, and the command that mends it."""

import importlib
import sys

import pytest

from zim_plugins.cli import main


class TestDoctor:
    def test_report(self, capsys):
        main(["doctor"])
        shown = capsys.readouterr().out
        for expected in ("Python", "extras", "devices", "cpu", "checkpoints", "zim models --download"):
            assert expected in shown

    def test_missing_extra_names_its_command(self, monkeypatch):
        from zim_plugins.cli.commands import doctor

        texts = ["numpy>=1.26", "no-such-package>=2; extra == 'nerf'", "zim-plugins[nerf]; extra == 'all'"]
        monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: texts)
        monkeypatch.setattr(doctor, "NEWEST_PYTHON", {})
        assert [(need.name, need.is_met) for need in doctor.needs()] == [("numpy", True)]
        for extra in ("nerf", "all"):
            described = doctor._extra(extra, doctor.needs(extra))
            assert described["missing"] == ["no-such-package>=2"]
            assert described["command"] == f"pip install 'zim-plugins[{extra}]'"

    def test_what_does_not_load_is_not_complete(self, monkeypatch, tmp_path):
        from zim_plugins.cli.commands import doctor

        said = "libusb-1.0.so.0: cannot open shared object file: No such file or directory"
        (tmp_path / "open3d").mkdir()
        (tmp_path / "open3d" / "__init__.py").write_text(f"raise OSError({said!r})")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setitem(sys.modules, "open3d", None)  # what the test imports by this name is forgotten after it
        del sys.modules["open3d"]
        met = [doctor.Need("nerfstudio", "==1.1.5", "1.1.5", True)]
        extra = doctor._extra("nerf", met)
        assert not extra["complete"] and extra["missing"] == []
        assert extra["command"] == "apt-get install libusb-1.0-0"
        assert extra["broken"] == [f"open3d does not load: {said}"]
        monkeypatch.setattr(doctor, "extra_names", lambda: ["nerf", "all"])
        monkeypatch.setattr(doctor, "needs", lambda extra="": met)
        shown = list(doctor._lines(doctor.examine()))
        assert sum("apt-get install libusb-1.0-0  (open3d does not load" in line for line in shown) == 2
        assert not any(line.strip() in ("nerf               complete", "all                complete") for line in shown)
        (tmp_path / "open3d" / "__init__.py").write_text("")
        sys.modules.pop("open3d", None)
        importlib.invalidate_caches()
        assert doctor._extra("nerf", met)["complete"]

    @pytest.mark.parametrize("python", [(3, 10, 1), (3, 12, 9), (3, 13, 5)])
    def test_a_python_without_builds_is_named(self, python, monkeypatch):
        from zim_plugins.cli.commands import doctor

        monkeypatch.setattr(doctor.sys, "version_info", python)
        absent = [doctor.Need("nerfstudio", "==1.1.5", None, False)]
        for extra in ("nerf", "all"):
            anew = f"pip install -e '.[{extra}]' in the clone and an environment of Python 3.12"
            here = f"pip install 'zim-plugins[{extra}]'"
            assert doctor._extra(extra, absent)["command"] == (anew if python > (3, 13) else here)
        assert doctor._extra("medical", absent)["command"] == "pip install 'zim-plugins[medical]'"

    def test_too_old_counts_as_missing(self, monkeypatch):
        from zim_plugins.cli.commands import doctor

        monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: ["numpy>=999"])
        assert [need.is_met for need in doctor.needs()] == [False]
        assert "pip install --upgrade zim-plugins" in doctor._remedies(doctor.needs())[0]
