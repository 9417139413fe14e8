"""The words of four domains, and the sentences that are made of them.

The same English is spoken at every scale: a model trained here knows these words alone, given
weights know them among others. A domain's concepts have two names each, so that a sentence can be
retold without a word in common; its rare words belong to one concept and have no other name.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Domain:
    """What is talked about in one domain: concepts under two names, and rare words of things.

    Attributes:
        things: what something is done to; `rare[i]` belong to the i-th of them.
    """

    name: str
    people: tuple[Pair, ...]
    deeds: tuple[Pair, ...]
    things: tuple[Pair, ...]
    places: tuple[Pair, ...]
    rare: tuple[Pair, ...]

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every word that belongs to this domain alone."""
        groups = (self.people, self.deeds, self.things, self.places, self.rare)
        return tuple(word for group in groups for pair in group for word in pair)

    @property
    def rare_words(self) -> tuple[str, ...]:
        """Words without another name."""
        return tuple(word for pair in self.rare for word in pair)


DOMAINS = {
    domain.name: domain
    for domain in (
        Domain(
            "music",
            (("pianist", "musician"), ("violinist", "fiddler"), ("singer", "vocalist"),
             ("drummer", "percussionist")),
            (("plays", "performs"), ("practices", "rehearses"), ("composes", "arranges"),
             ("records", "tapes")),
            (("melody", "tune"), ("song", "ballad"), ("rhythm", "beat"), ("harmony", "chord")),
            (("stage", "podium"), ("studio", "concert")),
            (("nocturne", "arpeggio"), ("aria", "refrain"), ("syncopation", "tempo"),
             ("triad", "cadence")),
        ),
        Domain(
            "space",
            (("astronaut", "cosmonaut"), ("astronomer", "stargazer"), ("rocket", "spacecraft"),
             ("satellite", "probe")),
            (("orbits", "circles"), ("observes", "watches"), ("explores", "surveys"),
             ("approaches", "nears")),
            (("planet", "world"), ("comet", "meteor"), ("galaxy", "nebula"), ("moon", "crater")),
            (("observatory", "telescope"), ("station", "capsule")),
            (("exosphere", "ozone"), ("perihelion", "ice"), ("quasar", "pulsar"),
             ("basalt", "dust")),
        ),
        Domain(
            "cooking",
            (("chef", "cook"), ("baker", "confectioner"), ("butcher", "griller"),
             ("waiter", "server")),
            (("roasts", "bakes"), ("chops", "slices"), ("stirs", "mixes"), ("seasons", "salts")),
            (("soup", "broth"), ("bread", "loaf"), ("sauce", "gravy"), ("onion", "garlic")),
            (("kitchen", "stove"), ("oven", "pan")),
            (("saffron", "leek"), ("brioche", "yeast"), ("butter", "tarragon"),
             ("shallot", "cumin")),
        ),
        Domain(
            "finance",
            (("banker", "lender"), ("investor", "shareholder"), ("broker", "trader"),
             ("accountant", "auditor")),
            (("buys", "acquires"), ("sells", "offers"), ("finances", "funds"),
             ("audits", "reviews")),
            (("stock", "share"), ("bond", "debt"), ("loan", "mortgage"), ("budget", "ledger")),
            (("bank", "market"), ("exchange", "office")),
            (("dividend", "ticker"), ("coupon", "maturity"), ("escrow", "collateral"),
             ("surplus", "deficit")),
        ),
    )
}  # fmt: skip
SEEN = ("music", "space")  # a memory is trained on these
HELD_OUT = ("cooking", "finance")  # and never on these (4.24)
QUALITIES = ("quiet", "famous", "young", "old", "bright", "new", "small", "large")
FUNCTION_WORDS = (
    "the", "a", "in", "at", "with", "about", "and", "of", "is", "me", "it", "that", "then", "how",
    "we", "she", "to", "was", "for", "on",
)  # fmt: skip
SET_A = ("tell us more of", "she said that", "then we heard of")
SET_B = ("tell me about", "please describe", "explain how")  # held out (4.22)
OPENINGS = (*SET_A, *SET_B)
_OTHER_WORDS = ("tell", "us", "more", "said", "heard", "please", "describe", "explain")
PUNCTUATION = (".", ",")


def list_words() -> tuple[str, ...]:
    """Every word and mark of the language, each once, in a fixed order."""
    words = [*PUNCTUATION, *FUNCTION_WORDS, *_OTHER_WORDS, *QUALITIES]
    for domain in DOMAINS.values():
        words += domain.keywords
    return tuple(dict.fromkeys(words))


@dataclass(frozen=True, slots=True)
class Telling:
    """One text, the same told again under other names without rare words, and its rare words."""

    text: str
    retold: str
    rare: tuple[str, ...]


def tell(source: random.Random, domain: Domain, thing: int | None = None) -> Telling:
    """A sentence of a domain; `thing` names the thing it is about, drawn where none is given."""
    which = source.randrange(len(domain.things)) if thing is None else thing
    pairs = [
        source.choice(domain.people), source.choice(domain.deeds),
        domain.things[which], source.choice(domain.places),
    ]  # fmt: skip
    sides = [source.randrange(2) for _ in pairs]
    quality = source.choice(QUALITIES)
    rare = domain.rare[which]
    names = [pair[side] for pair, side in zip(pairs, sides, strict=True)]
    others = [pair[1 - side] for pair, side in zip(pairs, sides, strict=True)]
    text = f"{_frame(names, quality)} with {rare[0]} and {rare[1]}"
    return Telling(f"{text} .", f"{_frame(others, quality)} .", rare)


def _frame(names: list[str], quality: str) -> str:
    person, deed, thing, place = names
    return f"the {person} {deed} the {quality} {thing} in the {place}"
