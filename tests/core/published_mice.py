"""The real mice of the International Brain Laboratory, unpacked."""

import tarfile
from pathlib import Path

#: Python before 3.11.4 knows no filter; what is packed here are plain files.
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def unpack(test_data: Path, root: Path) -> Path:
    """Unpack the ALF folders of all mice below ``root``."""
    for archive in sorted((test_data / "ibl_alf").glob("*.tar.gz")):
        with tarfile.open(archive) as packed:
            packed.extractall(root, **SAFELY)
    return root
