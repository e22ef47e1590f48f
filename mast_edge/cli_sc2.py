"""The command that stands in for StarCraft II."""

import json
import shlex
import sys
from pathlib import Path

import click

from mast_edge.cli_shared import common, remark
from mast_edge.exits import stage


@click.command("serve-sc2")
@click.option("--host", default="127.0.0.1", show_default=True, help="Who reaches it can play: no password.")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0: a free one.")
@click.option("--map-profile", "profile", metavar="liberty|void", default="liberty", show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**64 - 1),
    help="Of games whose client names none; default: a new one for each.",
)
@click.option(
    "--install",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Serve nothing; write the folder that makes pysc2 start the stand-in by itself.",
)
@common
def serve_sc2(
    host: str, port: int, profile: str, seed: int | None, folder: Path | None, as_json: bool, quiet: bool
) -> None:
    """Stand in for StarCraft II: unmodified pysc2, SMAC and PyMARL play in the embedded simulator.

    Install the folder once, name it in SC2PATH, and start any program that uses StarCraft2Env; or serve on a
    port, for clients that connect by themselves (pysc2: --sc2_port).

    \b
    mast-edge serve-sc2 --install ~/sc2-stand-in
    mast-edge serve-sc2 --port 5000 --seed 1
    """
    if folder is not None:
        maps = stage("mast_edge.envs.sc2.layout", "install")(folder, sys.executable, profile, seed)
        path = folder.expanduser().absolute()
        line = f"export SC2PATH={shlex.quote(str(path))}"
        facts = {"schema": "mast-edge/serve-sc2/1", "installed": str(path), "maps": maps, "export": line}
        click.echo(json.dumps(facts) if as_json else line)
        remark(quiet, f"{maps} maps; run the line above, then SMAC or PyMARL as always, with this set too:")
        remark(quiet, "export PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python")
        return
    server = "mast_edge.envs.sc2.server"
    options = stage(server, "ServeOptions")(host=host, port=port, seed=seed, profile=profile)

    def announce(url: str) -> None:
        click.echo(json.dumps({"schema": "mast-edge/serve-sc2/1", "url": url}) if as_json else url)
        remark(quiet, "clients are welcome; Ctrl-C ends it")

    stage(server, "serve")(options, announce)
