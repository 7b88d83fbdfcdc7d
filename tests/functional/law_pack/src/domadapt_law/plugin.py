"""A small domain pack by a stranger: its own source, benchmark and recipe."""

import hashlib
from pathlib import Path

from domadapt import hookimpl
from domadapt.artifacts import document_schema
from domadapt.components import Benchmark, DomainPack, Options, Source

FOLDER = Path(__file__).parent
PARTIES = ("Archer", "Baker", "Carter", "Dyer", "Fisher", "Glover", "Hunter", "Mason", "Porter", "Sawyer", "Tanner")
CLAIMS = (
    "breach of the lease by letting the cellar flood",
    "conversion of a printing press held as security",
    "negligence in the mooring of the ferry",
    "fraud in the sale of a herd of goats",
)
RULES = (
    "A party that accepts performance with knowledge of its defect cannot later treat the contract as at an end.",
    "The burden of showing an excuse lies on the one who needs it.",
    "What was foreseen by both is part of the bargain though nobody wrote it down.",
    "Silence is consent only where there was a duty to speak.",
)
ORDERS = ("The judgment is affirmed.", "The judgment is reversed and the cause remanded.", "Affirmed in part.")


class OpinionsOptions(Options):
    """Options of `law.opinions`."""

    opinions: int = 90
    """How many."""


class Opinions(Source):
    """Opinions of courts that never sat."""

    name = "law.opinions"
    Config = OpinionsOptions

    def fingerprint(self):
        return f"law.opinions {self.version} {self.config.opinions}"

    def read(self, reject):
        import pyarrow as pa

        rows = [self._opinion(n) for n in range(self.config.opinions)]
        reject("sealed", "opinion 0")
        yield pa.RecordBatch.from_pylist(rows, schema=document_schema())

    def _opinion(self, n):
        def pick(of, salt):
            return of[int(hashlib.sha256(f"{n}/{salt}".encode()).hexdigest(), 16) % len(of)]

        appellant, appellee = pick(PARTIES, "a"), pick(PARTIES, "b")
        text = f"{appellant} v. {appellee}, No. {1000 + 37 * n}.\n\n"
        for part in range(6):
            text += (
                f"{part + 1}. {appellant} says that {appellee} is liable for {pick(CLAIMS, part)}, and asks for "
                f"{int(pick(range(50), part)) * 40 + n} crowns. {pick(RULES, part)} The court below heard "
                f"{2 + n % 7} witnesses on day {n * part % 29 + 1}. {pick(RULES, -part)}\n"
            )
        return {
            "id": str(n),
            "text": text + pick(ORDERS, "o"),
            "source": self.name,
            "license": "CC0-1.0",
            "group": f"court {n % 15}",
            "meta": "{}",
        }


@hookimpl
def adapt_register_domains():
    return [DomainPack("law", "Court opinions", FOLDER / "recipes", FOLDER / "claims.yaml")]


@hookimpl
def adapt_register_sources():
    return [Opinions]


@hookimpl
def adapt_register_benchmarks():
    return [Benchmark("law_orders", "How the opinion ends", FOLDER / "benchmarks")]
