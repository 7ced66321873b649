#!/usr/bin/env python3
"""The ledger's hashes, written from docs/money.md alone: a second implementation to check the first.

    ledger.py check                       reproduce ledger.json, export.jsonl and ledger-days.json
    ledger.py verify EXPORT [HEADS...]    verify what `coordinator ledger export --format jsonl` wrote, against
                                          ledger-days.json files of nodes
    ledger.py transactions FILE...        work out the hash of each item of GET credits/transactions
    ledger.py write                       write the three files anew

Needs Python 3.10 and the package `cryptography`. BLAKE3 comes from proto/vectors/proofs.py.
"""

import json
import struct
import sys
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parents[1] / "proto" / "vectors"))
from proofs import blake3, derive_key  # noqa: E402

PLATFORM = UUID(int=0)

# ---------------------------------------------------------------- the formats


def sized(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def milliseconds(at):
    """Exact, where a float would not be."""
    moment = datetime.fromisoformat(at.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert moment.microseconds % 1000 == 0, f"{at} is finer than a millisecond"
    return (moment.days * 86_400 + moment.seconds) * 1000 + moment.microseconds // 1000


def transfer_hash(transfer, cause):
    data = UUID(transfer["transfer_id"]).bytes + sized(transfer["kind"]) + sized(transfer["idempotency_key"])
    data += struct.pack("<q", milliseconds(transfer["at"])) + sized(cause)
    for entry in transfer["entries"]:
        data += UUID(entry["owner_id"]).bytes + sized(entry["account"])
        data += struct.pack("<q", entry["amount_microcredits"])
    return derive_key("fsn ledger transfer v1", data)


def block_hash(previous, number, transfers):
    return derive_key("fsn ledger block v1", previous + struct.pack("<Q", number) + b"".join(transfers))


def head_bytes(network_id, head):
    data = b"fsn ledger day v1" + network_id + sized(head["day"])
    return data + struct.pack("<Q", head["block_number"]) + bytes.fromhex(head["block_hash"])


# ---------------------------------------------------------------- verification


def verify(export, heads):
    """`export` are lines, `heads` pairs of a name and a head. Returns what is wrong."""
    wrong = []

    def check(holds, text):
        if not holds:
            wrong.append(text)

    lines = [json.loads(line) for line in export]
    first, lines = lines[0], lines[1:]
    assert first["format"] == "fsn ledger export 2", "not an export that can be verified"
    heads = list(heads) + [("the export", line) for line in lines if "day" in line]
    if first["network_public_key"] is not None:
        network_id, key = bytes.fromhex(first["network_id"]), bytes.fromhex(first["network_public_key"])
        check(blake3(key) == network_id, "the public key is not the network's")
        for name, head in heads:
            try:
                signature = bytes.fromhex(head["signature"])
                Ed25519PublicKey.from_public_bytes(key).verify(signature, head_bytes(network_id, head))
            except InvalidSignature:
                wrong.append(f"{name}: the head of day {head['day']} is not signed")
    previous, number, blocks, balances = bytes(32), 0, {}, defaultdict(int)
    sealed = defaultdict(list)
    for line in lines:
        if "transfer_id" not in line:
            continue
        name, entries = line["transfer_id"], line["entries"]
        places = [(UUID(entry["owner_id"]).bytes, entry["account"].encode()) for entry in entries]
        check(places == sorted(set(places)) and len(places) >= 2, f"transfer {name}: its entries")
        check(sum(entry["amount_microcredits"] for entry in entries) == 0, f"transfer {name}: its sum")
        check(transfer_hash(line, line["cause"]).hex() == line["hash"], f"transfer {name}: its hash")
        for entry in entries:
            balances[entry["owner_id"], entry["account"]] += entry["amount_microcredits"]
        sealed[line["block"]].append((UUID(name).bytes, bytes.fromhex(line["hash"])))
    for line in lines:
        if "day" in line or "transfer_id" in line:
            continue
        number += 1
        transfers = sealed.pop(line["block"], [])
        check(line["block"] == number, f"block {line['block']}: it should be number {number}")
        check(line["previous_hash"] == previous.hex(), f"block {number}: its previous hash")
        check(len(transfers) == line["transfers"], f"block {number}: its number of transfers")
        check(transfers == sorted(transfers), f"block {number}: its order")
        previous = block_hash(previous, number, [hash for _, hash in transfers])
        check(line["hash"] == previous.hex(), f"block {number}: its hash")
        blocks[number] = previous.hex()
    sealed.pop(None, None)
    check(not sealed, f"transfers of blocks that are not there: {sorted(sealed)}")
    for name, head in heads:
        place = f"{name}: the head of day {head['day']}"
        check(blocks.get(head["block_number"]) == head["block_hash"], f"{place} is not of this ledger")
    for (owner, account), balance in balances.items():
        check(UUID(owner) == PLATFORM or balance >= 0, f"account {owner}/{account}: {balance}")
    return wrong


def own_transactions(page):
    """What is wrong with a page of GET credits/transactions."""
    for item in page["items"]:
        if transfer_hash(item, item["cause_text"]).hex() != item["hash"]:
            yield f"transfer {item['transfer_id']}: its hash"
        if json.loads(item["cause_text"]) != item["cause"]:
            yield f"transfer {item['transfer_id']}: its cause"


# ---------------------------------------------------------------- the cases

NETWORK = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NETWORK_KEY = NETWORK.public_key().public_bytes_raw()
NETWORK_ID = blake3(NETWORK_KEY)
USER, NODE = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"


def transfer(number, kind, key, cause, *entries):
    entries = [(str(UUID(owner)), account, amount) for owner, account, amount in entries]
    entries.sort(key=lambda entry: (UUID(entry[0]).bytes, entry[1].encode()))
    case = {
        "transfer_id": str(UUID(int=0x018BCFE568007000 << 64 | 0x8000000000000000 | number)),
        "kind": kind,
        "idempotency_key": key,
        "at": f"2023-11-14T22:13:{20 + number}.{number:03}Z" if number else "2023-11-14T22:13:20Z",
        "cause": cause,
        "entries": [
            {"owner_id": owner, "account": account, "amount_microcredits": amount} for owner, account, amount in entries
        ],
    }
    return case | {"hash": transfer_hash(case, cause).hex()}


def cases():
    platform = str(PLATFORM)
    return [
        [
            transfer(
                0,
                "purchase",
                f"purchase:{USER}:k",
                '{"amount_usd":"10.00","payment":"mock:ü"}',
                (platform, "outside", -1_000_000_000),
                (USER, "available", 1_000_000_000),
            ),
            transfer(1, "trial", "trial:1", "{}", (platform, "income", -246), (USER, "upload_hold", 246)),
        ],
        [
            transfer(
                2,
                "charge",
                "charge:1",
                '{"upload_id":"1"}',
                (USER, "upload_hold", -246),
                (USER, "escrow", 240),
                (USER, "available", 5),
                (platform, "income", 1),
            ),
        ],
        # Not sealed yet: the largest amount, and a cause that another program would write differently.
        [
            transfer(
                3,
                "earn",
                "earn:1",
                '{ "day": "2023-11-14",\t"byte_seconds": "1e3" }',
                (platform, "income", -(2**63 - 1)),
                (NODE, "held", 2**63 - 2),
                (NODE, "available", 1),
            ),
        ],
    ]


def signed(day, number, hash):
    head = {"day": day, "block_number": number, "block_hash": hash.hex()}
    return head | {"signature": NETWORK.sign(head_bytes(NETWORK_ID, head)).hex()}


def files():
    *sealed, open_transfers = cases()
    previous, blocks, heads = bytes(32), [], []
    for number, transfers in enumerate(sealed, 1):
        hash = block_hash(previous, number, [bytes.fromhex(case["hash"]) for case in transfers])
        line = {"block": number, "previous_hash": previous.hex(), "hash": hash.hex(), "transfers": len(transfers)}
        blocks.append(line)
        heads.append(signed(f"2023-11-{13 + number}", number, hash))
        previous = hash
    first = {"format": "fsn ledger export 2", "network_id": NETWORK_ID.hex(), "network_public_key": NETWORK_KEY.hex()}
    lines = [first, *heads]
    for line, transfers in zip(blocks, sealed):
        lines += [line, *({"block": line["block"]} | case for case in transfers)]
    lines += [{"block": None} | case for case in open_transfers]
    vectors = {
        "about": "Hashes of the ledger, as docs/money.md says. Made by ledger.py.",
        "network_id": NETWORK_ID.hex(),
        "network_public_key": NETWORK_KEY.hex(),
        "transfers": [case for transfers in cases() for case in transfers],
        "blocks": blocks,
        "heads": [head | {"signed_bytes": head_bytes(NETWORK_ID, head).hex()} for head in heads],
    }
    dump = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)  # noqa: E731
    return {
        "ledger.json": dump(vectors, indent=1) + "\n",
        "export.jsonl": "".join(dump(line, separators=(",", ":")) + "\n" for line in lines),
        "ledger-days.json": dump(heads, indent=2) + "\n",
    }


# ---------------------------------------------------------------- checks


def spoilt(lines):
    """The export with something else in each of its lines, and without each of those that are sealed."""
    for place, line in enumerate(lines):
        for old, new in [("0", "1"), ("7", "8")]:
            at = line.rfind(old)
            if at > 0:
                yield [*lines[:place], line[:at] + new + line[at + 1 :], *lines[place + 1 :]]
        if place > 2 and '"block":null' not in line:
            yield lines[:place] + lines[place + 1 :]


def check():
    for name, text in files().items():
        assert (HERE / name).read_text() == text, f"{name} is not what this program makes"
    lines = (HERE / "export.jsonl").read_text().splitlines()
    heads = [("kept", head) for head in json.loads((HERE / "ledger-days.json").read_text())]
    assert verify(lines, heads) == []
    count = 0
    for changed in spoilt(lines):
        try:
            assert verify(changed, heads), "a ledger that was changed passes"
        except (ValueError, KeyError, AssertionError, struct.error) as error:
            assert "passes" not in str(error), error
        count += 1
    # A ledger that is sound in itself and ends earlier: only what was kept tells.
    cut = [line for line in lines if '"block":2' not in line and '"block_number":2' not in line]
    assert verify(cut, []) == [] and verify(cut, heads) != []
    print(f"ledger vectors reproduced, {count + 1} changes found")


def main(arguments):
    match arguments:
        case ["check"]:
            check()
        case ["write"]:
            for name, text in files().items():
                (HERE / name).write_text(text)
        case ["verify", export, *kept]:
            heads = [(name, head) for name in kept for head in json.loads(Path(name).read_text())]
            with open(export, encoding="utf-8") as lines:
                wrong = verify(lines, heads)
            print("\n".join(wrong) or "everything is as it has to be")
            return int(bool(wrong))
        case ["transactions", *pages] if pages:
            wrong = [text for page in pages for text in own_transactions(json.loads(Path(page).read_text()))]
            print("\n".join(wrong) or "everything is as it has to be")
            return int(bool(wrong))
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
