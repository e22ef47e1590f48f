"""Ways over a 32 x 32 grid: clear segments, flow fields, waypoints. Source: smac.md 9.8."""

import heapq
import math

from tests.envs.reference.units import GRAIN

SIZE = 32
LOOK_AHEAD = 6
STEPS = [(0, 1, 10), (1, 0, 10), (0, -1, 10), (-1, 0, 10), (1, 1, 14), (1, -1, 14), (-1, -1, 14), (-1, 1, 14)]
"""(dx, dy, cost): N, E, S, W, NE, SE, SW, NW."""


class Ground:
    """The cells on which one kind of walker may be."""

    def __init__(self, cells):
        self.cells = frozenset(cells)
        xs, ys = {x for x, _ in cells}, {y for _, y in cells}
        extent = (max(xs) - min(xs) + 1) * (max(ys) - min(ys) + 1)
        self.needs_paths = len(self.cells) != extent
        self.ways = {cell: list(self.neighbours(cell)) for cell in self.cells}
        self.fields = {}

    def holds(self, x, y):
        return (math.floor(x), math.floor(y)) in self.cells

    def is_clear(self, start, end):
        """Whether the straight segment visits walkable cells only, exactly."""
        (x, y), (x1, y1) = ((round(px * GRAIN), round(py * GRAIN)) for px, py in (start, end))
        dx, dy = x1 - x, y1 - y
        cx, cy = x // GRAIN, y // GRAIN
        step_x, step_y = (1 if dx > 0 else -1), (1 if dy > 0 else -1)
        nx, ny = abs(x1 // GRAIN - cx), abs(y1 // GRAIN - cy)
        ax = GRAIN * (cx + 1) - x if dx > 0 else x - GRAIN * cx
        ay = GRAIN * (cy + 1) - y if dy > 0 else y - GRAIN * cy
        visited = [(cx, cy)]
        while nx or ny:
            lead = ax * abs(dy) - ay * abs(dx) if nx and ny else (-1 if nx else 1)
            if lead == 0:
                visited += [(cx + step_x, cy), (cx, cy + step_y)]
            if lead <= 0:
                cx, ax, nx = cx + step_x, ax + GRAIN, nx - 1
            if lead >= 0:
                cy, ay, ny = cy + step_y, ay + GRAIN, ny - 1
            visited.append((cx, cy))
        return self.cells.issuperset(visited)

    def neighbours(self, cell):
        """(cell, cost) of the steps allowed from a cell."""
        cx, cy = cell
        for dx, dy, cost in STEPS:
            if {(cx + dx, cy + dy), (cx + dx, cy), (cx, cy + dy)} <= self.cells:
                yield (cx + dx, cy + dy), cost

    def field(self, goal):
        """Cell -> least cost of the way to the goal cell, for the cells that have one."""
        if goal not in self.fields:
            gx, gy = goal
            start = min(self.cells, key=lambda c: ((c[0] - gx) ** 2 + (c[1] - gy) ** 2, c[1], c[0]))
            costs, heap = {}, [(0, start)]
            while heap:
                cost, cell = heapq.heappop(heap)
                if cell in costs:
                    continue
                costs[cell] = cost
                for other, step in self.ways[cell]:
                    heapq.heappush(heap, (cost + step, other))
            self.fields[goal] = costs
        return self.fields[goal]

    def way_point(self, start, goal):
        """The point that a walker at `start` heads for on its way to the point `goal`."""
        if not self.needs_paths or self.is_clear(start, goal):
            return goal
        field = self.field((math.floor(goal[0]), math.floor(goal[1])))
        cell = math.floor(start[0]), math.floor(start[1])
        centres = []
        while len(centres) < LOOK_AHEAD and field.get(cell, 0) > 0:
            ways = [(field[other] + cost, other) for other, cost in self.ways[cell]]
            cell = min(ways, key=lambda way: way[0])[1]
            centres.append((cell[0] + 0.5, cell[1] + 0.5))
        clear = [centre for centre in centres if self.is_clear(start, centre)]
        return (clear[-1:] or centres[:1] or [goal])[0]
