"""Phone numbers as people write them, and their one form: E.164, such as ``+15551234567``. Pure."""

import re

_SEPARATORS = re.compile(r"[\s().\-\u2010-\u2015/]+")
_TRUNK_ZERO = re.compile(r"\(0\)")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_NORTH_AMERICAN = re.compile(r"1?[2-9][0-9]{9}")


def e164(text: str) -> str | None:
    """The number in E.164, or ``None`` if it is none.

    With ``+`` (or ``00``) and a country code it may be any country's; ten digits without are a North American
    number, as the product has always read them. Spaces, dots, hyphens, brackets and slashes are left out.
    """
    digits = _SEPARATORS.sub("", _TRUNK_ZERO.sub("", text) if text.strip().startswith(("+", "00")) else text)
    if digits.startswith("00"):
        digits = f"+{digits[2:]}"
    elif _NORTH_AMERICAN.fullmatch(digits):
        digits = f"+1{digits[-10:]}"
    return digits if _E164.fullmatch(digits) else None
