"""Words to spell: a list of everyday ones, and made-up ones that can be said (consonant, vowel, in turn)."""

import random
import re

CONSONANTS = "bcdfghjklmnpqrstvwxz"
VOWELS = "aeiou"
ALTERNATING = re.compile(f"(?:[{CONSONANTS}][{VOWELS}])*[{CONSONANTS}]?")

LISTED = tuple(
    """
    act add age air ant apple apron arch arm arrow art ash autumn axe baby back bacon ball balloon banana band
    bank barn basket bath beach bean bear bed bee beef bell belly belt bench berry bird blanket blossom blue
    boat body bone book boot bottle bottom branch brass bread breeze brick bridge bright broom brother brush
    bubble bucket bull butter button cabbage camel camp candle cannon carpet carrot castle cat cattle cheese
    cherry chess chicken child circle city clay clock cloud clover coat coffee comb common cotton cousin cow
    crab cradle crayon cream creek crow crown cup dance daisy day deer desk dinner dish ditch dog dollar door
    dragon dream dress drum duck dust eagle ear earth east egg eight elbow engine evening eye face family farm
    farmer feather fence ferry field finger fire fish five flag flame floor flour flower fog food foot forest
    fork four fox frog fruit funnel game garden ghost giant girl glass glove goat gold goose grape grass green
    guitar hall hammer hand happy harbor hat hawk head heart hen hill hobby honey horse house hungry ice iron
    island ivory jacket jar jelly jewel jungle kettle key kitchen kitten knee knife ladder lake lamb lamp
    lantern leaf leather lemon letter light lizard lobster lock log lunch market meadow meat melon milk mirror
    mitten monkey moon morning moss moth mother mouse mouth muffin mushroom music narrow needle nest night
    nine north nose number nut oak oar ocean office oil olive onion orange orchard otter oven owl owner oyster
    paint palm paper parrot path peach peanut pebble pencil pepper pillow pilot pine pizza plane plant plate
    plum pocket poem pond pony pool potato prince puddle pumpkin puppet puppy purple quarter queen question
    quiet quilt rabbit rain raven ribbon rice ring river road roof room rooster root rope rubber sail salt
    sand scarf school scissors sea seed seven shadow sheep shell ship shirt shoe shore silk silver sister six
    sky sleep snail snake snow soap sock soup south spider spoon spring squirrel stable star station steam
    stick stone storm story stove street string sugar summer summit sun swan table tail tea teeth tennis
    thread three thumb tiger tooth tower town train tree truck trumpet tulip tunnel turkey turtle umbrella
    uncle valley velvet village violin wagon walnut water well west whale wheat wheel whistle willow wind
    window winter wolf wood wool world yard yellow zebra
    """.split()  # noqa: SIM905, a list would be 400 lines
)


def listed(length: int) -> list[str]:
    return [word for word in LISTED if len(word) == length]


def made_up(length: int, rng: random.Random) -> str:
    return "".join(rng.choice(VOWELS if i % 2 else CONSONANTS) for i in range(length))


def draw_word(length: int, rng: random.Random) -> str:
    """Half everyday words, half made-up ones, where there are both."""
    known = listed(length)
    return rng.choice(known) if known and rng.random() < 0.5 else made_up(length, rng)


def count_words(length: int) -> int:
    """How many different words draw_word can give."""
    extra = sum(ALTERNATING.fullmatch(word) is None for word in listed(length))
    return len(CONSONANTS) ** ((length + 1) // 2) * len(VOWELS) ** (length // 2) + extra
