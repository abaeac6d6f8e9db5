"""Personal data and secrets by their form and, where they have one, their checksum."""

import datetime
import ipaddress
import re
from collections.abc import Callable, Iterator

from shoestring.provenance.scan_text import Hit

PLACEHOLDERS = {
    "key": "[key]",
    "e-mail": "[e-mail]",
    "IBAN": "[account number]",
    "card": "[card number]",
    "Chinese ID": "[ID number]",
    "phone": "[phone number]",
    "IP address": "[IP address]",
}
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,200}|gh[pousr]_[A-Za-z0-9]{20,80}|"
    r"github_pat_\w{20,100}|glpat-[\w-]{16,60}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,40}|hf_[A-Za-z0-9]{20,60}|"
    r"xox[abprs]-[\w-]{16,100}|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,2000}\.[\w-]{10,2000}|"
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----)"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_RESERVED = re.compile(r"@(?:[\w-]+\.)*(?:example(?:\.\w+)?|test|invalid|localhost|local)\Z", re.IGNORECASE)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\d.,-])[2-6]\d{3}(?:[ -]?\d){8,15}(?!\d)")
_CHINESE_ID = re.compile(r"(?<![\dA-Za-z])[1-9]\d{5}(\d{8})\d{3}[\dXx](?![\dA-Za-z])", re.ASCII)
_PHONE = re.compile(
    r"(?<![\w+=)])\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,6}(?!\d)|(?<![\d.-])(?:\([2-9]\d\d\) ?|"
    r"[2-9]\d\d[ .-])[2-9]\d\d[.-]\d{4}(?![\d-])|(?<![\d.])1[3-9]\d(?:[ -]?\d{4}){2}(?!\d)|(?<!\d)0(?:10|"
    r"2\d|[3-9]\d\d)-\d{7,8}(?!\d)",
    re.ASCII,
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])", re.ASCII)
_DOTTED = re.compile(r"\d\.\d{1,3}\.\d", re.ASCII)
_SEVEN_DIGITS = re.compile(r"\d(?:[ ().+-]{0,2}\d){6}", re.ASCII)
_VERSION = re.compile(r"(?:version|release|chapter|section|\bv|版本|第)\s?\Z", re.IGNORECASE)
# a number that is worked with isn't a telephone's: what stands before and after it
_WORKED_BEFORE = re.compile(
    r"(?:[=+*/×÷^<>%≈−]|- |[^\W\d]\s?-|compute|calculate|product(?: of| is)?|sum(?: of| is)?|evaluate|"
    r"答案是|等于)\s*\Z",
    re.IGNORECASE,
)
_WORKED_AFTER = re.compile(
    r"\s*(?:[=*/×÷^<>%≈−]|[+-] ?\d|除以|乘以|加|减|个|times\b|plus\b|minus\b)", re.IGNORECASE
)
# networks that are nobody's: this machine, private, link-local, multicast and above
_NOBODYS = tuple(
    ipaddress.ip_network(n)
    for n in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
)


def personal_in(text: str) -> Iterator[Hit]:
    """In the order of PLACEHOLDERS, none over another."""
    taken = bytearray(len(text))
    for rule, may_be, pattern, holds in _RULES:
        if not may_be(text):
            continue
        for match in pattern.finditer(text):
            start, end = match.span()
            if 1 not in taken[start:end] and holds(match):
                taken[start:end] = bytes([1]) * (end - start)
                yield Hit("personal", start, end, rule)


def luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_key(match: re.Match[str]) -> bool:
    """Not "sk-YOUR_KEY_HERE": a key has digits or both cases mixed."""
    text = match[0]
    if text.startswith("---"):
        return True
    body = text.split("_")[-1].split("-")[-1]
    return any(c.isdigit() for c in body) or (body.lower() != body and body.upper() != body)


def _is_email(match: re.Match[str]) -> bool:
    return not _RESERVED.search(match[0])


def _is_iban(match: re.Match[str]) -> bool:
    text = match[0].replace(" ", "")
    return 15 <= len(text) <= 34 and int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _is_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match[0])
    known = (
        (digits[0] == "4" and len(digits) in (13, 16, 19))
        or (digits[:2] in ("34", "37") and len(digits) == 15)
        or (
            len(digits) == 16
            and (
                "51" <= digits[:2] <= "55"
                or "2221" <= digits[:4] <= "2720"
                or digits[:2] in ("60", "64", "65")
            )
        )
        or (digits[:2] == "62" and 16 <= len(digits) <= 19)
    )
    return known and luhn(digits) and not _is_worked_with(match)


def _is_chinese_id(match: re.Match[str]) -> bool:
    text = match[0].upper()
    try:
        born = datetime.date(int(match[1][:4]), int(match[1][4:6]), int(match[1][6:]))
    except ValueError:
        return False
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = "10X98765432"[sum(int(a) * b for a, b in zip(text, weights, strict=False)) % 11]
    return born.year >= 1900 and check == text[-1]


def _is_phone(match: re.Match[str]) -> bool:
    return 8 <= sum(c.isdigit() for c in match[0]) <= 15 and not _is_worked_with(match)


def _is_worked_with(match: re.Match[str]) -> bool:
    text, (start, end) = match.string, match.span()
    before = _WORKED_BEFORE.search(text[max(0, start - 16) : start])
    return before is not None or _WORKED_AFTER.match(text, end) is not None


def _is_address(match: re.Match[str]) -> bool:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if sum(c != ":" for c in match[0]) < 8:  # "a::b" is a slice, a name's path, a mark
            return False
        return not (address.is_loopback or address.is_link_local or address.is_multicast)
    if _VERSION.search(match.string[max(0, match.start() - 12) : match.start()]):
        return False
    return not any(address in network for network in _NOBODYS)


def _has_seven_digits(text: str) -> bool:
    return _SEVEN_DIGITS.search(text) is not None


# name, a quick look whether it may be there, form, whether that form holds
_RULES: tuple[tuple[str, Callable[[str], bool], re.Pattern[str], Callable[[re.Match[str]], bool]], ...] = (
    ("key", lambda text: "-" in text or "_" in text or "AKIA" in text or "AIza" in text, _KEY, _is_key),
    ("e-mail", lambda text: "@" in text, _EMAIL, _is_email),
    ("IBAN", _has_seven_digits, _IBAN, _is_iban),
    ("card", _has_seven_digits, _CARD, _is_card),
    ("Chinese ID", _has_seven_digits, _CHINESE_ID, _is_chinese_id),
    ("phone", _has_seven_digits, _PHONE, _is_phone),
    ("IP address", lambda text: _DOTTED.search(text) is not None, _IPV4, _is_address),
    ("IP address", lambda text: "::" in text or text.count(":") >= 7, _IPV6, _is_address),
)
