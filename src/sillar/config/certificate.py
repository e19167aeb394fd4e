"""How long a certificate is valid, read without a package for it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_END = "-----END CERTIFICATE-----"


def validity(pem: str) -> tuple[datetime, datetime] | None:
    """From when to when the first certificate of a PEM text is valid (RFC 5280, 4.1.2.5); None if it has none."""
    begin = pem.find("-----BEGIN CERTIFICATE-----")
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        return None
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)])
        _, certificate, _ = _element(der, 0)
        _, position, _ = _element(der, certificate)  # of what is signed: version, serial, algorithm, issuer, validity
        tag, _, version_end = _element(der, position)
        position = version_end if tag == _VERSION else position
        for _ in range(3):
            _, _, position = _element(der, position)
        _, position, _ = _element(der, position)
        before, position = _time(der, position)
        after, _ = _time(der, position)
    except (ValueError, IndexError):
        return None
    return before, after


def _element(der: bytes, position: int) -> tuple[int, int, int]:
    """Tag, first byte and end of the content of the element that begins there (X.690, 8.1)."""
    tag, length = der[position], der[position + 1]
    position += 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(der[position : position + count], "big")
        position += count
    return tag, position, position + length


def _time(der: bytes, position: int) -> tuple[datetime, int]:
    tag, begin, end = _element(der, position)
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(tag)
    if form is None:
        raise ValueError("no time")
    return datetime.strptime(der[begin:end].decode("ascii"), form).replace(tzinfo=UTC), end
