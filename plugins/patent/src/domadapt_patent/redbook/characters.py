"""Characters by name: entities of the older DTDs, and the dot codes of Green Book text (".degree.", ".sub.2").

HTML knows most of the ISO entity sets by the same names; what it lacks is here: ISOgrk1, the bold Greek of ISOgrk4,
a few of ISOpub and ISOtech. A name neither knows is unknown, its character is not guessed. Unknown dot codes stay
as printed: text is full of words between full stops.
"""

from __future__ import annotations

import html.entities
import re

_LETTERS = {
    "a": "alpha", "b": "beta", "g": "gamma", "d": "delta", "e": "epsilon", "z": "zeta", "ee": "eta", "th": "theta",
    "i": "iota", "k": "kappa", "l": "lambda", "m": "mu", "n": "nu", "x": "xi", "o": "omicron", "p": "pi", "r": "rho",
    "s": "sigma", "t": "tau", "u": "upsilon", "ph": "phi", "kh": "chi", "ps": "psi", "oh": "omega",
}  # fmt: skip
_GREEK = {name: html.entities.html5[f"{name};"] for name in _LETTERS.values()} | {"epsilon": "ε", "phi": "φ"}
_CAPITALS = {name: letter.upper() for name, letter in _GREEK.items()}

_ENTITIES = (
    {f"{short}gr": _GREEK[name] for short, name in _LETTERS.items()}
    | {(short[:2].upper() if short in ("th", "ph", "kh", "ps", "oh", "ee") else short.upper()) + "gr": _CAPITALS[name]
       for short, name in _LETTERS.items()}
    | {f"b.{name}": letter for name, letter in _GREEK.items()}
    | {f"b.{name.capitalize()}": letter for name, letter in _CAPITALS.items()}
    | {
        "sfgr": "ς", "thetas": "θ", "epsis": "ε", "epsi": "ε", "phis": "φ", "b.epsi": "ε", "b.epsiv": "ε",
        "b.phis": "φ", "b.phiv": "φ", "b.thetas": "θ", "b.thetav": "ϑ", "b.sigmav": "ς", "b.kappav": "ϰ", "b.rhov": "ϱ",
        "circlesolid": "●", "squaresolid": "■", "boxsolid": "■", "trianglesolid": "▲",
    }
)  # fmt: skip

_CODES = (
    _GREEK
    | {name.upper(): letter for name, letter in _CAPITALS.items()}
    | {
        "degree": "°", "+-": "±", "-+": "∓", "times": "×", "div": "÷", "multidot": "·", "ltoreq": "≤", "gtoreq": "≥",
        "noteq": "≠", "ident": "≡", "about": "~", "apprxeq": "≈", "approxeq": "≈", "congruent": "≅", "varies": "∝",
        "infin": "∞", "intg": "∫", "sqroot": "√", "differential": "∂", "gradient": "∇", "increment": "∆",
        "thrfore": "∴", "because": "∵", "angle": "∠", "parallel": "∥", "perp": "⊥", "vertline": "|", "prime": "′",
        "dblprime": "″", "dbd": "=", "tbd": "≡", "fwdarw": "→", "rarw": "←", "uparw": "↑", "dwnarw": "↓",
        "revreaction": "⇌", "andgate": "∩", "orgate": "∪", "sym": "⊕", "crclbar": "⊖", "cndot": "•", "circle": "○",
        "smallcircle": "○", "largecircle": "◯", "circle-solid": "●", "quadrature": "□", "box-solid": "■",
        "diamond": "◇", "diamond-solid": "◆", "ANG": "Å", "ang": "å", "TM": "™", "SM": "℠", "RTM": "®", "COPYRG": "©",
        "sctn": "§", "cent": "¢", "permill": "‰", "male": "♂", "female": "♀", "dblquote": '"', "0": "Ø",
        "music-sharp": "♯", "music-flat": "♭", "[": "[", "]": "]", "epsilon": "ε",
    }
)  # fmt: skip
_CODE = re.compile(r"\.([A-Za-z][A-Za-z-]{1,17}|\+-|-\+|0|\[|\])\.")
_HIGH = re.compile(r"\.sup\.(?=([+\-]?\d|[+\-])?)")
_LOW = re.compile(r"\.sub\.")
_ELEMENT = r"(?:Li|Na|Mg|Al|Si|Cl|Ca|Ti|Cr|Mn|Fe|Co|Ni|Cu|Zn|Br|Ag|Sn|Ba|Pt|Au|Hg|Pb|Me|Et|Ph|[HBCNOFPSKVYIWU])"
_BEFORE = "[HBCNOFPSKIlaei)]"  # how an element or a group that takes an index ends
# "H.sub.2 O": the blank ends the index and is not printed. Only between what can stand in a formula.
_FORMULA = re.compile(
    rf"(?<={_BEFORE})(\.sub\.\d{{1,2}}) (?={_ELEMENT}(?:\)|[.,;] |$| [a-z])|\(?{_ELEMENT}{{1,3}}\.sub\.)"
)


def of_entity(name: str) -> str | None:
    """The characters of an entity, None when its name is unknown."""
    if name in _ENTITIES:
        return _ENTITIES[name]
    # The name in full: html.unescape reads "&notthis;" as "&not;" and more.
    return html.entities.html5.get(f"{name};")


def of_codes(text: str) -> str:
    """Text with its dot codes replaced; exponents are written `10^-3`, indices on the line (`H2O`)."""
    if "." not in text:
        return text
    text = _FORMULA.sub(r"\1", text)
    text = _HIGH.sub(lambda found: "^" if found[1] else "", text)
    text = _LOW.sub("", text)
    # Codes share their full stops (".alpha..beta."), so the end of one is not the start of the next.
    return _CODE.sub(lambda found: _CODES.get(found[1], found[0]), text)
