"""Draw the life cycle from the transition table, as docs/_static/lifecycle.svg.

``python tests/lifecycle.py`` writes the file. The positions of boxes and lines are defined here,
the labels come from the table. An edge without a line, or a line without an edge, is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Final

from vmfa.lifecycle import TRANSITIONS, Action, State

SVG: Final = Path(__file__).parents[1] / "docs/_static/lifecycle.svg"
FREE: Final = (State.NO_DEVICE, State.ENROLLING)
ASSIGNED: Final = (State.IN_SYNC, State.OUT_OF_SYNC, State.DISABLED)
GROUPS: Final = {"free": FREE, "assigned": ASSIGNED}
WIDE, HIGH = 130, 60

PLACES: Final = {
    State.NO_DEVICE: (110, 150),
    State.ENROLLING: (110, 430),
    State.IN_SYNC: (520, 270),
    State.OUT_OF_SYNC: (520, 430),
    State.DISABLED: (785, 350),
}
FRAMES: Final = {"free": (15, 80, 256, 445), "assigned": (420, 80, 450, 445)}

# Of each line: its path, the position of its label, and which end of the label is there.
LINES: Final = {
    (State.NO_DEVICE, State.ENROLLING): ("M78,180 V400", (70, 290), "end"),
    (State.ENROLLING, State.NO_DEVICE): ("M104,400 V180", (113, 275), "start"),
    (State.ENROLLING, State.ENROLLING): ("M66,460 C56,501 96,501 90,460", (98, 484), "start"),
    (State.ENROLLING, State.IN_SYNC): ("M175,412 L455,293", (335, 334), "end"),
    (State.ENROLLING, State.OUT_OF_SYNC): ("M175,440 H455", (345, 460), "middle"),
    (State.IN_SYNC, State.IN_SYNC): ("M490,240 C480,191 530,191 522,240", (536, 212), "start"),
    (State.IN_SYNC, State.DISABLED): ("M585,280 L720,335", (618, 262), "start"),
    (State.OUT_OF_SYNC, State.IN_SYNC): ("M520,400 V300", (530, 355), "start"),
    (State.OUT_OF_SYNC, State.OUT_OF_SYNC): (
        "M490,460 C480,501 530,501 522,460",
        (536, 492),
        "start",
    ),
    (State.OUT_OF_SYNC, State.DISABLED): ("M585,420 L720,365", (652, 420), "start"),
    ("assigned", State.NO_DEVICE): ("M420,135 H175", (343, 126), "middle"),
    ("free", State.IN_SYNC): ("M271,258 H455", (343, 250), "middle"),
    ("free", State.DISABLED): (
        "M271,190 C360,190 420,145 560,145 S790,180 800,320",
        (610, 132),
        "start",
    ),
}
ENDINGS: Final = {  # how an action with several possible results ended
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

SCOPES: Final = {
    "every state": tuple(State),
    "every assigned state": ASSIGNED,
    "every state without a device": FREE,
}
UNCHANGED: Final = {Action.DEACTIVATE: "deactivate (wrong recovery code)"}

Source = State | str
Edge = tuple[Source, Action, State]


def edges() -> tuple[list[Edge], list[str]]:
    """The edges to draw, and sentences about actions that are the same in several states.

    States of a group that share an edge have one edge for the group.
    """
    left = {(old, action, new) for (old, action), ends in TRANSITIONS.items() for new in ends}
    sentences = []
    for scope, states in SCOPES.items():
        keeping = [
            action for action in Action if {(state, action, state) for state in states} <= left
        ]
        if keeping:
            names = ", ".join(UNCHANGED.get(action, action.value) for action in keeping)
            sentences.append(f"in {scope}, without a change of the state: {names}")
        left -= {(state, action, state) for state in states for action in keeping}
    for action in Action:
        ends = {new for _, other, new in left if other is action}
        if len(ends) == 1 and {(state, action, min(ends)) for state in State} <= left:
            sentences.append(f"from every state to \u201c{min(ends)}\u201d: {action}")
            left = {edge for edge in left if edge[1] is not action}
    drawn: list[Edge] = []
    for name, members in GROUPS.items():
        for action in Action:
            for new in State:
                shared = {(member, action, new) for member in members}
                if new not in members and shared <= left:
                    left -= shared
                    drawn.append((name, action, new))
    order = list(Action)
    drawn += sorted(left, key=lambda edge: (order.index(edge[1]), edge[0], edge[2]))
    return drawn, sentences


def draw() -> str:
    """Return the diagram as SVG."""
    drawn, sentences = edges()
    labels: dict[tuple[Source, State], list[str]] = {}
    for old, action, new in drawn:
        ending = ENDINGS.get((old, action, new))
        label = f"{action} ({ending})" if ending else action.value
        labels.setdefault((old, new), []).append(label)
    unmatched = labels.keys() ^ LINES.keys() or ENDINGS.keys() - set(drawn)
    if unmatched:
        raise ValueError(f"not drawn, or not in the table: {unmatched}")
    body: list[str] = []
    for name, (x, y, width, height) in FRAMES.items():
        box = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="14"'
        title = "assigned: a code is required" if name == "assigned" else "no code is required"
        body.append(f'<rect class="frame" {box}/>')
        body += label_at(title, x + width / 2, y - 10, "middle", "title")
    for edge, (path, (x, y), anchor) in LINES.items():
        body.append(f'<path class="line" d="{path}" marker-end="url(#tip)"/>')
        body += lines_of_text(labels[edge], x, y, anchor)
    for state, (x, y) in PLACES.items():
        box = f'x="{x - WIDE / 2:g}" y="{y - HIGH / 2:g}" width="{WIDE}" height="{HIGH}" rx="10"'
        body.append(f'<rect class="state" {box}/>')
        body += label_at(state.removeprefix("assigned, "), x, y + 5, "middle", "name")
    wrapped = [line for sentence in sentences for line in wrap(sentence, 100)]
    body += lines_of_text(wrapped, 15, 555, "start")
    height = 520 + 20 * len(wrapped)
    return "\n".join((HEAD.replace("HEIGHT", str(height)), *body, "</svg>\n"))


def label_at(text: str, x: float, y: float, anchor: str, kind: str) -> list[str]:
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return [f'<text class="{kind}" {place}>{escape(text)}</text>']


def lines_of_text(lines: Iterable[str], x: int, y: int, anchor: str) -> list[str]:
    return [
        f'<text x="{x}" y="{y + 20 * row}" text-anchor="{anchor}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    ]


HEAD: Final = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 45 885 HEIGHT" role="img">
<title>The life cycle of a device</title>
<style>
text { font: 16px system-ui, sans-serif; fill: #24292f }
.name { font-weight: 600; font-size: 17px }
.title { fill: #57606a; font-style: italic }
.state { fill: #eef4ff; stroke: #3b5b92; stroke-width: 1.5 }
.frame { fill: none; stroke: #9aa4b2; stroke-dasharray: 6 5 }
.line { fill: none; stroke: #3b5b92; stroke-width: 1.5 }
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"
orient="auto">
<path d="M0,0 L10,5 L0,10 z" fill="#3b5b92"/></marker></defs>
<rect y="45" width="885" height="HEIGHT" rx="10" fill="#ffffff"/>"""


if __name__ == "__main__":
    SVG.parent.mkdir(exist_ok=True)
    SVG.write_text(draw())
