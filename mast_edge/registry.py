"""Names of the things a config or a flag can choose, resolved on use: ``"name": "module:attribute"``.

Adding an algorithm, sparse method, export format, runtime backend or environment is one file and one line
here. Nothing is imported before it is asked for, so that a base install needs no optional package.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from mast_edge.errors import ConfigError, MastEdgeError

ALGORITHMS = {
    "qmix": "mast_edge.train.algos.qmix:Qmix",
    "ow_qmix": "mast_edge.train.algos.ow_qmix:OwQmix",
    "res": "mast_edge.train.algos.res:Res",
    "vdn": "mast_edge.train.algos.vdn:Vdn",
}
SPARSE_METHODS = {
    "dense": "mast_edge.train.sparse.dense:Dense",
    "tiny": "mast_edge.train.sparse.dense:Dense",
    "ss": "mast_edge.train.sparse.masked:Masked",
    "set": "mast_edge.train.sparse.masked:Masked",
    "rigl": "mast_edge.train.sparse.masked:Masked",
    "rlx2": "mast_edge.train.sparse.masked:Masked",
    "mast": "mast_edge.train.sparse.masked:Masked",
}
"""What a method means beyond its masks is its row of `config.METHOD_PRESETS`."""
EXPORT_FORMATS = {
    "csr": "mast_edge.export.to_csr:export_csr",
    "onnx": "mast_edge.export.to_onnx:export_onnx",
    "c": "mast_edge.export.to_c:export_c",
}
RUNTIME_BACKENDS = {
    "numpy": "mast_edge.runtime.backends.numpy_:NumpyBackend",
    "csr": "mast_edge.runtime.backends.csr:CsrBackend",
    "onnx": "mast_edge.runtime.backends.onnx_:OnnxBackend",
    "c": "mast_edge.runtime.backends.c_:CBackend",
    "torch": "mast_edge.runtime.backends.torch_:TorchBackend",
}
ENVIRONMENTS = {"skirmish": "mast_edge.envs.skirmish:Skirmish", "smac": "mast_edge.envs.smac:Smac"}


def nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """` Did you mean 'x'?` for the closest known name, or an empty string when nothing is close."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def resolve(kind: str, table: Mapping[str, str], name: str, error: type[MastEdgeError] = ConfigError) -> Any:
    """The object registered as `name`.

    Args:
        kind: what the table holds, for the message ("algorithm", "sparse method", ...).
        table: one of the tables above.
        name: key to look up.
        error: raised when the name is unknown.
    """
    if name not in table:
        raise error(f"{kind}: name must be one of {', '.join(table)}; got '{name}'.{nearest(name, table)}")
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)
