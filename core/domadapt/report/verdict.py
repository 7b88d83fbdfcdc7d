"""The verdict of a run in words: only what the intervals support, and plainly "not shown" where they do not.

The gain is read from one measure fixed beforehand (bits per byte of the domain's held-out text, else the first
domain task). The loss is read from the first general measure on which CPT is worse, so that a loss
anywhere is said. Where several merges were made, the one shown first was chosen by these very numbers, and
the text says so. Where control arms were scored, the merge must beat the best of them: what a prompt or a merge
without training reaches is no gain of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from domadapt.report.ledger import BETTER, PERPLEXITY, UNCLEAR, WORSE
from domadapt.report.numbers import bounds, change, count, plain, unit_of
from domadapt.report.numbers import share as share_text

Entry = Mapping[str, Any]


def build_verdict(ledger: Entry) -> dict[str, Any]:
    """The headline, its sentences, the four numbers of the strip, and the main measures of both sides.

    control: the control arm that is best on the gain's measure, {label, gain, loss}: the chosen merge's
    differences to it on both main measures (see `build_ledger`, controls); None where none was scored.
    caution: what chance alone would do, "" where few comparisons were made.
    effect: "shown" (gain, loss and a merge that wins most of it back while keeping most of the gain),
    "partly" (a gain is shown, the rest is not) or "not shown" (no gain).
    """
    mains = [m for m in ledger["measures"] if m["main"]]
    domain = [m for m in mains if m["side"] == "domain"]
    gain = _main(domain)
    general = [m for m in mains if m["side"] == "general"]
    general.sort(key=lambda m: not m["task"].startswith(PERPLEXITY))
    cpt = ledger["cpt"]
    loss = next((m for m in general if _verdict(m, cpt) == WORSE), _main(general))
    merges = _merges(ledger, gain, loss)
    chosen = max(merges, key=lambda m: m["balance"], default=None)
    control = _best_control(ledger, gain, loss, chosen)
    effect, headline = _headline(_verdict(gain, cpt), _verdict(loss, cpt), chosen, control)
    sentences = [_gain_sentence(gain, ledger), *_count_sentence("domain", domain, ledger)]
    sentences += _loss_sentences(loss, general, ledger)
    if chosen is not None:
        sentences += [_merge_sentence(chosen, len(merges)), *_outcome_sentence(chosen, gain, loss, ledger)]
    if control is not None and chosen is not None and gain is not None:
        sentences.append(_control_sentence(control, chosen, gain, loss, ledger))
    sentences += _clean_sentences(mains, ledger)
    return {
        "effect": effect,
        "headline": headline,
        "sentences": sentences,
        "caution": _chance_sentence(ledger),
        "numbers": _numbers(gain, loss, chosen, ledger),
        "gain_measure": _name(gain),
        "loss_measure": _name(loss),
        "merges": merges,
        "chosen_merge": chosen["label"] if chosen else None,
        "control": control,
    }


def measure_title(measure: Entry) -> str:
    """How a measure is called in text: "domain bits per byte", "TASK (metric)"."""
    if measure["task"].startswith(PERPLEXITY):
        return f"{measure['side']} bits per byte"
    return f"{measure['task']} ({measure['metric']})" if measure["metric"] != measure["task"] else measure["task"]


def called(label: str | None) -> str:
    """A model's label as a word of a sentence."""
    return "CPT" if label in (None, "cpt") else str(label)


def difference_of(measure: Entry | None, label: str | None) -> Entry | None:
    """The difference of one model to the reference on a measure, None where there is none."""
    scores = measure["scores"] if measure else []
    return next((s["difference"] for s in scores if s["model"] == label), None)


def _main(measures: Sequence[Entry]) -> Entry | None:
    held_out = [m for m in measures if m["task"].startswith(PERPLEXITY)]
    return next(iter([*held_out, *measures]), None)


def _name(measure: Entry | None) -> dict[str, str] | None:
    return {"task": measure["task"], "metric": measure["metric"]} if measure else None


def _verdict(measure: Entry | None, label: str | None) -> str | None:
    difference = difference_of(measure, label)
    return difference["verdict"] if difference else None


def _merges(ledger: Entry, gain: Entry | None, loss: Entry | None) -> list[dict[str, Any]]:
    """One line per merge: the share of the gain kept and of the loss won back on the main measures."""
    lines = []
    for label in dict.fromkeys(share["merge"] for share in ledger["shares"]):
        own = [share for share in ledger["shares"] if share["merge"] == label]
        kept = _share_on(own, gain, "gain kept")
        won_back = _share_on(own, loss, "loss won back")
        known = [s["value"] for s in (kept, won_back) if s is not None and s["value"] is not None]
        lines.append({"label": label, "kept": kept, "won_back": won_back, "balance": sum(known)})
    return lines


def _share_on(shares: Sequence[Entry], measure: Entry | None, kind: str) -> Entry | None:
    name = _name(measure)
    return next((s for s in shares if {"task": s["task"], "metric": s["metric"]} == name and s["kind"] == kind), None)


def _best_control(ledger: Entry, gain: Entry | None, loss: Entry | None, chosen: Entry | None) -> dict[str, Any] | None:
    """The control arm with the best score on the gain's measure, and the chosen merge's differences to it."""
    if chosen is None or gain is None:
        return None
    scores = {score["model"]: score["value"] for score in gain["scores"]}
    own = [c for c in ledger["controls"] if c["merge"] == chosen["label"]]
    labels = [c["control"] for c in own if _name(c) == _name(gain)]
    if not labels:
        return None
    best = (max if gain["higher_is_better"] else min)(labels, key=lambda label: scores[label])

    def against(measure: Entry | None) -> Entry | None:
        return next((c for c in own if c["control"] == best and _name(c) == _name(measure)), None)

    return {"label": best, "gain": against(gain), "loss": against(loss)}


def _headline(
    gain: str | None, loss: str | None, chosen: Entry | None, control: Entry | None = None
) -> tuple[str, str]:
    if gain is None:
        return "not shown", "The domain gain was not measured."
    if gain == WORSE:
        return "not shown", "Continued pre-training made the domain worse."
    if gain == UNCLEAR:
        return "not shown", "No domain gain can be shown."
    if control is not None and control["gain"]["verdict"] != BETTER:
        told = "is worse than" if control["gain"]["verdict"] == WORSE else "cannot be told from"
        return "not shown", f"The merge {told} the control {control['label']} on the domain: no gain can be claimed."
    if loss is None:
        return "partly", "The domain gain is real; general ability was not measured."
    if loss == BETTER:
        return "partly", "The domain gain is real, and general ability rose as well."
    if loss == UNCLEAR:
        return "partly", "The domain gain is real, and no general loss can be shown."
    if chosen is None:
        return "partly", "The domain gain is real, and it cost general ability."
    kept, won_back = _low(chosen["kept"]), _low(chosen["won_back"])
    if kept > 0.5 and won_back > 0.5:
        return "shown", (
            "The domain gain is real, and the merge keeps most of it while it wins most of the general loss back."
        )
    if kept > 0 and won_back > 0:
        return "partly", "The domain gain is real, and the merge trades part of it for part of the general loss."
    if won_back > 0:
        return "partly", "The merge wins general ability back, but no domain gain is left that can be shown."
    return "partly", "The domain gain is real, but the merge does not measurably win the general loss back."


def _low(share: Entry | None) -> float:
    return share["low"] if share is not None and share["low"] is not None else float("-inf")


def _measured(difference: Entry, measure: Entry) -> str:
    unit = unit_of(measure["unit"])
    size = change(difference["value"], unit)
    return f"{size} (95 % interval {bounds(difference, unit, signed=True)})"


def _missable(difference: Entry, measure: Entry, ledger: Entry) -> str:
    """Why nothing can be shown: too few independent units for any verdict, or what could have been missed."""
    if measure["clusters"] < ledger["min_clusters"]:
        return (
            f"; {measure['clusters']} independent units (companies, documents) were scored, and with fewer than "
            f"{ledger['min_clusters']} no verdict is given whatever the interval: hold out more"
        )
    if difference["smallest_detectable"] is None:
        return ""
    unit = unit_of(measure["unit"])
    text = f"; differences below {plain(difference['smallest_detectable'], unit)}{unit.change} could go unnoticed"
    if measure["unit"] == "share" and (items := difference["items_for_one_point"]):
        text += f" ({count(items)} such items would show 1 point, {count(difference['n'])} were scored)"
    return text


def _gain_sentence(gain: Entry | None, ledger: Entry) -> str:
    difference = difference_of(gain, ledger["cpt"])
    if gain is None or difference is None:
        return "The domain gain was not measured: the recipe has no domain task for both models."
    name, against = measure_title(gain), ledger["reference"]
    if difference["verdict"] == UNCLEAR:
        return (
            f"No change of {name} from {against} to {called(ledger['cpt'])} can be shown: "
            f"{_measured(difference, gain)}{_missable(difference, gain, ledger)}."
        )
    better = "better" if difference["verdict"] == BETTER else "worse"
    return f"{called(ledger['cpt'])} is {better} than {against} on {name}: {_measured(difference, gain)}{_arrow(gain)}."


def _arrow(measure: Entry) -> str:
    return "" if measure["higher_is_better"] else ", lower is better"


def _loss_sentences(loss: Entry | None, general: Sequence[Entry], ledger: Entry) -> list[str]:
    difference = difference_of(loss, ledger["cpt"])
    if loss is None or difference is None:
        return ["General ability was not measured, so nothing is said about forgetting."]
    name = measure_title(loss)
    if difference["verdict"] == WORSE:
        first = f"It costs general ability: {_measured(difference, loss)} on {name}{_arrow(loss)}."
    elif difference["verdict"] == BETTER:
        first = f"It is better on {name} as well: {_measured(difference, loss)}{_arrow(loss)}."
    else:
        missable = _missable(difference, loss, ledger)
        first = f"No general loss can be shown: {_measured(difference, loss)} on {name}{missable}."
    return [first, *_count_sentence("general", general, ledger)]


def _count_sentence(side: str, measures: Sequence[Entry], ledger: Entry) -> list[str]:
    """On how many measures of a side CPT is worse, better or neither; nothing where the one above is all there is."""
    verdicts = [v for m in measures if (v := _verdict(m, ledger["cpt"])) is not None]
    if len(verdicts) < 2:
        return []
    if set(verdicts) == {UNCLEAR}:
        told = f"can be told from {ledger['reference']} on none"
    elif len(set(verdicts)) == 1:
        told = f"is {verdicts[0]} on all"
    else:
        told = "is " + ", ".join(f"{v} on {verdicts.count(v)}" for v in (BETTER, WORSE, UNCLEAR) if v in verdicts)
    return [f"Of the {len(verdicts)} {side} measures, {called(ledger['cpt'])} {told}."]


def _merge_sentence(chosen: Entry, num_merges: int) -> str:
    parts = []
    for share, verb, what in (
        (chosen["kept"], "keeps", "of the domain gain"),
        (chosen["won_back"], "wins back", "of the general loss"),
    ):
        if share is not None:
            value, interval = share_text(share)
            parts.append(f"{verb} {value} {what} ({interval})")
    if not parts:
        return "There is neither a gain to keep nor a loss to win back, so nothing is said about merging."
    text = f"The merge {chosen['label']} {' and '.join(parts)}."
    if num_merges > 1:
        text += f" It is the best balanced of {num_merges} merges by these same numbers, which flatters it a little."
    return text


def _outcome_sentence(chosen: Entry, gain: Entry | None, loss: Entry | None, ledger: Entry) -> list[str]:
    """What is left in the end: the merge against the reference, on both main measures."""
    told = []
    for measure in (gain, loss):
        difference = difference_of(measure, chosen["label"])
        if measure is not None and difference is not None:
            unit = unit_of(measure["unit"])
            told.append(
                f"{difference['verdict']} on {measure_title(measure)} "
                f"({plain(difference['value'], unit, signed=True)}; {bounds(difference, unit, signed=True)})"
            )
    if not told:
        return []
    return [f"Against {ledger['reference']}, {chosen['label']} is {' and '.join(told)}."]


def _control_sentence(control: Entry, chosen: Entry, gain: Entry, loss: Entry | None, ledger: Entry) -> str:
    """The chosen merge against the best control arm, on the gain's measure and on the loss's."""
    difference, name = control["gain"], measure_title(gain)
    text = f"The gain of {chosen['label']} over the best control, {control['label']}, is "
    if difference["verdict"] == UNCLEAR:
        missable = _missable(difference, gain, ledger)
        text += f"not distinguishable from 0 on {name}: {_measured(difference, gain)}{missable}"
    else:
        text += f"{_measured(difference, gain)} on {name}{_arrow(gain)}: {difference['verdict']}"
    other = control["loss"]
    if loss is not None and other is not None:
        text += f"; on {measure_title(loss)} it is {other['verdict']} ({_measured(other, loss)})"
    return text + "."


def _clean_sentences(measures: Sequence[Entry], ledger: Entry) -> list[str]:
    """CPT on the items that do not occur in the text of the sources, for each measure where some do."""
    sentences = []
    for measure in measures:
        if not measure["dirty_items"]:
            continue
        share = f"{count(measure['dirty_items'])} of {count(measure['scores'][0]['n'])}"
        text = f"{share} items of {measure_title(measure)} "
        if measure["dirty_dropped"]:
            text += "were found in documents of the sources, which were dropped before training"
        else:
            text += "occur in the training text"
        difference = difference_of(measure["clean"], ledger["cpt"])
        if difference is not None:
            text += (
                f"; on the others {called(ledger['cpt'])} is {difference['verdict']} against {ledger['reference']}: "
                f"{_measured(difference, measure)}"
            )
        sentences.append(text + ".")
    return sentences


def _chance_sentence(ledger: Entry) -> str:
    comparisons = ledger["comparisons"]
    if comparisons < 10:
        return ""
    return (
        f"Intervals hold for one comparison each: of the {comparisons} made here about {round(comparisons / 20)} "
        "would look different by chance alone; the adjusted p-values allow for that."
    )


def _numbers(gain: Entry | None, loss: Entry | None, chosen: Entry | None, ledger: Entry) -> list[dict[str, Any]]:
    """The four numbers of the strip. kind "difference" has a unit, kind "share" is a share of 1."""
    numbers = []
    for label, measure in (("Domain, after training", gain), ("General, after training", loss)):
        difference = difference_of(measure, ledger["cpt"])
        pair = f"{called(ledger['cpt'])} − {ledger['reference']}"
        numbers.append(
            {
                "label": label,
                "kind": "difference",
                "unit": measure["unit"] if measure else "",
                "about": f"{pair}, {measure_title(measure)}" if measure else "not measured",
                "higher_is_better": measure["higher_is_better"] if measure else None,
                **_estimate(difference),
                "verdict": difference["verdict"] if difference else None,
            }
        )
    name = chosen["label"] if chosen else None
    for label, share, nothing in (
        ("Domain gain kept", chosen and chosen["kept"], "no gain to keep" if gain else "not measured"),
        ("General loss won back", chosen and chosen["won_back"], "no loss to win back" if loss else "not measured"),
    ):
        numbers.append(
            {
                "label": label,
                "kind": "share",
                "unit": "",
                "about": "no merge" if name is None else f"by {name}" if share else nothing,
                "higher_is_better": True,
                **_estimate(share),
                # a share has no better or worse; all there is to say is when it could as well be 0
                "verdict": UNCLEAR if share is not None and not _low(share) > 0 else None,
            }
        )
    return numbers


def _estimate(source: Entry | None) -> dict[str, Any]:
    return {key: source[key] if source else None for key in ("value", "low", "high")}
