"""The chart: one bar a task, from 1 (as quick as the best right peer) to the right where Millstream is ahead, to the
left where it is behind, on a logarithmic scale."""

import html
import math

WIDTH, TITLES, RIGHT, ROW, TOP, BOTTOM = 900, 340, 70, 20, 58, 48
# The scale goes at least from and to these ratios.
LEAST, MOST = 0.5, 8

STYLE = """
svg { font: 12px system-ui, sans-serif; }
.ground { fill: #ffffff; } text { fill: #1f2328; } .quiet { fill: #59636e; }
.grid { stroke: #d1d9e0; } .one { stroke: #1f2328; }
.ahead { fill: #1a7f5a; } .short { fill: #7fbf9f; } .behind { fill: #c4501b; }
.mark { stroke: #1f2328; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117; } text { fill: #f0f6fc; } .quiet { fill: #9198a1; }
  .grid { stroke: #3d444d; } .one { stroke: #f0f6fc; }
  .ahead { fill: #3fb68b; } .short { fill: #2c6e57; } .behind { fill: #f0883e; } .mark { stroke: #f0f6fc; }
}
"""


def svg(document):
    """The text of the picture."""
    tasks = document["tasks"]
    ratios = [t["ratio"] for t in tasks if t["ratio"]] + [t["clearly_ahead"] for t in tasks]
    low, high = min([LEAST, *ratios]) / 1.1, max([MOST, *ratios]) * 1.1
    height = TOP + ROW * len(tasks) + BOTTOM
    span = WIDTH - TITLES - RIGHT

    def x(ratio):
        return TITLES + span * math.log(ratio / low) / math.log(high / low)

    def text(at, y, words, anchor="start", kind=None):
        of_kind = f' class="{kind}"' if kind else ""
        return f'<text x="{at:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of_kind}>{html.escape(words)}</text>'

    def bar(start, end, y, kind, tall=ROW - 6):
        left, wide = min(start, end), abs(end - start)
        return f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall}"/>'

    def rule(at, y1, y2, kind):
        return f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'

    head = "Times as fast as the quickest peer whose answer is right"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{head}">',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        text(12, 20, head),
    ]
    at = 12
    for kind, words in (("ahead", "clearly ahead"), ("short", "ahead"), ("behind", "behind")):
        out += [bar(at, at + 12, 30, kind, 12), text(at + 18, 40, words, kind="quiet")]
        at += 30 + 7 * len(words)
    out += [rule(at + 6, 29, 43, "mark"), text(at + 16, 40, "what clearly ahead is", kind="quiet")]
    bottom = TOP + ROW * len(tasks)
    for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        if low <= tick <= high:
            out.append(rule(x(tick), TOP - 4, bottom + 2, "one" if tick == 1 else "grid"))
            out.append(text(x(tick), bottom + 16, f"{tick:g}×", "middle", "quiet"))
    for i, task in enumerate(tasks):
        y = TOP + ROW * i
        out.append(text(TITLES - 10, y + ROW / 2 + 4, task["title"], "end"))
        out.append(rule(x(task["clearly_ahead"]), y + 1, y + ROW - 1, "mark"))
        ratio = task["ratio"]
        if ratio is None:
            out.append(text(WIDTH - 12, y + ROW / 2 + 4, "not yet", "end", "quiet"))
            continue
        kind = "ahead" if ratio >= task["clearly_ahead"] else ("short" if ratio >= 1 else "behind")
        # The mark stays in sight before the bar.
        out.insert(-1, bar(x(1), x(ratio), y + 3, kind))
        out.append(text(WIDTH - 12, y + ROW / 2 + 4, f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.0f}×", "end"))
    facts = document["machine"]
    words = (
        f"{facts['cpu']}, {facts['cores']} cores, {document['date'][:10]}, medians of {document['runs']} rounds in turn"
    )
    if document["trial"]:
        words += f"; {document['trial']}"
    out += [text(12, height - 8, words, kind="quiet"), "</svg>"]
    return "\n".join(out) + "\n"
