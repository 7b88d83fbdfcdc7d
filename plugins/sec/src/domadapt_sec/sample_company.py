"""Sample companies: who they are, where, since when, what they sell, and their accounts.

Names are coined from word stems and are not meant to be those of real companies; every person, place of
business and number is invented. A fixed fifth of all names is reserved for the benchmark, so a benchmark
item can never be about a company that the sample source emits, whatever its seed.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domadapt_sec.sample_accounts import Accounts, simulate
from domadapt_sec.sample_industries import Industry, industries

NUM_YEARS = 5
FIRST_FILING, LAST_FILING = 1993, 2024

STEMS = (
    "Alder Amber Arden Ashby Aspen Balsam Barlow Baxley Beckett Belmar Birch Blackwell Bramble Brant Briar Calder"
    " Camden Canter Carrow Castell Cedar Chandler Clarion Colby Corbin Cordell Crane Cresson Dalton Darrow Delmore"
    " Denby Dorset Drayton Dunmore Eastlake Edgemont Elden Ellery Emmett Fairlie Falcon Farrow Fenwick Finch Foxhall"
    " Galen Garnet Glenmore Granby Grantham Greer Hadley Halden Harrow Haven Hawley Heron Hollis Ironton Iverson"
    " Juniper Kelso Kendrick Kestrel Kirby Lander Larkin Laurel Linden Lorimer Lowell Madrone Marlow Marsden Maynard"
    " Mercer Merrow Milford Morrow Nevis Norwood Oakley Orchard Orrin Ottery Paxton Pell Pembrook Perrin Quarry"
    " Quill Radnor Ransom Redfern Renwick Ridley Rowan Sable Salter Sawyer Selby Sheldon Sorrel Stanton Sterrett"
    " Sutter Tamarack Tarrant Thorne Tilden Trask Tresham Tyndall Upton Vance Varley Verity Wakefield Walden Warrick"
    " Wexley Whitlow Wilder Winslow Wyeth Yardley Yarrow Zellner"
).split()
TAILS = (
    "brook field mont ridge ton bury wood vale gate land mark ford stone well line crest point haven dale worth view"
).split()
TRADES = {
    "semiconductors": ("Semiconductor", "Microdevices", "Microsystems", "Circuits"),
    "software": ("Software", "Systems", "Technologies", "Data"),
    "devices": ("Medical", "Surgical", "Orthopedics", "Medical Technologies"),
    "biotech": ("Therapeutics", "Biosciences", "Pharmaceuticals", "Genetics"),
    "chemicals": ("Chemical", "Specialty Products", "Materials", "Industries"),
    "bank": ("Bancorp", "Bancshares", "Financial", "Community Bankshares"),
    "restaurants": ("Restaurants", "Grill", "Hospitality", "Restaurant Group"),
    "retail": ("Stores", "Outfitters", "Merchandise", "Trading"),
    "trucking": ("Transport", "Freight Systems", "Express", "Logistics"),
    "oil_gas": ("Petroleum", "Exploration", "Energy", "Oil & Gas"),
    "utility": ("Power", "Electric", "Energy", "Light & Power"),
    "foods": ("Foods", "Packing", "Provisions", "Brands"),
    "machinery": ("Machinery", "Manufacturing", "Industries", "Engineering"),
    "reit": ("Realty", "Properties", "Property Trust", "Real Estate"),
}
CITIES = (
    ("Akron", "Ohio", "OH", "443", "330"), ("Tulsa", "Oklahoma", "OK", "741", "918"),
    ("Boise", "Idaho", "ID", "837", "208"), ("Dayton", "Ohio", "OH", "454", "937"),
    ("Peoria", "Illinois", "IL", "616", "309"), ("Reno", "Nevada", "NV", "895", "775"),
    ("Mobile", "Alabama", "AL", "366", "251"), ("Worcester", "Massachusetts", "MA", "016", "508"),
    ("San Jose", "California", "CA", "951", "408"), ("Tacoma", "Washington", "WA", "984", "253"),
    ("Lubbock", "Texas", "TX", "794", "806"), ("Houston", "Texas", "TX", "770", "713"),
    ("Rochester", "New York", "NY", "146", "585"), ("Green Bay", "Wisconsin", "WI", "543", "920"),
    ("Knoxville", "Tennessee", "TN", "379", "865"), ("Durham", "North Carolina", "NC", "277", "919"),
    ("Lancaster", "Pennsylvania", "PA", "176", "717"), ("Cedar Rapids", "Iowa", "IA", "524", "319"),
    ("Boulder", "Colorado", "CO", "803", "303"), ("Savannah", "Georgia", "GA", "314", "912"),
    ("Omaha", "Nebraska", "NE", "681", "402"), ("Duluth", "Minnesota", "MN", "558", "218"),
    ("Trenton", "New Jersey", "NJ", "086", "609"), ("Shreveport", "Louisiana", "LA", "711", "318"),
    ("Fort Wayne", "Indiana", "IN", "468", "260"), ("Tucson", "Arizona", "AZ", "857", "520"),
    ("Portland", "Oregon", "OR", "972", "503"), ("Roanoke", "Virginia", "VA", "240", "540"),
    ("Grand Rapids", "Michigan", "MI", "495", "616"), ("Provo", "Utah", "UT", "846", "801"),
)  # fmt: skip
STREETS = "Commerce Drive|Industrial Parkway|Main Street|Lakeview Road|Technology Way|Corporate Center|River Road".split("|")
FIRST_NAMES = (
    "James Mary Robert Linda Thomas Karen Daniel Susan Paul Margaret Kevin Donna Brian Ruth Gary Ellen Stephen Anita"
    " Frank Laura Peter Diane Carl Judith Walter Priya Hector Mei Samuel Grace Leonard Ingrid Raymond Celeste"
).split()
LAST_NAMES = (
    "Abbott Barnhart Castellano Dietrich Ellsworth Fairbanks Gallagher Hendricks Ishikawa Jankowski Kowalski Lindqvist"
    " Macready Novak Okafor Petersen Quintero Reinhart Sandoval Thackeray Underhill Valdez Whitcomb Yamada Zimmerman"
    " Ashford Brannigan Crowley Delacroix Engstrom Fontaine Grimaldi Holloway"
).split()
AUDITORS = ("Calder & Wynn LLP", "Thornbury Pike LLP", "Messer, Lott & Company", "Haverhill Stokes LLP", "Odell Brandt LLP")
LENDERS = ("First Meridian Bank", "Union Lakes Bank", "Harbor National Bank", "Commonwealth Trust Company", "Prairie State Bank")
LARGEST = {"bank": 8.2, "reit": 8.9, "oil_gas": 9.2}  # powers of ten of dollars of revenue
YOUNG = ("semiconductors", "software", "biotech", "reit")
YEAR_ENDS = (((12, 31), 7), ((6, 30), 2), ((9, 30), 2), ((3, 31), 1))


@dataclass(frozen=True)
class Company:
    """A company. `short`: how filings call it after the first mention.  `filing_year`: fiscal year of its first 10-K here.

    city: (city, state, postal code of the state).  year_end: (month, day).
    words: its own part of the industry's vocabulary; plants: (kind, place, thousand square feet, owned).
    """

    industry: Industry
    name: str
    short: str
    cik: int
    founded: int
    city: tuple[str, str, str]
    street: str
    zip: str
    phone: str
    incorporated: tuple[str, str]
    employer_number: str
    file_number: str
    year_end: tuple[int, int]
    filing_year: int
    officers: tuple[str, ...]
    auditor: str
    lender: str
    exchange: str
    ticker: str
    shares: int
    segments: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    plants: tuple[tuple[str, str, int, bool], ...]
    accounts: Accounts


def reserved(name: str) -> bool:
    """Whether a name is kept for the benchmark and never emitted by the sample source."""
    return zlib.crc32(name.encode()) % 5 == 0


def companies(seed: int, count: int, for_benchmark: bool = False) -> Iterator[Company]:
    """`count` companies, one industry after the other; names, CIKs and accession numbers are unique."""
    rng = random.Random(f"sec.sample/{seed}/{'benchmark' if for_benchmark else 'companies'}")
    names: set[str] = set()
    ciks: set[int] = set()
    for number in range(count):
        industry = industries()[number % len(industries())]
        while True:
            short, name = _name(industry, rng)
            cik = rng.randrange(700_000, 1_999_000)
            if short not in names and cik not in ciks and reserved(short) == for_benchmark:
                break
        names.add(short)
        ciks.add(cik)
        yield _company(industry, name, short, cik, rng)


def _name(industry: Industry, rng: random.Random) -> tuple[str, str]:
    """The stem that identifies a company, and its full name."""
    short = rng.choice(STEMS)
    if rng.random() < 0.6:
        tail = rng.choice(TAILS)
        short = short if short.lower().endswith(tail) else short + tail
    elif rng.random() < 0.5:
        short = f"{short} {rng.choice(('River', 'Lake', 'Valley', 'Harbor', 'Creek', 'Mountain', 'Coast', 'County'))}"
    trade = rng.choice(TRADES[industry.key])
    legal = rng.choice((", Inc.", " Corporation", " Corp.", " Company", ", Inc.", " Holdings, Inc."))
    if industry.key in ("reit", "bank"):
        legal = rng.choice((", Inc.", " Corporation", ""))
    return short, f"{short} {trade}{legal}"


def _company(industry: Industry, name: str, short: str, cik: int, rng: random.Random) -> Company:
    city, state, code, zip_prefix, area = rng.choice(CITIES)
    filing_year = rng.randint(FIRST_FILING, LAST_FILING - 1)
    size = 10 ** rng.uniform(6.6, 7.5) if industry.key == "biotech" else 10 ** rng.uniform(7.3, LARGEST.get(industry.key, 9.7))
    places = [c[0] + ", " + c[1] for c in rng.sample(CITIES, 5)]
    words = {
        symbol: tuple(rng.sample(phrases, max(2, (2 * len(phrases) + 2) // 3))) for symbol, phrases in industry.words.items()
    }
    people = tuple(
        f"{first} {rng.choice('ABCDEGHJLMPRSTW')}. {last}"
        for first, last in zip(rng.sample(FIRST_NAMES, 6), rng.sample(LAST_NAMES, 6), strict=True)
    )
    segments = tuple(rng.sample(industry.words["segments"], min(len(industry.words["segments"]), rng.choice((1, 2, 2, 3)))))
    days, weights = zip(*YEAR_ENDS, strict=True)
    return Company(
        industry=industry,
        name=name,
        short=short,
        cik=cik,
        founded=rng.randint(filing_year - 22 if industry.key in YOUNG else 1898, filing_year - 8),
        city=(city, state, code),
        street=f"{rng.randint(1, 98) * 25} {rng.choice(STREETS)}",
        zip=f"{zip_prefix}{rng.randint(0, 99):02d}",
        phone=f"({area}) 555-{rng.randint(100, 9999):04d}",
        incorporated=rng.choice((("Delaware", "DE"), ("Delaware", "DE"), (state, code))),
        employer_number=f"{rng.randint(10, 94)}-{rng.randint(1_000_000, 9_999_999)}",
        file_number=rng.choice((f"001-{rng.randint(10_000, 39_999)}", f"0-{rng.randint(10_000, 39_999)}")),
        year_end=(12, 31) if industry.key in ("bank", "utility", "reit") else rng.choices(days, weights)[0],
        filing_year=filing_year,
        officers=people,
        auditor=rng.choice(AUDITORS),
        lender=rng.choice(LENDERS),
        exchange=rng.choice(("New York Stock Exchange", "Nasdaq National Market", "American Stock Exchange"))
        if filing_year < 2006
        else rng.choice(("New York Stock Exchange", "Nasdaq Global Select Market", "Nasdaq Capital Market")),
        ticker="".join(c for c in name.upper() if c.isalpha())[: rng.choice((3, 4))],
        shares=max(2_000_000, round(size / rng.uniform(8, 40))),
        segments=segments,
        words=words,
        plants=_plants(words["sites"], places, rng),
        accounts=simulate(industry, filing_year - 3, NUM_YEARS, size, rng),
    )


def _plants(kinds: Sequence[str], places: Sequence[str], rng: random.Random) -> tuple[tuple[str, str, int, bool], ...]:
    return tuple(
        (kind, place, rng.randint(6, 480), rng.random() < 0.6)
        for kind, place in zip((*kinds, *kinds), places[: rng.randint(3, 5)], strict=False)
    )
