"""Draw the life cycle from the transition table: ``python tests/lifecycle.py`` writes docs/_static/lifecycle.svg.

The positions of boxes and lines are defined here. The labels come from the table. An edge without a line,
or a line without an edge, raises an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

from vmfa.lifecycle import TRANSITIONS, Action, State

SVG: Final = Path(__file__).parents[1] / "docs/_static/lifecycle.svg"
FREE: Final = (State.NO_DEVICE, State.ENROLLING)
ASSIGNED: Final = (State.IN_SYNC, State.OUT_OF_SYNC, State.DISABLED)
GROUPS: Final = {"free": FREE, "assigned": ASSIGNED}
WIDE, HIGH = 130, 60

PLACES: Final = {
    State.NO_DEVICE: (110, 150), State.ENROLLING: (110, 430),
    State.IN_SYNC: (520, 270), State.OUT_OF_SYNC: (520, 430), State.DISABLED: (785, 350),
}
FRAMES: Final = {"free": (15, 80, 256, 445), "assigned": (420, 80, 450, 445)}

# Of each line: its path, where its words begin, and which end of them.
LINES: Final = {
    (State.NO_DEVICE, State.ENROLLING): ("M78,180 V400", (70, 290), "end"),
    (State.ENROLLING, State.NO_DEVICE): ("M104,400 V180", (113, 275), "start"),
    (State.ENROLLING, State.ENROLLING): ("M66,460 C56,501 96,501 90,460", (98, 484), "start"),
    (State.ENROLLING, State.IN_SYNC): ("M175,412 L455,293", (335, 334), "end"),
    (State.ENROLLING, State.OUT_OF_SYNC): ("M175,440 H455", (345, 460), "middle"),
    (State.IN_SYNC, State.IN_SYNC): ("M490,240 C480,191 530,191 522,240", (536, 212), "start"),
    (State.IN_SYNC, State.DISABLED): ("M585,280 L720,335", (618, 262), "start"),
    (State.OUT_OF_SYNC, State.IN_SYNC): ("M520,400 V300", (530, 355), "start"),
    (State.OUT_OF_SYNC, State.OUT_OF_SYNC): ("M490,460 C480,501 530,501 522,460", (536, 492), "start"),
    (State.OUT_OF_SYNC, State.DISABLED): ("M585,420 L720,365", (652, 420), "start"),
    ("assigned", State.NO_DEVICE): ("M420,135 H175", (343, 126), "middle"),
    ("free", State.IN_SYNC): ("M271,258 H455", (343, 250), "middle"),
    ("free", State.DISABLED): ("M271,190 C360,190 420,145 560,145 S790,180 800,320", (610, 132), "start"),
}
ENDINGS: Final = {  # what an action that can end in several ways came to
    (State.ENROLLING, Action.OPEN, State.ENROLLING): "new key",
    (State.ENROLLING, Action.CONFIRM, State.ENROLLING): "wrong pair",
    (State.ENROLLING, Action.CONFIRM, State.NO_DEVICE): "last try",
    (State.ENROLLING, Action.CONFIRM, State.OUT_OF_SYNC): "late pair",
    (State.IN_SYNC, Action.VERIFY, State.DISABLED): "last failure",
    (State.IN_SYNC, Action.RESYNC, State.DISABLED): "last failure",
    (State.OUT_OF_SYNC, Action.RESYNC, State.DISABLED): "last failure",
    (State.OUT_OF_SYNC, Action.RESYNC, State.OUT_OF_SYNC): "wrong pair",
    ("free", Action.ADOPT, State.DISABLED): "no failures left",
}

Source = State | str
Edge = tuple[Source, Action, State]


def edges() -> tuple[list[Edge], list[str]]:
    """The edges to draw, one for a group whose phases all have it; and a sentence for what holds everywhere."""
    left = {(was, action, now) for (was, action), ends in TRANSITIONS.items() for now in ends}
    sentences = []
    for action in Action:
        there = {now for was, did, now in left if did is action}
        if {(phase, action, phase) for phase in State} <= left:
            sentences.append(f"{action}: in every state, does not change it")
        elif len(there) == 1 and {(phase, action, min(there)) for phase in State} <= left:
            sentences.append(f"{action}: from every state to “{min(there)}”")
        else:
            continue
        left = {edge for edge in left if edge[1] is not action}
    drawn: list[Edge] = []
    for name, members in GROUPS.items():
        for action in Action:
            for now in State:
                shared = {(member, action, now) for member in members}
                if now not in members and shared <= left:
                    left -= shared
                    drawn.append((name, action, now))
    order = list(Action)
    drawn += sorted(left, key=lambda edge: (order.index(edge[1]), edge[0], edge[2]))
    return drawn, sentences


def draw() -> str:
    drawn, sentences = edges()
    said: dict[tuple[Source, State], list[str]] = {}
    for was, action, now in drawn:
        why = ENDINGS.get((was, action, now))
        said.setdefault((was, now), []).append(f"{action} ({why})" if why else action.value)
    if said.keys() != LINES.keys() or not ENDINGS.keys() <= set(drawn):
        raise ValueError(f"not drawn, or not in the table: {said.keys() ^ LINES.keys()} {ENDINGS.keys() - set(drawn)}")
    body: list[str] = []
    for name, (x, y, wide, high) in FRAMES.items():
        body.append(f'<rect class="frame" x="{x}" y="{y}" width="{wide}" height="{high}" rx="14"/>')
        title = "assigned: a code is required" if name == "assigned" else "no code is required"
        body.append(f'<text class="title" x="{x + wide / 2:g}" y="{y - 10}" text-anchor="middle">{title}</text>')
    for edge, (path, (x, y), anchor) in LINES.items():
        body.append(f'<path class="line" d="{path}" marker-end="url(#tip)"/>')
        body += lines_of_text(said[edge], x, y, anchor)
    for phase, (x, y) in PLACES.items():
        left, top = x - WIDE / 2, y - HIGH / 2
        body.append(f'<rect class="phase" x="{left:g}" y="{top:g}" width="{WIDE}" height="{HIGH}" rx="10"/>')
        name = escape(phase.removeprefix("assigned, "))  # which its frame says
        body.append(f'<text class="name" x="{x}" y="{y + 5}" text-anchor="middle">{name}</text>')
    body += lines_of_text(sentences, 15, 555, "start")
    return "\n".join((HEAD, *body, "</svg>\n"))


def lines_of_text(lines: Iterable[str], x: int, y: int, anchor: str) -> list[str]:
    return [
        f'<text x="{x}" y="{y + 20 * row}" text-anchor="{anchor}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    ]


HEAD: Final = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 45 885 565" role="img">
<title>The life cycle of a device</title>
<style>
text { font: 16px system-ui, sans-serif; fill: #24292f }
.name { font-weight: 600; font-size: 17px }
.title { fill: #57606a; font-style: italic }
.phase { fill: #eef4ff; stroke: #3b5b92; stroke-width: 1.5 }
.frame { fill: none; stroke: #9aa4b2; stroke-dasharray: 6 5 }
.line { fill: none; stroke: #3b5b92; stroke-width: 1.5 }
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0,0 L10,5 L0,10 z" fill="#3b5b92"/></marker></defs>
<rect y="45" width="885" height="565" rx="10" fill="#ffffff"/>"""


if __name__ == "__main__":
    SVG.parent.mkdir(exist_ok=True)
    SVG.write_text(draw())
