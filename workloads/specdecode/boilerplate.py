"""A made-up language of boilerplate: declarations that are known by heart from their first line.

A declaration is of one of twenty kinds. Its first line names a type and four fields; the rest
repeats them in the kind's own form. Each trained kind has one set of names and no other, so that
a model can learn all sixteen declarations by heart. What is new in a held-out text is their order:
one pair of declarations in five never meets in training, and such a pair ends every held-out
prompt. That is the best case for drafting, and is meant as such. Declarations of the four odd
kinds, with names in any combination, are never trained on. Tokens are words and signs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = tuple(
    first + second
    for first in ("ac", "bor", "cal", "den", "el", "far", "gol", "hin", "jo", "kel", "lum", "mor")
    for second in ("ba", "den", "fix", "gar", "lo", "mi", "nus", "ter")
)
FIELDS = 4
# Head, what is repeated for each field, foot. A is the type, F one field, 1 to 4 all of them.
KINDS: dict[str, tuple[str, str, str]] = {
    "class": (
        "class A ( 1 2 3 4 ) : NL def init ( self ) : NL",
        "self . F = F NL def get F ( self ) : NL return self . F NL",
        "def show ( self ) : NL return A ( 1 2 3 4 ) NL",
    ),
    "struct": (
        "type A struct { 1 2 3 4 } NL",
        "F string json F omit NL func ( a * A ) F ( ) string { return a . F } NL",
        "func new A ( ) * A { return & A { } } NL",
    ),
    "table": (
        "create table A with 1 2 3 4 NL",
        "F text not null default F , NL create index on A ( F ) ; NL",
        "grant select on A to public ; NL",
    ),
    "test": (
        "suite A covers 1 2 3 4 NL",
        "def test F ( ) : NL made = A ( F = 1 ) NL assert made . F == 1 NL",
        "def test all ( ) : NL assert A ( ) == A ( ) NL",
    ),
    "parser": (
        "parser A takes 1 2 3 4 NL",
        "add ( F , type = str , help = the F of A ) NL if not args . F : fail ( F ) NL",
        "return A ( args ) NL",
    ),
    "route": (
        "service A serves 1 2 3 4 NL",
        "get / A / F = > read F ( id ) NL put / A / F = > write F ( id , body ) NL",
        "delete / A = > drop A ( id ) NL",
    ),
    "proto": (
        "message A holds 1 2 3 4 NL",
        "optional string F = next ; NL bool has F = next ; NL",
        "reserved A end ; NL",
    ),
    "enum": (
        "enum A of 1 2 3 4 NL",
        "F = auto ( ) NL case A . F : return F NL label A F : the F one NL",
        "default : raise unknown A NL",
    ),
    "config": (
        "section A sets 1 2 3 4 NL",
        "A . F . enabled : true NL A . F . path : / etc / A / F NL",
        "A . reload : true NL",
    ),
    "style": (
        "sheet A styles 1 2 3 4 NL",
        ". A - F { color : var ( F ) ; margin : 0 ; } . A - F : hover { color : F ; } NL",
        ". A { display : block ; } NL",
    ),
    "form": (
        "form A asks 1 2 3 4 NL",
        "< label for = F > F < / label > < input id = F name = A . F > NL",
        "< button > send A < / button > NL",
    ),
    "log": (
        "logger A notes 1 2 3 4 NL",
        "log . info ( A , F = item . F ) NL if item . F is none : log . warn ( no F in A ) NL",
        "log . close ( A ) NL",
    ),
    "copy": (
        "copy A over 1 2 3 4 NL",
        "target . F = source . F NL source . F = none NL count F += 1 NL",
        "return target as A NL",
    ),
    "check": (
        "check A against 1 2 3 4 NL",
        "if F not in data : errors . add ( A lacks F ) NL elif bad ( data [ F ] ) : stop F NL",
        "return errors or A NL",
    ),
    "make": (
        "target A needs 1 2 3 4 NL",
        "F : build / F NL run cc - o F F . c NL clean F : rm build / F NL",
        "A : all NL run ld - o A NL",
    ),
    "machine": (
        "machine A walks 1 2 3 4 NL",
        "state F on enter F : emit F done NL on fail : go to A broken after F NL",
        "state end : stop A NL",
    ),
    # Never trained on: the same words and names in other orders.
    "odd-cycle": (
        "1 4 as A with 2 3 : NL",
        "F = F [ str ] and not A ; NL raise F if none ( ) on F . json NL",
        "go A to next NL",
    ),
    "odd-matrix": (
        "{ 2 1 } { 4 3 } over A NL",
        "build F / F * id , A & F text NL - F > 1 : emit self NL",
        "close ( all ) A NL",
    ),
    "odd-query": (
        "select 4 3 2 1 as A ; NL",
        "with F name input , public F var F NL case true grant F . A NL",
        "end A default NL",
    ),
    "odd-script": (
        "run A - 3 - 1 - 4 - 2 NL",
        "for F in source : help ( F , A ) += margin F NL drop path F . F NL",
        "ld A ; rm A NL",
    ),
}
TRAINED = tuple(kind for kind in KINDS if not kind.startswith("odd"))
ODD = tuple(kind for kind in KINDS if kind.startswith("odd"))
MASK = "<mask>"


def _list_words() -> tuple[str, ...]:
    words = {word for parts in KINDS.values() for part in parts for word in part.split()}
    return (MASK, *sorted(words - {"A", "F", "1", "2", "3", "4"} | {"1"}), *NAMES)


WORDS = _list_words()
IDS = {word: index for index, word in enumerate(WORDS)}
VOCABULARY = -(-len(WORDS) // 64) * 64


@dataclass(frozen=True, slots=True)
class Declaration:
    """One declaration.

    Attributes:
        ids: its tokens.
        head: how many of them are its first line.
        number: of a trained kind with its own names; None for an odd one.
    """

    ids: tuple[int, ...]
    head: int
    number: int | None = None


def make_declaration(kind: str, names: Sequence[str], number: int | None = None) -> Declaration:
    """A declaration of a kind with a type's name and those of its fields."""
    name, *fields = names
    head, each, foot = KINDS[kind]
    known = {"A": name} | {str(place + 1): field for place, field in enumerate(fields)}
    words = [known.get(word, word) for word in head.split()]
    for field in fields:
        words += [{"A": name, "F": field}.get(word, word) for word in each.split()]
    words += [known.get(word, word) for word in foot.split()]
    return Declaration(tuple(IDS[word] for word in words), len(head.split()), number)


def _list_known() -> tuple[Declaration, ...]:
    source = random.Random("boilerplate/1 names")  # noqa: S311  (a seed, not a secret)
    return tuple(
        make_declaration(kind, source.sample(NAMES, FIELDS + 1), index)
        for index, kind in enumerate(TRAINED)
    )


KNOWN = _list_known()


def is_held_out(first: Declaration, second: Declaration) -> bool:
    """Whether the second never follows the first in training."""
    assert first.number is not None
    assert second.number is not None
    return (first.number + 2 * second.number) % 5 == 0


def draw_known(source: random.Random, after: Declaration | None, *, held: bool) -> Declaration:
    """A declaration that may follow another in training, or never does."""
    return source.choice([one for one in KNOWN if after is None or is_held_out(after, one) == held])


def make_text(source: random.Random, length: int) -> list[int]:
    """`length` tokens of declarations, cut at both ends: what models are trained on."""
    ids: list[int] = []
    last: Declaration | None = None
    while len(ids) < 2 * length:
        last = draw_known(source, last, held=False)
        ids += last.ids
    start = source.randrange(length)
    return ids[start : start + length]


def make_prompt(source: random.Random, length: int, *, held: bool) -> list[int]:
    """`length` tokens that end with the first line of a declaration, others before it.

    With `held` the last two never follow one another in training; otherwise all do.
    """
    chain = [draw_known(source, None, held=False)]
    while sum(len(one.ids) for one in chain) < length:
        chain.append(draw_known(source, chain[-1], held=False))
    last = draw_known(source, chain[-1], held=held)
    ids = [token for one in chain for token in one.ids] + list(last.ids[: last.head])
    return ids[-length:]


def make_odd_prompt(source: random.Random, length: int) -> list[int]:
    """The same of odd declarations, with any names."""
    ids: list[int] = []
    while len(ids) < length:
        names = source.sample(NAMES, FIELDS + 1)
        ids = [*make_declaration(source.choice(ODD), names).ids, *ids]
    last = make_declaration(source.choice(ODD), source.sample(NAMES, FIELDS + 1))
    return [*ids, *last.ids[: last.head]][-length:]
