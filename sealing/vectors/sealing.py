#!/usr/bin/env python3
"""Sealing, written from the table of formats in sealing/src/lib.rs alone: a second implementation to check the first.

    sealing.py check        reproduce sealing.json, and open everything in it
    sealing.py vectors      print sealing.json anew

Needs Python 3.10 and the package `cryptography`. BLAKE3 comes from proto/vectors/proofs.py.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parents[1] / "proto" / "vectors"))
from proofs import blake3  # noqa: E402

# ---------------------------------------------------------------- the formats


def seal(key, nonce, text, aad):
    return nonce + AESGCM(key).encrypt(nonce, text, aad)


def open_sealed(key, sealed, aad):
    return AESGCM(key).decrypt(sealed[:12], sealed[12:], aad)


def derive(key, salt, info):
    return HKDF(SHA256(), 32, salt, info).derive(key)


def chunk_key(data_key, index, version):
    """What seals this chunk: in version 1 the data key itself."""
    return data_key if version == 1 else derive(data_key, b"", b"fsn v2 chunk" + struct.pack(">I", index))


def replica_aad(file_id, index, length, version):
    return b"fsn v%d replica" % version + file_id + struct.pack(">II", index, length)


def piece_aad(file_id, index, piece, k, n, chunk_bytes):
    return b"fsn v2 piece" + file_id + struct.pack(">IBBBI", index, piece, k, n, chunk_bytes)


def wrapping(master_key, master_key_id, file_id, version):
    """Key and AAD."""
    return derive(master_key, file_id, b"fsn v%d wrap" % version), file_id + master_key_id.encode()


def secret_key(master_key, purpose, subject):
    return derive(master_key, b"", f"fsn v1 {purpose}{subject}".encode())


def locator_key(master_key):
    return derive(master_key, b"", b"fsn v1 locator")


LOCATOR_AAD = b"fsn v1 locator"


def locator_text(file_id, index, version, piece=None, blob_id=b""):
    """`piece` is number, k and n."""
    rest = bytes(8) if piece is None else bytes(piece) + blob_id[:5]
    return file_id + struct.pack(">IQ", index, version) + rest


# ---------------------------------------------------------------- the cases

# Around the blocks of AES, the 64 blocks that are encrypted side by side, and the chunks that are the default.
LENGTHS = [0, 1, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 4096, 65_537, 262_144]
LONGEST_SHOWN = 65
KEY_IDS = ["master-1", "master-2", "", "schlüssel-2026", "m" * 200]


def bytes_of(label, length=32):
    return hashlib.shake_256(f"fsn sealing vectors: {label}".encode()).digest(length)


def plaintext(length):
    return bytes((7 * i + length) % 251 for i in range(length))


def blob_case(number, length, version):
    key, file_id, nonce = bytes_of(f"key {number}"), bytes_of(f"file {number}", 16), bytes_of(f"nonce {number}", 12)
    index = [0, 1, 77, 2**32 - 1][number % 4]
    sealing_key = chunk_key(key, index, version)
    blob = seal(sealing_key, nonce, plaintext(length), replica_aad(file_id, index, length, version))
    case = {
        "data_key": key.hex(),
        **({} if version == 1 else {"chunk_key": sealing_key.hex()}),
        "file_id": file_id.hex(),
        "index": index,
        "nonce": nonce.hex(),
        "length": length,
        "blob_id": blake3(blob).hex(),
    }
    return case | ({"blob": blob.hex()} if length <= LONGEST_SHOWN else {})


def piece_case(number, k, n, chunk_bytes):
    label = f"piece {number} {k} {n} {chunk_bytes}"
    key, file_id, nonce = bytes_of(f"{label} key"), bytes_of(f"{label} file", 16), bytes_of(f"{label} nonce", 12)
    index, length = [0, 5, 2**32 - 1][number % 3], 2 * -(-chunk_bytes // (2 * k))
    sealing_key = chunk_key(key, index, 2)
    blob = seal(sealing_key, nonce, plaintext(length), piece_aad(file_id, index, number, k, n, chunk_bytes))
    return {
        "data_key": key.hex(),
        "chunk_key": sealing_key.hex(),
        "file_id": file_id.hex(),
        "index": index,
        "piece": [number, k, n],
        "chunk_bytes": chunk_bytes,
        "nonce": nonce.hex(),
        "length": length,
        "blob_id": blake3(blob).hex(),
    } | ({"blob": blob.hex()} if length <= LONGEST_SHOWN else {})


def wrapped_case(master_key_id, version):
    label = f"wrap {master_key_id}"
    master_key, data_key = bytes_of(f"{label} master"), bytes_of(f"{label} data")
    file_id, nonce = bytes_of(f"{label} file", 16), bytes_of(f"{label} nonce", 12)
    key, aad = wrapping(master_key, master_key_id, file_id, version)
    return {
        "master_key": master_key.hex(),
        "master_key_id": master_key_id,
        "file_id": file_id.hex(),
        "data_key": data_key.hex(),
        "nonce": nonce.hex(),
        "wrapped": seal(key, nonce, data_key, aad).hex(),
    }


def secret_case(master_key_id, purpose, subject, length):
    label = f"secret {master_key_id} {purpose} {subject}"
    master_key, secret, nonce = bytes_of(f"{label} master"), bytes_of(f"{label} secret", length), bytes_of(f"{label} nonce", 12)
    return {
        "master_key": master_key.hex(),
        "master_key_id": master_key_id,
        "purpose": purpose,
        "subject": subject,
        "secret": secret.hex(),
        "nonce": nonce.hex(),
        "wrapped": seal(secret_key(master_key, purpose, subject), nonce, secret, master_key_id.encode()).hex(),
    }


def locator_case(index, version, piece=None):
    label = f"locator {index} {version}" + ("" if piece is None else f" {piece}")
    blob_id = bytes_of(f"{label} blob")
    master_key, file_id, nonce = bytes_of(f"{label} key"), bytes_of(f"{label} file", 16), bytes_of(f"{label} nonce", 12)
    return {
        "master_key": master_key.hex(),
        "file_id": file_id.hex(),
        "index": index,
        "version": str(version),
        "nonce": nonce.hex(),
        **({} if piece is None else {"piece": piece, "blob_id": blob_id.hex()}),
        "locator": seal(
            locator_key(master_key), nonce, locator_text(file_id, index, version, piece, blob_id), LOCATOR_AAD
        ).hex(),
    }


def vectors():
    return {
        "plaintext": "byte i of a text of n bytes is (7 i + n) mod 251",
        "blobs": [blob_case(number, length, 1) for number, length in enumerate(LENGTHS)],
        "blobs_v2": [blob_case(number, length, 2) for number, length in enumerate(LENGTHS)],
        "wrapped_keys": [wrapped_case(key_id, 1) for key_id in KEY_IDS],
        "wrapped_keys_v2": [wrapped_case(key_id, 2) for key_id in KEY_IDS],
        "wrapped_secrets": [
            secret_case("master-1", "access key", "FSNABCDEFGHIJKLMNOPQ", 69),
            secret_case("master-2", "access key", "FSNABCDEFGHIJKLMNOPQ", 1),
            secret_case("schlüssel-2026", "totp", "01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6", 20),
        ],
        "pieces": [
            piece_case(*piece)
            for piece in [(0, 3, 6, 1), (5, 3, 6, 100), (7, 8, 12, 131_072), (11, 8, 12, 2_097_152), (253, 127, 254, 777)]
        ],
        "locators": [locator_case(*place) for place in [(0, 0), (77, 1_700_000_000_123), (2**32 - 1, 2**64 - 1)]],
        "locators_of_pieces": [
            locator_case(*place)
            for place in [(0, 1, [0, 3, 6]), (77, 1_700_000_000_123, [11, 8, 12]), (2**32 - 1, 2**64 - 1, [254, 2, 255])]
        ],
    }


# ---------------------------------------------------------------- checks


def must_not_open(key, sealed, aad):
    try:
        open_sealed(key, sealed, aad)
    except InvalidTag:
        return
    raise AssertionError("bytes that were changed open")


def flipped(sealed):
    """The same with one bit changed, in each of its parts."""
    for at in {0, 12, len(sealed) // 2, len(sealed) - 17, len(sealed) - 1} & set(range(len(sealed))):
        yield sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


def check():
    kept = json.loads((HERE / "sealing.json").read_text())
    assert kept == vectors(), "sealing.json is not what this program makes"
    opened = []
    for version, suffix in (1, ""), (2, "_v2"):
        for case in kept["blobs" + suffix]:
            if "blob" in case:
                aad = replica_aad(bytes.fromhex(case["file_id"]), case["index"], case["length"], version)
                key = case["data_key"] if version == 1 else case["chunk_key"]
                opened.append((key, case["blob"], aad, plaintext(case["length"])))
        for case in kept["wrapped_keys" + suffix]:
            master_key, file_id = bytes.fromhex(case["master_key"]), bytes.fromhex(case["file_id"])
            key, aad = wrapping(master_key, case["master_key_id"], file_id, version)
            opened.append((key.hex(), case["wrapped"], aad, bytes.fromhex(case["data_key"])))
    for case in kept["wrapped_secrets"]:
        key = secret_key(bytes.fromhex(case["master_key"]), case["purpose"], case["subject"])
        opened.append((key.hex(), case["wrapped"], case["master_key_id"].encode(), bytes.fromhex(case["secret"])))
    for case in kept["pieces"]:
        if "blob" in case:
            aad = piece_aad(bytes.fromhex(case["file_id"]), case["index"], *case["piece"], case["chunk_bytes"])
            opened.append((case["chunk_key"], case["blob"], aad, plaintext(case["length"])))
    for case in kept["locators"] + kept["locators_of_pieces"]:
        piece, blob_id = case.get("piece"), bytes.fromhex(case.get("blob_id", ""))
        text = locator_text(bytes.fromhex(case["file_id"]), case["index"], int(case["version"]), piece, blob_id)
        opened.append((locator_key(bytes.fromhex(case["master_key"])).hex(), case["locator"], LOCATOR_AAD, text))
    for key, sealed, aad, text in opened:
        key, sealed = bytes.fromhex(key), bytes.fromhex(sealed)
        assert open_sealed(key, sealed, aad) == text
        must_not_open(key, sealed, aad + b"\0")
        for changed in flipped(sealed):
            must_not_open(key, changed, aad)
    print(f"{sum(len(cases) for cases in kept.values() if isinstance(cases, list))} cases reproduced")


def main(arguments):
    match arguments:
        case ["check"]:
            check()
        case ["vectors"]:
            json.dump(vectors(), sys.stdout, indent=1, ensure_ascii=False)
            print()
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
