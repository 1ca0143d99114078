"""Small pieces of SVG, escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from insitu.report.palette import RuleStyle


def num(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0") if value else "0"


def tag(name: str, *children: str | Markup, **attributes: object) -> Markup:
    """An element; ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``; no ``None``."""
    parts = [Markup("<") + name]
    for key, value in attributes.items():
        if value is not None:
            shown = num(value) if isinstance(value, float) else value
            parts.append(Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), shown))
    inner = Markup("").join(escape(child) for child in children)
    end = Markup("/>") if not children else Markup(">") + inner + Markup("</") + name + Markup(">")
    return Markup("").join(parts) + end


def group(children: Iterable[Markup], **attributes: object) -> Markup:
    return tag("g", Markup("").join(children), **attributes)


def picture(
    width: float, height: float, label: str, children: Iterable[Markup], **attributes: object
) -> Markup:
    """An ``svg`` that scales with its container and names itself to screen readers."""
    box = f"0 0 {num(width)} {num(height)}"
    return tag("svg", Markup("").join(children), viewBox=box, role="img", aria_label=label, **attributes)


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: object) -> Markup:
    extra = {"text_anchor": anchor} if anchor != "start" else {}
    return tag("text", words, x=float(x), y=float(y), **extra, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    return tag("path", d=f"M{num(x1)} {num(y1)}L{num(x2)} {num(y2)}", **attributes)


def path(points: Sequence[tuple[float, float]], *, close: bool = False, **attributes: object) -> Markup:
    """Straight pieces through the points."""
    d = "M" + "L".join(f"{num(x)} {num(y)}" for x, y in points) + ("Z" if close else "")
    return tag("path", d=d, **attributes)


_SHAPES = {
    "square": "M{a} {b}h{s}v{s}h-{s}z",
    "triangle": "M{x} {t}l{r} {h}h-{w}z",
    "diamond": "M{x} {t}l{r} {r}l-{r} {r}l-{r} -{r}z",
    "cross": "M{a} {b}l{s} {s}m0 -{s}l-{s} {s}",
}


def marker(x: float, y: float, style: RuleStyle, size: float = 5.0, *children: Markup) -> Markup:
    """The mark of a rule, filled with its colour (a cross is stroked)."""
    colour = f"m c{style.colour}" + (" x" if style.marker == "cross" else "")
    if style.marker == "circle":
        return tag("circle", *children, class_=colour, cx=float(x), cy=float(y), r=float(size))
    side, radius = size * 0.9, size * 1.25
    d = _SHAPES[style.marker].format(
        x=num(x), a=num(x - side), b=num(y - side), s=num(2 * side), t=num(y - radius),
        r=num(radius), h=num(2 * radius * 0.92), w=num(2 * radius),
    )  # fmt: skip
    return tag("path", *children, class_=colour, d=d)
