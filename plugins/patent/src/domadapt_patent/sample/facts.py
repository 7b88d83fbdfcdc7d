"""What the grammar's facts say about an invention: names with signs, verb forms, numbers with units."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

from domadapt.testing.prose import Fact
from domadapt_patent.sample.english import a, gerund, is_plural, listed, plural, third
from domadapt_patent.sample.invention import Invention, Part, Range, Test

_UNITS = {"C": "°C", "um": "µm", "us": "µs", "uJ": "µJ", "deg": "degrees", "-": ""}
_LOGIC = (
    "controller", "scheduler", "monitoring circuit", "canceller", "voice detector", "processor", "router",
    "anomaly filter", "table", "security element", "buffer", "histogram memory", "wake-up receiver", "converter",
)  # fmt: skip


def number(value: float, digits: int, unit: str) -> str:
    """A number with its unit as printed: "2.50 mm"."""
    return f"{value:.{digits}f} {printed_unit(unit)}".rstrip()


def printed_unit(unit: str) -> str:
    """A unit of the vocabulary as printed, "" when there is none."""
    return _UNITS.get(unit, unit)


def signed(part: Part) -> str:
    """The definite name with the reference sign: "the drop tube #120"."""
    return f"the {part.name} #{part.sign}"


def introduced(part: Part) -> str:
    """The indefinite name with the reference sign."""
    return f"{a(part.name)} #{part.sign}"


def does(part: Part, function: str) -> str:
    """A function as the part's predicate."""
    return function if is_plural(part.name) else third(function)


def made(part: Part, material: str) -> str:
    """What a part consists of: "made of steel", "formed by a boost stage", "based on firmware"."""
    if material.startswith(("a ", "an ")):
        return f"formed by {material}"
    return f"{'based on' if part.name.endswith(_LOGIC) else 'made of'} {material}"


def general(invention: Invention, rng: random.Random) -> dict[str, Fact]:
    """Facts that hold throughout the document."""
    field, device = invention.field, invention.device
    medium, medium2 = rng.sample(field.media, 2)
    approaches = rng.sample(field.approaches, 2)
    return {
        "Field": field.name,
        "Device": device,
        "The_device": f"the {device}",
        "A_device": a(device),
        "A_quality_device": a(f"{invention.quality} {device}"),
        "Quality": invention.quality,
        "Devices": plural(device),
        "Are_devices": f"are {plural(device)}",
        "Sign": f"#{invention.sign}",
        "Medium": medium,
        "Medium2": medium2,
        "Medium_is": f"{medium} {'are' if is_plural(medium) else 'is'}",
        "Setting": _in_turn(rng.sample(field.settings, 3)),
        "Approach": approaches[0],
        "Approach2": approaches[1],
        "Approach_has": "have" if is_plural(approaches[0]) else "has",
        "Drawback": _in_turn(rng.sample(field.drawbacks, 4)),
        "Effect": invention.idea.effect,
        "Feature": invention.idea.feature,
        "Measure": invention.test.measure.name,
    }


def focus(part: Part, others: Sequence[Part], invention: Invention, rng: random.Random) -> dict[str, Fact]:
    """Facts about the part a paragraph is about, and about another one it has to do with."""
    many = is_plural(part.name)
    other = rng.choice(others)
    holder = part.parent or part
    functions = part.functions or ("carry the other parts",)
    function = _in_turn(functions)
    piece, sign = part.pieces[0] if part.pieces else (part.name, part.sign)
    pieces = [f"{a(name)} #{number}" for name, number in part.pieces] or [introduced(part)]
    return {
        "P": signed(part),
        "P_bare": f"the {part.name}",
        "P_start": f"The {part.name}",
        "It": "they" if many else "it",
        "It_obj": "them" if many else "it",
        "Is": "are" if many else "is",
        "Has": "have" if many else "has",
        "S": "" if many else "s",
        "Do": function,
        "Does": lambda rng: does(part, function(rng)),
        "Doing": lambda rng: gerund(function(rng)),
        "DoesToo": lambda rng: does(part, function(rng)),
        "Joint": part.joint,
        "Joint2": rng.choice([joint for joint in invention.field.joints if joint != part.joint]),
        "Q": signed(holder),
        "Q_bare": f"the {holder.name}",
        "QS": "" if is_plural(holder.name) else "s",
        "O": signed(other),
        "O_bare": a(other.name),
        "Is_O": "are" if is_plural(other.name) else "is",
        "O_does": does(other, rng.choice(other.functions)),
        "Pieces": listed(pieces),
        "Pieces_bare": listed([a(name) for name, _ in part.pieces] or [a(part.name)]),
        "Piece": f"{piece} #{sign}",
        "Piece_is": "are" if is_plural(piece) else "is",
        "Made": made(part, part.materials[0]),
        "Made2": made(part, part.materials[-1]),
        "Material2": part.materials[-1],
        "Materials": listed(part.materials, "or"),
    }


def ranged(over: Range) -> dict[str, Fact]:
    """Facts about a quantity and its range."""
    say = partial(number, digits=over.digits, unit=over.quantity.unit)
    return {
        "RangeName": f"the {over.quantity.name}",
        "RangeName_bare": over.quantity.name,
        "RangePart": signed(over.part),
        "RangePart_bare": f"the {over.part.name}",
        "Low": say(over.low),
        "High": say(over.high),
        "PLow": say(over.preferred_low),
        "PHigh": say(over.preferred_high),
        "Best": say(over.best),
        "TooSmall": over.quantity.too_small,
        "TooLarge": over.quantity.too_large,
    }


def tested(test: Test) -> dict[str, Fact]:
    """Facts about the results of a test."""
    say = partial(number, digits=test.digits, unit=test.measure.unit)
    setting = partial(number, digits=test.over.digits, unit=test.over.quantity.unit)
    best = test.results[test.best]
    return {
        "Settings": listed([setting(value) for value in test.settings]),
        "Number": ("three", "four", "five", "six", "seven")[len(test.settings) - 3],
        "Result": say(best),
        "BestSetting": setting(test.settings[test.best]),
        "Known": say(test.known),
        "Difference": say(abs(round(best, test.digits) - round(test.known, test.digits))),
        "Change": "more" if best > test.known else "less",
    }


def _in_turn(choices: Sequence[str]) -> Callable[[random.Random], str]:
    """A fact that is another one each time, so that a document does not repeat itself at once."""
    turn = cycle(choices)
    return lambda rng: next(turn)
