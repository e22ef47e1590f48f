"""The kernels of exported C, as text: one per kind of table, in floats and in integers.

Every kernel adds in one order: bias first, then the columns as they rise (runtime.md section 5). So float
kernels give the bits of the native ones when nothing is fused.
"""

_ROWS = """\
/* Rows of single weights: y = bias + W x. A row is a count; an entry is a step to its column and a weight. */
static void agent_{name}(const {w} *weight, const {count} *count, const unsigned char *step,
    {scale_parameters}int rows, const {x} *x, {y} *y)
{{
    for (; rows > 0; --rows) {{
        const {x} *at = x;
        {y} sum = {zero};
        unsigned n;
        for (n = *count++; n > 0; --n) {{
            at += *step++;
            sum += {product};
        }}
        *y++ = {result};
    }}
}}
"""

_BLOCKS = """\
/* Blocks of {height} rows and one column: an entry is a step to its column and {height} weights. */
static void agent_{name}(const {w} *weight, const {count} *count, const unsigned char *step,
    {scale_parameters}int rows, const {x} *x, {y} *y)
{{
    for (; rows > 0; rows -= {height}) {{
        const {x} *at = x;
        {y} {sums};
        unsigned n;
        for (n = *count++; n > 0; --n) {{
            {x} value;
            at += *step++;
            value = *at;
{products}
            weight += {height};
        }}
{results}
{advance}
        y += {height};
    }}
}}
"""

_DENSE = """\
/* Every weight stored, one row after the other. */
static void agent_{name}(const {w} *weight, {scale_parameters}int rows, int cols, const {x} *x, {y} *y)
{{
    for (; rows > 0; --rows) {{
        const {x} *at = x;
        {y} sum = {zero};
        int n;
        for (n = cols & 3; n > 0; --n)
            sum += {product};
        for (n = cols >> 2; n > 0; --n) {{
            sum += {product};
            sum += {product};
            sum += {product};
            sum += {product};
        }}
        *y++ = {result};
    }}
}}
"""

_FLOAT = {
    **{"w": "float", "x": "float", "y": "float", "scale_parameters": "const float *bias, "},
    **{"zero": "*bias++", "product": "*weight++ * *at", "result": "sum"},
}
_INTEGER = {
    **{"w": "signed char", "x": "int16_t", "y": "int32_t"},
    "scale_parameters": "const int32_t *factor, const int32_t *bias, ",
    **{"zero": "0", "product": "(int32_t)*weight++ * *at"},
    "result": "agent_scaled(sum, *factor++) + *bias++",
}


def kernel(name: str, integer: bool) -> str:
    """The C function that runs parts of this kind (`c_tables.Part.kernel`)."""
    words = _INTEGER if integer else _FLOAT
    if name == "dense":
        return _DENSE.format(name=name, **{**words, "product": words["product"].replace("*at", "*at++")})
    count = "unsigned short" if name.endswith("_wide") else "unsigned char"
    if name.startswith("rows"):
        return _ROWS.format(name=name, count=count, **words)
    height = int(name.removeprefix("blocks").removesuffix("_wide"))
    return _BLOCKS.format(name=name, count=count, height=height, **words, **_lanes(height, integer))


def _lanes(height: int, integer: bool) -> dict[str, str]:
    """The lines of a block kernel that are written out lane by lane."""
    lanes = range(height)
    if not integer:
        return {
            "sums": ", ".join(f"s{i} = bias[{i}]" for i in lanes),
            "products": "\n".join(f"            s{i} += weight[{i}] * value;" for i in lanes),
            "results": "\n".join(f"        y[{i}] = s{i};" for i in lanes),
            "advance": f"        bias += {height};",
        }
    return {
        "sums": ", ".join(f"s{i} = 0" for i in lanes),
        "products": "\n".join(f"            s{i} += (int32_t)weight[{i}] * value;" for i in lanes),
        "results": "\n".join(f"        y[{i}] = agent_scaled(s{i}, factor[{i}]) + bias[{i}];" for i in lanes),
        "advance": f"        factor += {height};\n        bias += {height};",
    }
