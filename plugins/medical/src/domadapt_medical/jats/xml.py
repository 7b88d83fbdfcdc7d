"""Parse XML from strangers: no network, no DTD, no expansion of entities, bounded depth and size.

JATS files name a DTD that declares `&nbsp;` and some thousand other characters. The DTD is never loaded;
the names are looked up in HTML 5's table, which contains the ISO entity sets that JATS uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.entities import html5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml import etree

_REFERENCE = re.compile(rb"&([A-Za-z][A-Za-z0-9.]*);")
_PREDEFINED = {b"amp", b"lt", b"gt", b"quot", b"apos"}
# libxml2's numbers, see xmlerror.h
_UNDECLARED_ENTITY = 26
_ENCODING = frozenset({31, 32, 81, 6003})
_ENTITY_LOOP, _RESOURCES = 89, 114
MAX_ENTITY = 64
"""Longest text of an entity that a document declares. A character or a name; more would let a small file grow large."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Rejected(Exception):  # noqa: N818 - a verdict on one document, not an error of the run
    """The bytes cannot be a document; the message is the reason, one of a few short ones."""


def parse_xml(data: bytes) -> etree._Element:
    """The root element. Raises Rejected when the document is damaged or dangerous."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if error.code != _UNDECLARED_ENTITY:
            raise Rejected(_reason(error)) from None
        # without a DOCTYPE libxml2 refuses what it would leave as a reference with one
        try:
            root = etree.fromstring(_REFERENCE.sub(_character_reference, data), parser)
        except etree.XMLSyntaxError as second:
            raise Rejected(_reason(second)) from None
    return root


def _reason(error: etree.XMLSyntaxError) -> str:
    if error.code == _RESOURCES:
        message = str(error)
        deep = "nested too deeply" if "depth" in message else "oversized text"
        return "nested entity" if "amplification" in message else deep
    if error.code in _ENCODING:
        return "wrong encoding"
    return "nested entity" if error.code == _ENTITY_LOOP else "damaged XML"


def declared_entities(root: etree._Element) -> Mapping[str, str]:
    """Plain-text entities the document declares itself.

    Raises Rejected for a declaration that points to a file or an address, or that refers to other
    entities: nobody needs either in an article, attacks do.
    """
    dtd = root.getroottree().docinfo.internalDTD
    declared = {}
    for entity in dtd.iterentities() if dtd is not None else ():
        content = entity.content
        if content is None or entity.system_url:
            raise Rejected("external entity")
        if "&" in content or "<" in content or "%" in content:
            raise Rejected("nested entity")
        if len(content) > MAX_ENTITY:
            raise Rejected("long entity")
        declared[entity.name] = content
    return declared


def entity_text(name: str, declared: Mapping[str, str]) -> str:
    """What an entity reference stands for; U+FFFD when nobody knows, so that the loss stays visible."""
    return declared.get(name) or html5.get(f"{name};", UNKNOWN)


def local_name(element: etree._Element) -> str:
    """Tag without namespace; "" for comments, processing instructions and entity references."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _character_reference(match: re.Match[bytes]) -> bytes:
    name = match[1]
    if name in _PREDEFINED:
        return match[0]
    characters = html5.get(f"{name.decode('ascii')};", UNKNOWN)
    return "".join(f"&#{ord(c)};" for c in characters).encode("ascii")
