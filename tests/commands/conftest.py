"""The evaluation's disks serve its command, too."""

import importlib.util
from pathlib import Path

_found = importlib.util.spec_from_file_location("disks", Path(__file__).parents[1] / "evaluation" / "conftest.py")
assert _found is not None and _found.loader is not None
_disks = importlib.util.module_from_spec(_found)
_found.loader.exec_module(_disks)

disk, save, SIZE = _disks.disk, _disks.save, _disks.SIZE
disks, disk_model, micromat = _disks.disks, _disks.disk_model, _disks.micromat
