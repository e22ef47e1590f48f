"""Draws one moment of a battle with Pillow: field, walls and cliffs, units, what they do, both sides' health.

A unit is a disc of its real radius with its type's letter. The ring in its side's colour is its health, the
pale one around it its shield. Colours are opaque mixes of a few, so that one fixed palette serves all frames.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mast_edge.envs.ascii_frame import LETTERS, Cast
from mast_edge.envs.maps import smac_map
from mast_edge.envs.skirmish import Skirmish
from mast_edge.envs.strikes import Strike
from mast_edge.envs.units import COLLISION_GROUPS, LOOPS_PER_SECOND, unit_types

Colour = tuple[int, int, int]
Point = tuple[float, float]

PAGE, GROUND, GRID, WALL, TEXT, FAINT = (
    (13, 17, 23),
    (32, 38, 46),
    (39, 46, 55),
    (18, 22, 28),
    (236, 240, 244),
    (139, 148, 158),
)
SIDES: tuple[Colour, Colour] = ((64, 169, 255), (255, 99, 88))
SHIELD, HEAL, BEAM, WIN = (190, 225, 255), (86, 211, 100), (255, 190, 70), (86, 211, 100)
BASES: Sequence[Colour] = (*SIDES, SHIELD, HEAL, BEAM, TEXT, FAINT)
BACKS: Sequence[Colour] = (GROUND, PAGE, WALL)
CLEAR = 255
"""Palette index that leaves the pixel of the frame before."""
SMOOTH = 2
"""Drawn so many times larger, then averaged."""
WIDEST, TALLEST, LARGEST_CELL, NARROWEST = 640, 480, 32, 460
MARGIN, LEAST_COLUMNS, LEAST_ROWS = 2, 20, 10
HEAD, FOOT = 58, 26
SHOT_STEPS, BLAST_STEPS, CROSS_STEPS = 0.45, 0.7, 4.0
DEATH_AT = 0.6
"""Share of a step for which a unit that dies in it is still shown."""


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`share` of a and the rest of b."""
    red, green, blue = (round(share * x + (1 - share) * y) for x, y in zip(a, b, strict=True))
    return red, green, blue


def palette() -> list[int]:
    """256 x RGB: every mix of a base and a back that drawing leads to; the last is never drawn."""
    colours = [*BACKS, GRID, *(mix(TEXT, GROUND, share) for share in (0.03, 0.06, 0.09, 0.12, 0.15))]
    for back in BACKS[:2]:
        colours += [mix(base, back, part / 8) for base in BASES for part in range(1, 9)]
    for side in SIDES:
        disc = mix(side, GROUND, 0.25)
        colours += [mix(base, disc, part / 4) for base in (TEXT, SHIELD, side) for part in (1, 2, 3)]
        colours += [mix(side, WALL, part / 4) for part in (1, 2, 3)]
    unique = list(dict.fromkeys(colours))
    return [value for colour in unique + [unique[0]] * (256 - len(unique)) for value in colour]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a frame shows.

    Attributes:
        time: in steps since the start.
        units: (units,) with positions and vitals of that time.
        died: (units,) when each died, infinity for the living.
        strikes: (start in steps, strike) of all that can still be seen.
        ending: words over the field and their colour, None before the end.
    """

    time: float
    units: NDArray[Any]
    died: NDArray[np.float64]
    strikes: Sequence[tuple[float, Strike]]
    ending: tuple[str, Colour] | None = None


def camera(cast: Cast, tape: Sequence[NDArray[Any]]) -> tuple[int, int, int, int]:
    """First and last column, first and last row of the part of the map on which a battle is fought.

    Args:
        cast: who fights where.
        tape: units of every step.
    """
    west, east, south, north = cast.box
    return (
        *_window([units["x"] for units in tape], west, east, LEAST_COLUMNS),
        *_window([units["y"] for units in tape], south, north, LEAST_ROWS),
    )


def _window(places: Sequence[NDArray[np.float64]], least: int, most: int, size: int) -> tuple[int, int]:
    first = int(min(place.min() for place in places)) - MARGIN
    last = int(max(place.max() for place in places)) + MARGIN
    missing = max(0, size - (last - first + 1))
    first, last = first - missing // 2, last + missing - missing // 2
    shift = max(0, least - first) - max(0, last - most)
    return max(least, first + shift), min(most, last + shift)


class Painter:
    """Draws the moments of one battle."""

    def __init__(self, env: Skirmish, title: str, box: tuple[int, int, int, int]) -> None:
        """Draws what does not move.

        Args:
            env: whose battle will be drawn.
            title: heading, such as the map's name.
            box: first and last column, first and last row of cells to show.
        """
        self._cast = Cast.of(env)
        self._limit, self._step_loops = env.spec.episode_limit, env.options.step_mul
        types = unit_types(env.profile)
        self._radius = [float(types[name]["radius"]) for name in self._cast.names]
        layers = [COLLISION_GROUPS.index(types[name]["collision"]) for name in self._cast.names]
        self._lowest_first = np.argsort(layers, kind="stable").tolist()
        self._air = [types[name]["plane"] == "air" for name in self._cast.names]
        self._beam = [float((types[n]["weapon"] or {}).get("beam_half_length", 0)) for n in self._cast.names]
        self._blast = [float((types[n]["weapon"] or {}).get("blast_radius", 0)) for n in self._cast.names]
        self._box = box
        west, east, south, north = box
        columns, rows = east - west + 1, north - south + 1
        self._cell = SMOOTH * min(WIDEST // columns, TALLEST // rows, LARGEST_CELL)
        width = max(columns * self._cell, SMOOTH * NARROWEST)
        self.size = width // SMOOTH, rows * self._cell // SMOOTH + HEAD + FOOT
        self._left, self._top = (width - columns * self._cell) // 2, HEAD * SMOOTH
        self._fonts: dict[int, Any] = {}
        self._palette = Image.new("P", (1, 1))
        self._palette.putpalette(palette())
        self._stage = self._empty_stage(env, title)

    def paint(self, moment: Moment) -> NDArray[np.uint8]:
        """(height, width) palette indices of a frame."""
        image = self._stage.copy()
        draw = ImageDraw.Draw(image)
        self._crosses(draw, moment)
        self._blasts(draw, moment)
        for i in self._lowest_first:
            if moment.time < moment.died[i]:
                self._unit(draw, moment.units[i], i)
        self._shots(draw, moment)
        self._head(draw, moment)
        if moment.ending is not None:
            self._ending(draw, *moment.ending)
        small = image.reduce(SMOOTH).quantize(palette=self._palette, dither=Image.Dither.NONE)
        return np.asarray(small, dtype=np.uint8)

    def _font(self, size: int) -> Any:
        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(size * SMOOTH)
        return self._fonts[size]

    def _at(self, x: float, y: float) -> Point:
        west, _, _, north = self._box
        return self._left + (x - west) * self._cell, self._top + (north + 1 - y) * self._cell

    def _empty_stage(self, env: Skirmish, title: str) -> Image.Image:
        image = Image.new("RGB", (self.size[0] * SMOOTH, self.size[1] * SMOOTH), PAGE)
        draw = ImageDraw.Draw(image)
        smac = smac_map(env.spec.map_name)
        west, east, south, north = self._box
        levels = sorted({*smac.height[smac.height > 0].tolist()})
        for x in range(west, east + 1):
            for y in range(south, north + 1):
                level = levels.index(int(smac.height[x, y])) if smac.height[x, y] else 0
                colour = mix(TEXT, GROUND, 0.03 * level) if self._cast.walkable[x, y] else WALL
                if not self._cast.walkable[x, y] and len(levels) > 1 and smac.height[x, y]:
                    colour = mix(TEXT, GROUND, 0.03 * level)
                    self._cliff(draw, x, y, colour)
                    continue
                draw.rectangle(self._box_of(x, y), fill=colour)
        self._grid(draw)
        draw.text((10 * SMOOTH, 6 * SMOOTH), title, fill=TEXT, font=self._font(15))
        self._foot(draw, env)
        return image

    def _box_of(self, x: int, y: int) -> tuple[float, float, float, float]:
        left, bottom = self._at(x, y)
        return left, bottom - self._cell, left + self._cell - 1, bottom - 1

    def _cliff(self, draw: ImageDraw.ImageDraw, x: int, y: int, colour: Colour) -> None:
        """Ground that only colossi walk on: hatched."""
        left, top, right, bottom = self._box_of(x, y)
        draw.rectangle((left, top, right, bottom), fill=mix(colour, WALL, 0.35))
        for part in (0.25, 0.75):
            reach = part * self._cell
            draw.line((left, top + reach, left + reach, top), fill=colour, width=SMOOTH)
            draw.line((right - reach, bottom, right, bottom - reach), fill=colour, width=SMOOTH)

    def _grid(self, draw: ImageDraw.ImageDraw) -> None:
        west, east, south, north = self._box
        walkable = self._cast.walkable
        for x in range(west, east + 1):
            for y in range(south, north + 1):
                if walkable[x, y] and x % 4 == 0:
                    left, top, _, bottom = self._box_of(x, y)
                    draw.line((left, top, left, bottom), fill=GRID, width=SMOOTH)
                if walkable[x, y] and y % 4 == 3:
                    left, top, right, _ = self._box_of(x, y)
                    draw.line((left, top, right, top), fill=GRID, width=SMOOTH)

    def _foot(self, draw: ImageDraw.ImageDraw, env: Skirmish) -> None:
        types = list(dict.fromkeys(self._cast.names))
        said = [f"{LETTERS[name]} {name.replace('_', ' ')}" for name in types]
        said.append("ring: health")
        if self._cast.most_shield.any():
            said.append("outer ring: shield")
        line, y = "    ".join(said), (self.size[1] - FOOT // 2) * SMOOTH
        draw.text((10 * SMOOTH, y), line, fill=FAINT, font=self._font(11), anchor="lm")
        if "medivac" in types:
            right = (self.size[0] - 10) * SMOOTH
            draw.text((right, y), "healing", fill=HEAL, font=self._font(11), anchor="rm")

    def _head(self, draw: ImageDraw.ImageDraw, moment: Moment) -> None:
        width, n = self.size[0] * SMOOTH, self._cast.n_agents
        seconds = moment.time * self._step_loops / LOOPS_PER_SECOND
        clock = f"step {int(moment.time)}/{self._limit}    {seconds:.1f} s"
        draw.text((width - 10 * SMOOTH, 6 * SMOOTH), clock, fill=FAINT, font=self._font(13), anchor="ra")
        half = width // 2 - 10 * SMOOTH
        for side, members in enumerate((slice(0, n), slice(n, None))):
            units, alive = moment.units[members], moment.time < moment.died[members]
            now = [float(units[name][alive].sum()) for name in ("health", "shield")]
            most = [float(m[members].sum()) for m in (self._cast.most_health, self._cast.most_shield)]
            left = 10 * SMOOTH + side * (half + 4 * SMOOTH)
            self._total(draw, (left, left + half - 4 * SMOOTH), side, now, most)
            label = f"{('agents', 'enemies')[side]} {int(alive.sum())}/{len(alive)}    health {now[0]:,.0f}"
            label += f"    shield {now[1]:,.0f}" if most[1] else ""
            draw.text((left, 41 * SMOOTH), label, fill=SIDES[side], font=self._font(11))

    def _total(
        self, draw: ImageDraw.ImageDraw, span: Point, side: int, now: Sequence[float], most: Sequence[float]
    ) -> None:
        left, right = span
        top, bottom, scale = 30 * SMOOTH, 37 * SMOOTH, (right - left) / sum(most)
        draw.rectangle((left, top, right, bottom), fill=mix(SIDES[side], PAGE, 0.25))
        middle = left + now[0] * scale
        if now[0] > 0:
            draw.rectangle((left, top, middle, bottom), fill=SIDES[side])
        if now[1] > 0:
            draw.rectangle((middle, top, middle + now[1] * scale, bottom), fill=SHIELD)

    def _unit(self, draw: ImageDraw.ImageDraw, unit: Any, i: int) -> None:
        # on whole pixels of the film: equal discs are equal in the file, and compress
        x, y = (SMOOTH * round(at / SMOOTH) for at in self._at(float(unit["x"]), float(unit["y"])))
        side = SIDES[i >= self._cast.n_agents]
        radius = self._radius[i] * self._cell
        if self._air[i]:
            drop = 0.25 * self._cell
            draw.ellipse(_around(x + drop, y + drop, radius), fill=mix(PAGE, GROUND, 0.6))
        ring = max(2 * SMOOTH, round(0.16 * radius))
        draw.ellipse(_around(x, y, radius), fill=mix(side, GROUND, 0.25))
        _arc(draw, _around(x, y, radius), float(unit["health"] / self._cast.most_health[i]), side, ring)
        if self._cast.most_shield[i]:
            share = float(unit["shield"] / self._cast.most_shield[i])
            width = round(max(1.5 * SMOOTH, 0.1 * radius))
            _arc(draw, _around(x, y, radius + width), share, SHIELD, width)
        size = max(8, round(1.15 * radius / SMOOTH))
        draw.text((x, y), LETTERS[self._cast.names[i]], fill=TEXT, font=self._font(size), anchor="mm")

    def _crosses(self, draw: ImageDraw.ImageDraw, moment: Moment) -> None:
        for i in np.flatnonzero(moment.time >= moment.died).tolist():
            age = (moment.time - float(moment.died[i])) / CROSS_STEPS
            side = SIDES[i >= self._cast.n_agents]
            colour = mix(side, GROUND, round(8 * max(0.25, 0.75 - 0.5 * age)) / 8)
            x, y = self._at(float(moment.units["x"][i]), float(moment.units["y"][i]))
            reach = 0.22 * self._cell
            for slope in (-1, 1):
                draw.line(
                    (x - reach, y - slope * reach, x + reach, y + slope * reach), fill=colour, width=3
                )

    def _blasts(self, draw: ImageDraw.ImageDraw, moment: Moment) -> None:
        for start, strike in moment.strikes:
            age = (moment.time - start) / BLAST_STEPS
            if strike.kind == "blast" and 0 <= age < 1:
                x, y = self._at(*(float(moment.units[axis][strike.source]) for axis in "xy"))
                side = SIDES[strike.source >= self._cast.n_agents]
                radius = self._blast[strike.source] * self._cell * (0.4 + 0.6 * age)
                colour = mix(side, GROUND, (3 + round(5 * (1 - age))) / 8)
                draw.ellipse(_around(x, y, radius), outline=colour, width=3 * SMOOTH)

    def _shots(self, draw: ImageDraw.ImageDraw, moment: Moment) -> None:
        for start, strike in moment.strikes:
            age = moment.time - start
            ends = self._ends(moment.units, strike)
            side = SIDES[strike.source >= self._cast.n_agents]
            if strike.kind == "missile" and 0 <= age < strike.lasts:
                head, tail = age / strike.lasts, max(0.0, age / strike.lasts - 0.3)
                draw.line((*_between(*ends, tail), *_between(*ends, head)), fill=side, width=2 * SMOOTH)
                draw.ellipse(_around(*_between(*ends, head), 2 * SMOOTH), fill=TEXT)
            elif strike.kind == "heal" and 0 <= age < 1:
                draw.line((*ends[0], *ends[1]), fill=HEAL, width=SMOOTH)
                _plus(draw, *_between(*ends, 0.5), 3 * SMOOTH)
            elif strike.kind in ("instant", "melee", "beam") and 0 <= age < SHOT_STEPS * (
                2 if strike.kind == "beam" else 1
            ):
                width = {"instant": 1.5 * SMOOTH, "melee": 3 * SMOOTH, "beam": 2 * SMOOTH}[strike.kind]
                colour = BEAM if strike.kind == "beam" else side
                draw.line((*ends[0], *ends[1]), fill=colour, width=round(width))
                if strike.kind == "beam":
                    self._sweep(draw, moment.units, strike)
                elif strike.kind == "instant":
                    draw.ellipse(_around(*ends[1], 1.5 * SMOOTH), fill=TEXT)

    def _ends(self, units: NDArray[Any], strike: Strike) -> tuple[Point, Point]:
        """A line from edge to edge of the two discs, from centre to centre when they overlap."""
        a, b = strike.source, strike.target
        start, end = (self._at(float(units["x"][i]), float(units["y"][i])) for i in (a, b))
        length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
        reach = (self._radius[a] + self._radius[b]) * self._cell
        if length <= reach + 2 * SMOOTH:
            return start, end
        cut = self._radius[a] * self._cell / length, 1 - 0.6 * self._radius[b] * self._cell / length
        return _between(start, end, cut[0]), _between(start, end, cut[1])

    def _sweep(self, draw: ImageDraw.ImageDraw, units: NDArray[Any], strike: Strike) -> None:
        """The colossus burns what stands on a line across its aim (smac.md 9.5)."""
        a, b = strike.source, strike.target
        dx, dy = (float(units[axis][b] - units[axis][a]) for axis in "xy")
        length = float(np.hypot(dx, dy)) or 1.0
        half, x, y = self._beam[a], float(units["x"][b]), float(units["y"][b])
        across = (-dy / length * half, dx / length * half)
        first, last = self._at(x - across[0], y - across[1]), self._at(x + across[0], y + across[1])
        draw.line((*first, *last), fill=BEAM, width=3 * SMOOTH)

    def _ending(self, draw: ImageDraw.ImageDraw, words: str, colour: Colour) -> None:
        x, y = self.size[0] * SMOOTH / 2, self._top + 34 * SMOOTH
        font = self._font(26)
        left, top, right, bottom = draw.textbbox((x, y), words, font=font, anchor="mm")
        pad = 9 * SMOOTH
        draw.rounded_rectangle(
            (left - pad, top - pad, right + pad, bottom + pad), radius=pad, fill=PAGE, outline=colour, width=4
        )
        draw.text((x, y), words, fill=colour, font=font, anchor="mm")


def _around(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius


def _between(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def _arc(
    draw: ImageDraw.ImageDraw, box: Iterable[float], share: float, colour: Colour, width: int
) -> None:
    if share > 0:
        draw.arc(tuple(box), -90, -90 + 360 * min(share, 1.0), fill=colour, width=width)


def _plus(draw: ImageDraw.ImageDraw, x: float, y: float, reach: float) -> None:
    draw.line((x - reach, y, x + reach, y), fill=HEAL, width=2 * SMOOTH)
    draw.line((x, y - reach, x, y + reach), fill=HEAL, width=2 * SMOOTH)
