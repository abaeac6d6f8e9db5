import pytest

from shoestring.provenance.scan_personal import luhn, personal_in


def found(text: str) -> list[tuple[str, str]]:
    return [(hit.rule, text[hit.start : hit.end]) for hit in personal_in(text)]


@pytest.mark.parametrize(
    ("text", "rule", "what"),
    [
        ("Write to j.doe+x@kettle-post.co.uk.", "e-mail", "j.doe+x@kettle-post.co.uk"),
        ("请联系lihua@qingfeng-mail.cn。", "e-mail", "lihua@qingfeng-mail.cn"),
        ("Card 4111 1111 1111 1111, please", "card", "4111 1111 1111 1111"),
        ("378282246310005", "card", "378282246310005"),
        ("GB29 NWBK 6016 1331 9268 19", "IBAN", "GB29 NWBK 6016 1331 9268 19"),
        ("身份证11010519491231002X。", "Chinese ID", "11010519491231002X"),
        ("call +44 20 7946 0958", "phone", "+44 20 7946 0958"),
        ("(212) 555-0187", "phone", "(212) 555-0187"),
        ("手机13912345678", "phone", "13912345678"),
        ("from 203.0.113.9.", "IP address", "203.0.113.9"),
        ("at 2001:db8:85a3::8a2e:370:7334", "IP address", "2001:db8:85a3::8a2e:370:7334"),
        ("key=sk-proj-Xk29fPq7LmW4tZ8bNc3v", "key", "sk-proj-Xk29fPq7LmW4tZ8bNc3v"),
        ("-----BEGIN RSA PRIVATE KEY-----", "key", "-----BEGIN RSA PRIVATE KEY-----"),
    ],
)
def test_found_whole_and_alone(text: str, rule: str, what: str):
    assert found(text) == [(rule, what)]


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # the checksum is wrong
        "GB28 NWBK 6016 1331 9268 19",
        "110105194912310021",
        "110105199913310029",  # no such day
        "4111111111111111 * 2 = 8222222222222222",  # a number that is worked with
        "The answer is 4111111111111111 + 1",
        "13912345678 + 1",
        "someone@example.com, root@localhost",
        "127.0.0.1, 10.1.2.3, 192.168.0.7, 255.255.255.0",
        "version 1.2.3.4",
        "a::b, x[1::2], 12:30:45, std::vector",
        "sk-YOUR_KEY_HERE_PLEASE_NOW",
        "300-200-1000 = -900",
        "3.14159265358979323846",
    ],
)
def test_what_only_looks_like_it(text: str):
    assert found(text) == []


def test_luhn():
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{digit}") for digit in "012456789")
