"""Text of ordinary words, made from a seed: about one token a word for any tokenizer of English."""

from random import Random

_LISTED = """
able about above account across action add after again against age air all almost along already also always among
amount animal answer any area arm around art ask away back bad bank base be beach bear beat because become bed
before begin behind best better between big bird black blood blue board boat body book both box boy bread break
bring brother build business buy call can capital car care carry case catch cause center certain chair chance
change child choice church circle city class clean clear close cloud coast cold color come common company complete
condition consider contain cook cool copy corn corner cost could count country course cover create cross cry cup
current cut dance danger dark daughter day dead deal dear death decide deep describe desert design develop dinner
direct discuss distance divide doctor dog door double doubt down draw dream dress drink drive drop dry during each
early earth east easy eat edge effect eight either electric else end enemy energy engine enjoy enough enter equal
evening event ever every exact example except expect experience eye face fact fair fall family famous far farm fast
father favor fear feed feel few field fight figure fill final find fine finger finish fire first fish five floor
"""
WORDS = tuple(_LISTED.split())


def text(chance: Random, words: int) -> str:
    """So many words."""
    return " ".join(chance.choices(WORDS, k=words))
