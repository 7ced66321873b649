#!/usr/bin/env python3
"""End-to-end sealing, written from the tables of formats in sealing/src/end_to_end alone: a second implementation.

    end_to_end.py check        reproduce end_to_end.json, open everything in it, and refuse what is altered

Needs Python 3.10 and the package `cryptography`. The phrase is checked where the package `mnemonic` is.
"""

import base64
import hashlib
import hmac
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = Path(__file__).resolve().parent
SEGMENT, HEADER, ADDED = 65536, 64, 28
FIXED = b"FSNE2E\x00\x01" + bytes([1, 1, 16, 0])


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def derive(secret, info, salt=b"", length=32):
    return HKDF(SHA256(), length, salt or None, info).derive(secret)


# ---------------------------------------------------------------- content


def content_keys(file_key, head):
    salt = head[16:32]
    return (derive(file_key, b"fsn e2e v1 content" + head, salt), derive(file_key, b"fsn e2e v1 commit" + head, salt))


def capacity(segment):
    return SEGMENT - ADDED - (HEADER if segment == 0 else 0)


def aad(commitment, segment, is_last):
    return commitment + struct.pack(">QB", segment, is_last)


def seal(file_key, salt, part, nonce, text):
    head = FIXED + struct.pack(">I", part) + salt
    key, commitment = content_keys(file_key, head)
    texts, at = [], 0
    while not texts or at < len(text):
        texts.append(text[at : at + capacity(len(texts))])
        at += len(texts[-1])
    sealed = head + commitment
    for i, piece in enumerate(texts):
        sealed += nonce(i) + AESGCM(key).encrypt(nonce(i), piece, aad(commitment, i, i == len(texts) - 1))
    return sealed


def open_content(file_key, part, sealed):
    head, commitment = sealed[:32], sealed[32:64]
    if head[:16] != FIXED + struct.pack(">I", part):
        raise ValueError("no header of this part")
    key, expected = content_keys(file_key, head)
    if not hmac.compare_digest(commitment, expected):
        raise ValueError("another key")
    count = -(-len(sealed) // SEGMENT)
    text = b""
    for i in range(count):
        piece = sealed[max(i * SEGMENT, HEADER) : (i + 1) * SEGMENT]
        text += AESGCM(key).decrypt(piece[:12], piece[12:], aad(commitment, i, i == count - 1))
    return text


# ---------------------------------------------------------------- names and what stands beside them


def seal_component(directory, component):
    text = component.encode() + b"\x80"
    text += bytes(-len(text) % 16)
    return b64(AESSIV(derive(directory, b"fsn v1 names", length=64)).encrypt(text, []))


def seal_name(vault, path):
    """The sealed name, and the key of the directory in which it lies."""
    *directories, last = path.split("/")
    key, sealed = vault, []
    for name in directories:
        sealed.append(seal_component(key, name))
        key = derive(key, b"fsn v1 dir" + name.encode())
    return "/".join([*sealed, seal_component(key, last)]), key


def open_json(key, sealed, data):
    if sealed[0] != 1:
        raise ValueError("another version")
    return json.loads(AESGCM(key).decrypt(sealed[1:13], sealed[13:], data))


# ---------------------------------------------------------------- the check


def refused(file_key, sealed):
    try:
        open_content(file_key, 1, sealed)
    except (ValueError, InvalidTag):
        return True
    return False


def check(vectors):
    root, bucket = bytes.fromhex(vectors["root"]), bytes.fromhex(vectors["bucket_id"])
    file_key, salt = bytes.fromhex(vectors["file_key"]), bytes.fromhex(vectors["salt"])
    account = Ed25519PrivateKey.from_private_bytes(derive(root, b"fsn v1 account ed25519"))
    assert account.public_key().public_bytes_raw().hex() == vectors["account_public_key"]
    sharing = X25519PrivateKey.from_private_bytes(derive(root, b"fsn v1 share x25519"))
    assert sharing.public_key().public_bytes_raw().hex() == vectors["share_public_key"]
    try:
        from mnemonic import Mnemonic
    except ImportError:
        pass
    else:
        assert Mnemonic("english").to_mnemonic(root) == vectors["phrase"]
    vault = derive(root, b"fsn v1 vault", bucket)
    assert vault.hex() == vectors["vault_key"]

    for case in vectors["content"]:
        text = bytes((i * 31 + 7) & 255 for i in range(case["plain_len"]))
        sealed = seal(file_key, salt, 1, lambda i: struct.pack(">IQ", 0, i), text)
        assert len(sealed) == case["cipher_len"] and sealed[:96].hex() == case["first_96"]
        assert hashlib.sha256(sealed).hexdigest() == case["cipher_sha256"]
        assert open_content(file_key, 1, sealed) == text
    assert all(refused(file_key, sealed[:end]) for end in (0, 63, 64, len(sealed) - 1, SEGMENT, 2 * SEGMENT))
    assert refused(bytes(32), sealed)
    for at in (0, 9, 12, 20, 40, 64, 100, SEGMENT, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[at] ^= 1
        assert refused(file_key, bytes(changed)), at

    for case in vectors["names"]:
        sealed, directory = seal_name(vault, case["path"])
        assert (sealed, directory.hex()) == (case["encoded"], case["dir_key"]), case["path"]
    name, directory = seal_name(vault, "photos/2026/ü.jpg")
    envelope = open_json(
        derive(directory, b"fsn v1 envelope"),
        bytes.fromhex(vectors["envelope"]),
        b"fsn v1 envelope" + bucket + name.encode(),
    )
    assert unb64(envelope["k"]) == file_key and envelope["size"] == 200000
    share = vectors["share"]
    share_id, secret = unb64(share["id"]), unb64(share["secret"])
    shared = open_json(
        derive(secret, b"fsn v1 share", share_id), bytes.fromhex(share["sealed"]), b"fsn v1 share" + share_id
    )
    assert unb64(shared["k"]) == file_key and shared["name"] == "ü.jpg"


if __name__ == "__main__":
    if sys.argv[1:] != ["check"]:
        sys.exit(__doc__)
    check(json.loads((HERE / "end_to_end.json").read_text()))
    print("end_to_end.json is what this implementation makes of it, too.")
