"""Export to C99 (runtime.md section 5): a header, a source, a self test, and two files about them."""

from pathlib import Path

from mast_edge.c_contract import CONTRACT_FILE, CContract
from mast_edge.c_library import find_compiler
from mast_edge.errors import EnvironmentUnavailable
from mast_edge.export.c_names import checked_prefix
from mast_edge.export.c_readme import readme
from mast_edge.export.c_selftest import selftest_tolerance
from mast_edge.export.c_sizes import code_sizes, table_bytes
from mast_edge.export.c_source import all_tables, c_files, fixed_agent
from mast_edge.export.job import Job
from mast_edge.fixed_point import USUAL_FC1_SHIFT, fc1_shift_of, largest_fc1
from mast_edge.golden import golden_answers

README_FILE = "README.md"


def export_c(job: Job, folder: Path) -> dict[str, Path]:
    """Writes header, source, self test, `contract.json` and `README.md` into `folder`.

    The same checkpoint gives the same bytes; `README.md` also says what the compiler at hand makes of them.

    Raises:
        UsageError: the prefix is not a free C name.
        ArtifactRefused: int8 weights too large, or rows too full, for integer sums.
    """
    prefix, spec = checked_prefix(job.prefix), job.contract.spec
    layers = job.layers()
    integer = job.precision == "int8"
    shift = USUAL_FC1_SHIFT
    if integer:
        shift = fc1_shift_of(largest_fc1(spec, layers["fc1"], job.reference.recorded))
    fixed = fixed_agent(spec, layers, shift)
    files = c_files(spec, layers, prefix, digest=job.checkpoint.index_sha256, fc1_shift=shift)
    tolerance = 0.0
    if not integer:
        tolerance = selftest_tolerance(golden_answers(spec, lambda name, x: layers[name].affine(x))[0])
    about = CContract(
        job.contract, prefix, job.precision, shift if integer else None, tolerance, dict(job.provenance)
    )
    for name, data in {**files, CONTRACT_FILE: about.to_bytes(files)}.items():
        (folder / name).write_bytes(data)
    try:
        compiler = find_compiler()
    except EnvironmentUnavailable:
        compiler = None
    sizes = [] if compiler is None else code_sizes(files, f"{prefix}.c", compiler)
    page = readme(
        prefix,
        job.contract,
        job.provenance,
        table_bytes(all_tables(spec, layers, fixed)[1]),
        None if compiler is None else compiler.version,
        sizes,
        fixed,
    )
    (folder / README_FILE).write_bytes(page.encode("utf-8"))
    return {"c": folder / f"{prefix}.c"}
