"""Which licence a model may have, from the licences of what it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from domadapt.report.card_license import Input, Terms, decide, declared_license


def model(license: str) -> Input:
    return Input("the base model", license, is_model=True)


def text(license: str) -> Input:
    return Input("text of source", license)


@pytest.mark.parametrize(
    ("license", "terms"),
    [
        ("CC0-1.0", Terms.PUBLIC_DOMAIN),
        ("public record (EDGAR)", Terms.PUBLIC_DOMAIN),
        ("Apache-2.0", Terms.PERMISSIVE),
        ("CC-BY-4.0", Terms.PERMISSIVE),
        ("PSF-2.0", Terms.PERMISSIVE),
        ("CC-BY-SA-4.0", Terms.SHARE_ALIKE),
        ("llama3", Terms.USE_RESTRICTED),
        ("CC-BY-NC-4.0", Terms.NON_COMMERCIAL),
        ("CC-BY-NC-SA-4.0", Terms.NON_COMMERCIAL),
        ("CC-BY-NC-ND-4.0", Terms.NO_DERIVATIVES),
        ("", Terms.UNKNOWN),
        ("see our site", Terms.UNKNOWN),
    ],
)
def test_licences_are_known_by_what_they_ask(license: str, terms: Terms) -> None:
    assert text(license).terms == terms


@pytest.mark.parametrize(
    ("inputs", "id", "public"),
    [
        ([model("apache-2.0"), text("CC0-1.0")], "apache-2.0", True),
        ([model("apache-2.0"), text("PSF-2.0")], "apache-2.0", True),
        ([model("llama3"), text("public record (EDGAR)")], "llama3", True),
        ([model("llama2"), text("CC-BY-NC-4.0")], "cc-by-nc-4.0", True),
        ([model("apache-2.0"), text("CC-BY-NC-ND-4.0")], "cc-by-nc-nd-4.0", False),
        ([model("apache-2.0"), text("")], "unknown", False),
        ([], "unknown", False),
    ],
)
def test_the_strictest_input_decides(inputs: list[Input], id: str, public: bool) -> None:
    decision = decide(inputs)
    assert (decision.id, decision.may_be_public) == (id, public)


def test_an_unknown_licence_is_said_plainly_and_by_name() -> None:
    decision = decide([model("llama3"), Input("text of files", "as agreed"), text("")])
    assert decision.id == "unknown"
    assert "text of files (it says 'as agreed'), text of source" in decision.reason
    assert "of the others the strictest is a licence with terms of use" in decision.reason


def test_two_licences_of_equal_strictness_both_hold() -> None:
    decision = decide([model("llama3"), Input("the instruct model", "gemma", is_model=True)])
    assert (decision.id, decision.name) == ("other", "llama3 and gemma")
    assert "the terms of all of them hold" in decision.reason


def test_what_the_publisher_states_holds() -> None:
    decision = decide([text("")], "cc-by-4.0")
    assert (decision.id, decision.may_be_public, decision.reason) == ("cc-by-4.0", True, "stated by the publisher")


def test_a_models_readme_states_its_licence(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: my-terms\n---\n# x\n")
    assert declared_license(str(tmp_path)) == "my-terms"
    (tmp_path / "README.md").write_text("# no front matter\n")
    assert declared_license(str(tmp_path)) == ""
    assert declared_license("builtin:tiny") == "apache-2.0"
    assert declared_license("meta-llama/Meta-Llama-3-8B-Instruct@abc") == "llama3"
    assert declared_license("someone/something") == ""
