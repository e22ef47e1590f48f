"""The fake SMAC package and a folder that looks like StarCraft II, for tests of the adapter."""

import os
import uuid
from pathlib import Path

from mast_edge.envs.smac_worker import parents

PACKAGE = Path(__file__).resolve().parent / "fake_smac"
RUN = "FAKE_SMAC_RUN"


class FakeGames:
    """Environment variables for workers that find the fake package, and what became of them."""

    def __init__(self, folder: Path) -> None:
        """Makes the folders below `folder`."""
        self.game, self.faults = folder / "StarCraftII", folder / "faults"
        (self.game / "Versions" / "Base75689").mkdir(parents=True)
        (self.game / "Maps" / "SMAC_Maps").mkdir(parents=True)
        (self.game / "Maps" / "SMAC_Maps" / "3m.SC2Map").touch()
        self.faults.mkdir()
        self.run = uuid.uuid4().hex
        self.environ = {
            **os.environ,
            **{"SC2PATH": str(self.game), "PYTHONPATH": str(PACKAGE), RUN: self.run},
            **{"FAKE_SMAC_FAULTS": str(self.faults), "FAKE_SMAC_GRANDCHILD": "1", "OMP_NUM_THREADS": "1"},
        }

    def inject(self, *faults: str) -> None:
        """Lets each `moment-fault` happen once, in this order."""
        start = len(list(self.faults.iterdir()))
        for number, fault in enumerate(faults, start):
            (self.faults / f"{number:04d}-{fault}").touch()

    def waiting(self) -> list[str]:
        """Faults that have not happened."""
        return sorted(file.name for file in self.faults.iterdir() if file.suffix != ".done")

    def processes(self) -> list[int]:
        """Living processes of these games: workers, their watchers, and what those have started."""
        wanted, found = f"{RUN}={self.run}".encode(), []
        for pid in parents():
            try:
                if pid != os.getpid() and wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found.append(pid)
            except OSError:
                continue
        return found
