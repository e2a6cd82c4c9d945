"""Rows that only the holder of a key can read: AES-GCM, the key from the environment."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, final

import numpy as np

from laconic.core.errors import ArtifactError, UsageError, invalid
from laconic.train.sample_keys import Keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE = "LACONIC_CACHE_KEY"
TAG_BYTES, SALT_BYTES = 16, 16
_PROOF = 2**96 - 1
"""The number that stands for the manifest, beside the rows, which count from 0."""


@final
class Seal:
    """Encrypts the rows of one file, each by itself, and hides what their samples are.

    The file's own key is derived from that of the environment and a salt, so that a row's number can be its nonce: no
    number is used twice with one key.

    Args:
        salt: 16 random bytes, written beside the file.

    Raises:
        UsageError: the environment holds no key, or `cryptography` is not installed.

    Reference:
        NIST SP 800-38D (AES-GCM); RFC 5869 (HKDF).
    """

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self._cipher, self._naming = _keys(salt)

    def __reduce__(self) -> tuple[Any, ...]:
        return Seal, (self.salt,)

    def close(self, number: int, row: bytes) -> bytes:
        """Returns a row encrypted, 16 bytes longer."""
        return self._cipher.encrypt(_nonce(number), row, None)

    def open(self, number: int, record: bytes) -> bytes:
        """Returns a row.

        Raises:
            ArtifactError: it was changed, moved, or written with another key.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(_nonce(number), record, None)
        except InvalidTag as error:
            raise ArtifactError(f"row {number} is not what was written.") from error

    def names(self, keys: Keys) -> Keys:
        """Returns other keys of samples, from which nobody without the key can tell whether a sample is among them."""
        rows = np.ascontiguousarray(keys)
        named = [hashlib.blake2b(row.tobytes(), key=self._naming, digest_size=16).digest() for row in rows]
        return np.frombuffer(b"".join(named), dtype=np.uint64).reshape(-1, 2)

    def proof(self, text: str) -> str:
        """Returns what shows that a text was written with this key, and as it is."""
        return self._cipher.encrypt(_nonce(_PROOF), b"", text.encode()).hex()


def _keys(salt: bytes) -> tuple[AESGCM, bytes]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise UsageError(
            "cached_teacher: an encrypted cache needs the package cryptography, which is not installed. Write "
            "`pip install 'laconic[encryption]'`."
        ) from error
    derived = HKDF(algorithm=SHA256(), length=64, salt=salt, info=b"laconic answers").derive(_master())
    return AESGCM(derived[:32]), derived[32:]


def _master() -> bytes:
    text = os.environ.get(VARIABLE, "")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        # The key itself is in no message.
        raise invalid(
            VARIABLE,
            f"{len(text)} characters" if text else "nothing",
            "64 hexadecimal digits in the environment, as an encrypted cache needs them",
            "`python -c 'import secrets; print(secrets.token_hex(32))'` makes one; keep it apart from the cache.",
        )
    return key


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
