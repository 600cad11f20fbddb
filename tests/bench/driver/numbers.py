# SPDX-License-Identifier: MIT
"""Medians and ratios of interleaved rounds, and how they are written."""

from statistics import median


def ratios(above, below):
    """Round by round: each pair was measured within seconds of each other."""
    return [a / b for a, b in zip(above, below) if b]


def three(values):
    """Minimum, median, maximum."""
    return (min(values), median(values), max(values)) if values else None


def show(value, digits=3):
    """A figure with so many significant digits; None is a dash."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.0f}"
    return text


def middle(values):
    return median(values) if values else None


def show_three(values):
    spread = three(values)
    if spread is None:
        return "–"
    low, mid, high = (f"{value:.2f}" for value in spread)
    return f"**{mid}** ({low} … {high})"


def table(header, rows):
    """Markdown."""
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join("---" for _ in header) + " |"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return lines
