#!/usr/bin/env python3
"""Proof of storage, written from docs/proofs.md alone: a second implementation to check the first.

    proofs.py check                 reproduce proof-of-storage.json, proof-transcripts.json, chunk-statements.json
    proofs.py verify FILE...        check receipts, proofs, opened blobs and verdicts as the API hands them out
    proofs.py transcripts           print proof-transcripts.json anew
    proofs.py chunk-statements      print chunk-statements.json anew

Needs Python 3.10 and, for Ed25519, the package `cryptography`. BLAKE3 is below, for reading rather than for speed.
"""

import base64
import hashlib
import json
import struct
import sys
import uuid
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).parent

# ---------------------------------------------------------------- BLAKE3

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
MASK = 0xFFFFFFFF


def compress(cv, block, counter, length, flags):
    v = [*cv, *IV[:4], counter & MASK, counter >> 32 & MASK, length, flags]
    m = list(struct.unpack("<16I", block))

    def g(a, b, c, d, x, y):
        v[a] = v[a] + v[b] + x & MASK
        t = v[d] ^ v[a]
        v[d] = (t >> 16 | t << 16) & MASK
        v[c] = v[c] + v[d] & MASK
        t = v[b] ^ v[c]
        v[b] = (t >> 12 | t << 20) & MASK
        v[a] = v[a] + v[b] + y & MASK
        t = v[d] ^ v[a]
        v[d] = (t >> 8 | t << 24) & MASK
        v[c] = v[c] + v[d] & MASK
        t = v[b] ^ v[c]
        v[b] = (t >> 7 | t << 25) & MASK

    for turn in range(7):
        g(0, 4, 8, 12, m[0], m[1])
        g(1, 5, 9, 13, m[2], m[3])
        g(2, 6, 10, 14, m[4], m[5])
        g(3, 7, 11, 15, m[6], m[7])
        g(0, 5, 10, 15, m[8], m[9])
        g(1, 6, 11, 12, m[10], m[11])
        g(2, 7, 8, 13, m[12], m[13])
        g(3, 4, 9, 14, m[14], m[15])
        if turn < 6:
            m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)] + [v[i + 8] ^ cv[i] for i in range(8)]


class Node:
    """The last compression of a chunk or a parent: a chaining value, or the root's output."""

    def __init__(self, cv, block, counter, length, flags):
        self.parts = cv, block, counter, length, flags

    def chaining_value(self):
        return struct.pack("<8I", *compress(*self.parts)[:8])

    def root(self, length=32):
        cv, block, _, block_length, flags = self.parts
        out = b""
        while len(out) < length:
            words = compress(cv, block, len(out) // 64, block_length, flags | ROOT)
            out += struct.pack("<16I", *words)
        return out[:length]


def chunk_node(data, index, key=IV, mode=0):
    cv, blocks = list(key), [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    for number, block in enumerate(blocks):
        flags = mode | (CHUNK_START if number == 0 else 0) | (CHUNK_END if number == len(blocks) - 1 else 0)
        node = Node(cv, block.ljust(64, b"\0"), index, len(block), flags)
        if number < len(blocks) - 1:
            cv = compress(*node.parts)[:8]
    return node


def parent_node(left, right, key=IV, mode=0):
    return Node(list(key), left + right, 0, 64, PARENT | mode)


def left_length(length):
    """Of two subtrees the left one is full, and the largest that leaves something for the right."""
    return 1024 << (((length - 1) // 1024).bit_length() - 1)


def tree_node(data, index=0, key=IV, mode=0):
    if len(data) <= 1024:
        return chunk_node(data, index, key, mode)
    left = left_length(len(data))
    halves = tree_node(data[:left], index, key, mode), tree_node(data[left:], index + left // 1024, key, mode)
    return parent_node(halves[0].chaining_value(), halves[1].chaining_value(), key, mode)


def blake3(data, length=32):
    return tree_node(data).root(length)


def keyed(key, data):
    return tree_node(data, key=struct.unpack("<8I", key), mode=KEYED).root()


def derive_key(context, data, length=32):
    key = struct.unpack("<8I", tree_node(context.encode(), mode=CONTEXT).root())
    return tree_node(data, key=key, mode=MATERIAL).root(length)


# ---------------------------------------------------------------- the walk

u8, u16, u32, u64 = (lambda n, f=f: struct.pack("<" + f, n) for f in "BHIQ")


def leaves_of(length):
    return (length + 1023) // 1024


def leaf_length(length, index):
    return min(1024, length - 1024 * index)


def draw(h, n):
    size = 32
    while True:
        words = derive_key("fsn pos v1 index", h, size)
        for w in struct.unpack(f"<{size // 8}Q", words):
            m = w * n
            if m % 2**64 >= 2**64 % n:
                return m >> 64
        size *= 2


def walk(question, leaf_at):
    """Visits the leaves; the indices in order, and the proof hash."""
    seed, peer_id, blob_id, length, difficulty = question
    h = derive_key("fsn pos v1 init", seed + peer_id + blob_id + u64(length) + u32(difficulty))
    indices = []
    for k in range(1, difficulty + 1):
        i = draw(h, leaves_of(length))
        leaf = leaf_at(i)
        indices.append(i)
        h = keyed(h, u32(k) + u64(i) + u16(len(leaf)) + leaf)
    return indices, derive_key("fsn pos v1 final", h)


def root_of(offset, length, visited, unvisited, is_root=True):
    if not any(offset <= 1024 * i < offset + length for i in visited):
        return unvisited(offset, length)
    if length <= 1024:
        node = chunk_node(visited[offset // 1024], offset // 1024)
    else:
        left = left_length(length)
        halves = (
            root_of(offset, left, visited, unvisited, False),
            root_of(offset + left, length - left, visited, unvisited, False),
        )
        node = parent_node(*halves)
    return node.root() if is_root else node.chaining_value()


def prove(question, blob):
    visited, siblings = {}, []

    def leaf_at(i):
        return visited.setdefault(i, blob[1024 * i : 1024 * i + 1024])

    indices, proof_hash = walk(question, leaf_at)

    def unvisited(offset, length):
        siblings.append(tree_node(blob[offset : offset + length], offset // 1024).chaining_value())
        return siblings[-1]

    assert root_of(0, len(blob), visited, unvisited) == question[2]
    return indices, proof_hash, b"".join(visited.values()), siblings


def verify(question, proof_hash, body):
    """Raises ValueError unless the body answers the question."""
    visited, at = {}, 0
    length = question[3]

    def leaf_at(i):
        nonlocal at
        if i not in visited:
            size = leaf_length(length, i)
            visited[i] = body[at : at + size]
            if len(visited[i]) != size:
                raise ValueError("a leaf is missing")
            at += size
        return visited[i]

    _, expected = walk(question, leaf_at)

    def unvisited(_offset, _length):
        nonlocal at
        at += 32
        if at > len(body):
            raise ValueError("a hash is missing")
        return body[at - 32 : at]

    if root_of(0, length, visited, unvisited) != question[2]:
        raise ValueError("the root is not the blob's id")
    if at != len(body):
        raise ValueError("there is something left over")
    if expected != proof_hash:
        raise ValueError("the proof hash is wrong")


# ---------------------------------------------------------------- what is signed

OUTCOMES = {"proven": 1, "missing": 2, "corrupt": 3, "busy": 4}
JUDGEMENTS = {"passed": 1, "failed": 2, "missed": 3, "busy": 4, "ordered": 5}
PEER_PREFIX = bytes.fromhex("002408011220")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def peer_bytes(text):
    number = 0
    for letter in text:
        number = number * 58 + BASE58.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def check_signature(peer_id, message, signature):
    if len(peer_id) != 38 or not peer_id.startswith(PEER_PREFIX):
        raise ValueError("not the peer id of an Ed25519 key")
    try:
        Ed25519PublicKey.from_public_bytes(peer_id[6:]).verify(signature, message)
    except InvalidSignature:
        raise ValueError("the signature does not match") from None


def challenge_bytes(network_id, coordinator, node, challenge_id, issued_at_ms, difficulty, items):
    head = b"fsn pos v1 challenge" + network_id + coordinator + node + challenge_id
    head += u64(issued_at_ms) + u32(difficulty) + u32(len(items))
    return head + b"".join(blob_id + u64(length) + seed for blob_id, length, seed in items)


def read_challenge(data):
    if not data.startswith(b"fsn pos v1 challenge"):
        raise ValueError("not a challenge")
    at = 20

    def take(size):
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("a challenge that ends early")
        return data[at - size : at]

    challenge = {"network_id": take(32), "coordinator": take(38), "node": take(38), "id": take(16)}
    challenge["issued_at_ms"], challenge["difficulty"], count = struct.unpack("<QII", take(16))
    challenge["items"] = [(take(32), struct.unpack("<Q", take(8))[0], take(32)) for _ in range(count)]
    if at != len(data):
        raise ValueError("a challenge with something behind it")
    return challenge


def item_digest(challenge, index, outcome, proof_hash, body, duration_ms):
    blob_id, length, seed = challenge["items"][index]
    fields = challenge["id"] + u32(index) + blob_id + u64(length) + u32(challenge["difficulty"]) + seed
    fields += u8(OUTCOMES[outcome]) + proof_hash + blake3(body) + u64(duration_ms)
    return derive_key("fsn pos v1 item", fields)


def answer_bytes(network_id, challenge_hash, digests):
    return b"fsn pos v1 answer" + network_id + challenge_hash + blake3(b"".join(digests))


def verdict_bytes(network_id, challenge_hash, digests, elapsed_ms, deadline_ms, judgements):
    head = b"fsn pos v1 verdict" + network_id + challenge_hash + u8(digests is not None)
    head += blake3(b"".join(digests or [])) + u64(elapsed_ms) + u64(deadline_ms)
    return head + u32(len(judgements)) + bytes(JUDGEMENTS[j] for j in judgements)


def receipt_bytes(network_id, blob_id, length, peer_id, stored_at_ms):
    return b"fsn receipt v1" + network_id + blob_id + u64(length) + peer_id + u64(stored_at_ms)


def chunk_bytes(network_id, coordinator, s):
    """What a coordinator signs of a blob; `s` is the statement as it is in JSON."""
    head = b"fsn chunk v1" + network_id + coordinator + uuid.UUID(s["file_id"]).bytes
    head += u32(s["index"]) + u32(s["chunk_bytes"]) + bytes.fromhex(s["chunk_sha256"])
    return head + bytes([s["piece"], s["k"], s["n"], s["sealing"]]) + bytes.fromhex(s["blob_id"]) + u64(s["length"])


def opening_bytes(network_id, statement, chunk_key):
    return b"fsn opening v1" + network_id + blake3(statement) + chunk_key


def read_order(data):
    """Coordinator, node, network and time of an order to delete, and the blobs that it takes away."""
    if not data.startswith(b"fsn delete v1"):
        raise ValueError("not an order to delete")
    network_id, coordinator, node, issued_at_ms, count = struct.unpack_from("<32s38s38sQI", data, 13)
    deletions = list(struct.iter_unpack("<32sB", data[13 + struct.calcsize("<32s38s38sQI") :]))
    if len(deletions) != count:
        raise ValueError("an order of another length")
    return coordinator, node, network_id, issued_at_ms, {blob_id for blob_id, mode in deletions if mode in (1, 2)}


def due(outcome, sound, late):
    """The judgement that a signed answer is worth."""
    if outcome in ("missing", "corrupt"):
        return "failed"
    if late:
        return "missed"
    return "busy" if outcome == "busy" else "passed" if sound else "failed"


def figures_lie(judgement, answered, late):
    """Whether a verdict contradicts what is signed with it."""
    if not answered:
        return judgement != "missed"
    return judgement in ("passed", "busy") if late else judgement == "missed"


# ---------------------------------------------------------------- evidence as the API hands it out


class Refuted(ValueError):
    """The coordinator has signed what is not true."""


def documents(path):
    """JSON documents, one behind the other."""
    text, decoder = Path(path).read_text().strip(), json.JSONDecoder()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].lstrip()


def verify_evidence(paths):
    receipts, proofs, failures, files, opened, verdicts = {}, [], 0, set(), 0, 0
    for path in paths:
        for document in documents(path):
            if "messages" in document:
                proofs.append(document)
            elif "chunk_key" in document:
                take_receipt(None, document["receipt"], receipts, files)
                verify_sealed(document)
                opened += 1
            elif "network_id" in document:
                for item in document["items"]:
                    take_receipt(bytes.fromhex(document["network_id"]), item, receipts, files)
            else:
                for item in document["items"]:
                    verdicts += verify_verdict(item)
    proven = set()
    for document in proofs:
        for item in document["items"]:
            try:
                proven.add(verify_item(document, item, receipts))
            except ValueError as error:
                failures += 1
                print(f"chunk {item['index']}, {item['peer_id']}: {type(error).__name__}: {error}")
    proven.discard(None)
    missing = len(set(receipts) - proven) if proofs or not opened else 0
    print(f"{len(proven)} of {len(receipts)} copies are proven, {opened} opened, {verdicts} verdicts sound")
    print(f"bound to {', '.join(map(str, files)) or 'no file'}")
    bound = len(files) == 1 and None not in files
    return 1 if failures or missing or (receipts and not bound) else 0


def take_receipt(network_id, item, receipts, files):
    peer_id, blob_id = peer_bytes(item["peer_id"]), bytes.fromhex(item["blob_id"])
    statement = item.get("statement")
    network_id = network_id or bytes.fromhex(statement["network_id"])
    message = receipt_bytes(network_id, blob_id, item["length"], peer_id, item["stored_at_ms"])
    check_signature(peer_id, message, bytes.fromhex(item["signature"]))
    if statement:
        verify_statement(statement)
        same = network_id.hex(), item["index"], item["blob_id"], item["length"]
        if same != (statement["network_id"], statement["index"], statement["blob_id"], statement["length"]):
            raise ValueError("the coordinator's statement is about another blob")
    files.add(statement and statement["file_id"])
    receipts[network_id, peer_id, blob_id, item["length"]] = item["index"], item["stored_at_ms"]


def verify_statement(s):
    """What the coordinator has signed of a blob, as bytes."""
    coordinator = peer_bytes(s["coordinator"])
    message = chunk_bytes(bytes.fromhex(s["network_id"]), coordinator, s)
    check_signature(coordinator, message, bytes.fromhex(s["signature"]))
    return message


def verify_sealed(document):
    statement, key = document["receipt"]["statement"], bytes.fromhex(document["chunk_key"])
    message = verify_statement(statement)
    opening = opening_bytes(bytes.fromhex(statement["network_id"]), message, key)
    check_signature(peer_bytes(statement["coordinator"]), opening, bytes.fromhex(document["opening_signature"]))
    blob = base64.b64decode(document["blob"], validate=True)
    if blake3(blob).hex() != statement["blob_id"]:
        raise ValueError("the bytes are not the blob's")
    aad = b"fsn v2 replica" + uuid.UUID(statement["file_id"]).bytes
    aad += struct.pack(">II", statement["index"], len(blob) - 28)
    try:
        text = AESGCM(key).decrypt(blob[:12], blob[12:], aad)
    except InvalidTag:
        raise Refuted("the key that is signed does not open the blob") from None
    if (len(text), hashlib.sha256(text).hexdigest()) != (statement["chunk_bytes"], statement["chunk_sha256"]):
        raise Refuted("the blob opens as another chunk")


def orders_for(shown, challenge, blob_id):
    """Coordinator and time of each order that takes the blob away from the node that was asked."""
    for item in shown:
        try:
            data = base64.b64decode(item["order"], validate=True)
            coordinator, node, network_id, issued_at_ms, blobs = read_order(data)
            check_signature(coordinator, data, bytes.fromhex(item["signature"]))
        except (ValueError, struct.error):
            continue
        said = peer_bytes(item["coordinator"]), item["issued_at_ms"]
        if said == (coordinator, issued_at_ms) and blob_id in blobs:
            if (node, network_id) == (challenge["node"], challenge["network_id"]):
                yield coordinator, issued_at_ms


def coordinators_of(document):
    """Whoever has signed a challenge of the evidence: anybody can make a key and call it a coordinator's."""
    for message in document["messages"]:
        try:
            data = base64.b64decode(message["challenge"], validate=True)
            coordinator = read_challenge(data)["coordinator"]
            check_signature(coordinator, data, bytes.fromhex(message["challenge_signature"]))
            yield coordinator
        except (ValueError, struct.error):
            continue


def read_fields(data):
    """A protobuf message: number and value of each field, in order."""

    def varint_at(at):
        value, shift = 0, 0
        while True:
            byte = data[at]
            value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
            if byte < 128:
                return value, at

    at = 0
    while at < len(data):
        head, at = varint_at(at)
        value, at = varint_at(at)
        if head & 7 == 2:
            value, at = data[at : at + value], at + value
        yield head >> 3, value


def verify_verdict(view):
    """One of `GET nodes/{id}/proofs`; how many blobs it judges."""
    fields = {3: [], 4: b"", 5: 0, 6: 0}
    for number, value in read_fields(base64.b64decode(view["statement"], validate=True)):
        if number == 3:
            fields[3].append(value)
        else:
            fields[number] = value
    challenge = read_challenge(fields[1])
    check_signature(challenge["coordinator"], fields[1], fields[2])
    answered, hashed = bool(fields[4]), blake3(fields[1])
    network_id, names = challenge["network_id"], {number: name for name, number in JUDGEMENTS.items()}
    judgements = [names[number] for number in fields[7]]
    if answered:
        check_signature(challenge["node"], answer_bytes(network_id, hashed, fields[3]), fields[4])
    digests = fields[3] if answered else None
    judged = verdict_bytes(network_id, hashed, digests, fields[5], fields[6], judgements)
    check_signature(challenge["coordinator"], judged, fields[8])
    if any(view[name] != judgements.count(name) for name in JUDGEMENTS if name != "ordered"):
        raise ValueError("the counts are not those that are signed")
    for judgement in judgements:
        if figures_lie(judgement, answered, fields[5] > fields[6]):
            raise Refuted(f"{judgement}, after {fields[5]} ms of {fields[6]}, answered: {answered}")
    for judgement, (blob_id, _, _) in zip(judgements, challenge["items"]):
        if judgement == "ordered" and not any(orders_for(view.get("orders", []), challenge, blob_id)):
            raise ValueError("no order is shown that excuses a blob")
    return len(judgements)


def verify_item(document, item, receipts):
    if item["message"] is None:
        raise ValueError(f"was not asked: {item['outcome']}")
    message = document["messages"][item["message"]]
    data = base64.b64decode(message["challenge"], validate=True)
    challenge, position = read_challenge(data), item["position"]
    peer_id, blob_id = peer_bytes(item["peer_id"]), bytes.fromhex(item["blob_id"])
    asked = blob_id, item["length"], bytes.fromhex(item["seed"])
    if challenge["node"] != peer_id or challenge["items"][position] != asked:
        raise ValueError("the message asks something else")
    verdict, answered = message["verdict"], message["signature"] is not None
    digests = [bytes.fromhex(digest) for digest in message["item_digests"]]
    judged = verdict_bytes(
        challenge["network_id"], blake3(data), digests if answered else None,
        verdict["elapsed_ms"], verdict["deadline_ms"], verdict["judgements"],
    )  # fmt: skip
    check_signature(challenge["coordinator"], judged, bytes.fromhex(verdict["signature"]))
    judgement, late = verdict["judgements"][position], verdict["elapsed_ms"] > verdict["deadline_ms"]
    if answered:
        if len(digests) != len(challenge["items"]):
            raise ValueError("not one digest for each blob")
        signed = answer_bytes(challenge["network_id"], blake3(data), digests)
        check_signature(peer_id, signed, bytes.fromhex(message["signature"]))
    if item["outcome"] != judgement:
        raise ValueError(f"called {item['outcome']}, and {judgement} is signed")
    if figures_lie(judgement, answered, late):
        raise Refuted(f"{judgement} after {verdict['elapsed_ms']} ms of {verdict['deadline_ms']}")
    shown = list(orders_for(message.get("orders", []), challenge, blob_id))
    if judgement == "ordered" and not shown:
        raise ValueError("no order is shown that excuses it")
    if item["claim"] is None and item["index"] is None and judgement != "failed":
        return None  # of what did not fail nothing is kept but what was signed
    if not answered or item["claim"] is None:
        raise ValueError(f"without the node's answer: {judgement}")
    proof_hash = bytes.fromhex(item["proof_hash"] or "00" * 32)
    body = base64.b64decode(item["body"] or "", validate=True)
    digest = item_digest(challenge, position, item["claim"], proof_hash, body, item["duration_ms"])
    if digest != digests[position]:
        raise ValueError("not what the node signed")
    question = asked[2], peer_id, blob_id, item["length"], challenge["difficulty"]
    problem = None
    if item["claim"] == "proven":
        try:
            verify(question, proof_hash, body)
        except ValueError as error:
            problem = error
    key = challenge["network_id"], peer_id, blob_id, item["length"]
    if item["claim"] == "missing" and item["index"] is not None and key in receipts:
        stored_at_ms, coordinators = receipts[key][1], set(coordinators_of(document))
        if any(who in coordinators and at >= stored_at_ms for who, at in shown):
            if judgement != "ordered":
                raise Refuted(f"{judgement} is signed, and a coordinator had ordered the node to delete it")
            raise ValueError("a coordinator ordered the node to delete it: not the node's fault")
    excused = judgement == "ordered" and item["claim"] == "missing"
    if not excused and judgement != due(item["claim"], problem is None, late):
        raise Refuted(f"{judgement} is signed, and {due(item['claim'], problem is None, late)} is due")
    if item["index"] is None:
        return None
    if item["claim"] != "proven":
        raise ValueError(f"the node says: {item['claim']}")
    if problem:
        raise problem
    if receipts.get(key, (None,))[0] != item["index"]:
        raise ValueError("the proof is sound, but there is no receipt for this chunk")
    return key


# ---------------------------------------------------------------- vectors


def vector_blob(length):
    return blake3(f"fsn vector {length}".encode(), length)


def keys():
    statements = json.loads((HERE / "statements.json").read_text())
    seeds = {name: bytes.fromhex(key["seed"]) for name, key in statements["keys"].items()}
    peers = {name: bytes.fromhex(key["peer_id_bytes"]) for name, key in statements["keys"].items()}
    return bytes.fromhex(statements["network_id"]), seeds, peers


def varint(number):
    out = b""
    while number > 127:
        out += u8(number & 127 | 128)
        number >>= 7
    return out + u8(number)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    return varint(number << 3 | 2) + varint(len(value)) + value if value else b""


def transcript(name, number, lengths, difficulty, claims, judgements, times):
    network_id, seeds, peers = keys()
    sign = lambda key, message: Ed25519PrivateKey.from_private_bytes(seeds[key]).sign(message)
    blobs = [vector_blob(length) for length in lengths]
    items = [
        (blake3(blob), len(blob), blake3(f"fsn transcript seed {number} {i}".encode()))
        for i, blob in enumerate(blobs)
    ]
    challenge_id = bytes([number] * 16)
    asked = challenge_bytes(
        network_id, peers["coordinator"], peers["node"], challenge_id, 1767225600123, difficulty, items
    )
    challenge = read_challenge(asked)
    answers, digests = [], None
    if claims is not None:
        digests = []
        for index, (claim, blob) in enumerate(zip(claims, blobs)):
            proof_hash, body = bytes(32), b""
            if claim in ("proven", "forged"):
                question = items[index][2], peers["node"], items[index][0], len(blob), difficulty
                _, proof_hash, leaves, siblings = prove(question, blob)
                body = leaves + b"".join(siblings)
            if claim == "forged":
                body = body[:10] + bytes([body[10] ^ 1]) + body[11:]
            outcome = "proven" if claim == "forged" else claim
            duration_ms = index + 1
            digests.append(item_digest(challenge, index, outcome, proof_hash, body, duration_ms))
            answers.append(
                {
                    "outcome": outcome,
                    "proof_hash": proof_hash.hex() if body else None,
                    "duration_ms": duration_ms,
                    "body": body.hex(),
                    "item_digest": digests[-1].hex(),
                }
            )
    hashed = blake3(asked)
    challenge_signature = sign("coordinator", asked)
    answer_signature = sign("node", answer_bytes(network_id, hashed, digests)) if digests else b""
    judged = verdict_bytes(network_id, hashed, digests, *times, judgements)
    verdict_signature = sign("coordinator", judged)
    statement = field(1, asked) + field(2, challenge_signature)
    statement += b"".join(field(3, digest) for digest in digests or [])
    statement += field(4, answer_signature) + field(5, times[0]) + field(6, times[1])
    statement += field(7, bytes(JUDGEMENTS[j] for j in judgements)) + field(8, verdict_signature)
    return {
        "case": name,
        "challenge": {
            "challenge_id": challenge_id.hex(),
            "issued_at_ms": 1767225600123,
            "difficulty": difficulty,
            "items": [
                {"blob_id": blob_id.hex(), "length": length, "seed": seed.hex()} for blob_id, length, seed in items
            ],
            "signed_bytes": asked.hex(),
            "hash": hashed.hex(),
            "signature": challenge_signature.hex(),
        },
        "answer": None
        if digests is None
        else {
            "items": answers,
            "signed_bytes": answer_bytes(network_id, hashed, digests).hex(),
            "signature": answer_signature.hex(),
        },
        "verdict": {
            "judgements": judgements,
            "elapsed_ms": times[0],
            "deadline_ms": times[1],
            "signed_bytes": judged.hex(),
            "signature": verdict_signature.hex(),
        },
        "statement": statement.hex(),
    }


def transcripts():
    return {
        "about": "Whole exchanges of docs/proofs.md, made by proofs.py. blob = BLAKE3 XOF of the text 'fsn vector "
        "<length>'; keys and network id are those of statements.json: the challenge and the verdict are signed by "
        "`coordinator`, the answer by `node`. `statement` is the protobuf message fsn.v1.ProofStatement.",
        "transcripts": [
            transcript("one blob of one byte", 1, [1], 1, ["proven"], ["passed"], (1, 2000)),
            transcript(
                "three blobs: proven, missing, corrupt",
                2,
                [5000, 1024, 3073],
                4,
                ["proven", "missing", "corrupt"],
                ["passed", "failed", "failed"],
                (12, 2000),
            ),
            transcript("one byte of the proof is wrong", 3, [5000], 2, ["forged"], ["failed"], (3, 2000)),
            transcript("busy", 4, [2048, 2049], 16, ["busy", "busy"], ["busy", "busy"], (0, 2000)),
            transcript("proven, but late", 5, [1025], 16, ["proven"], ["missed"], (2001, 2000)),
            transcript("no answer", 6, [1024, 1], 16, None, ["missed", "missed"], (2250, 2000)),
        ],
    }


def chunk_statement(name, number, index, length, piece, sealing):
    network_id, seeds, peers = keys()
    blob = vector_blob(length)
    statement = {
        "file_id": str(uuid.UUID(bytes=bytes([number]) * 16)),
        "index": index,
        "chunk_bytes": length - 28,
        "chunk_sha256": hashlib.sha256(f"fsn chunk {number}".encode()).hexdigest(),
        "piece": piece[0],
        "k": piece[1],
        "n": piece[2],
        "sealing": sealing,
        "blob_id": blake3(blob).hex(),
        "length": length,
    }
    signer = Ed25519PrivateKey.from_private_bytes(seeds["coordinator"])
    signed = chunk_bytes(network_id, peers["coordinator"], statement)
    chunk_key = blake3(f"fsn chunk key {number}".encode())
    opening = opening_bytes(network_id, signed, chunk_key)
    return {
        "case": name,
        "statement": statement,
        "signed_bytes": signed.hex(),
        "signature": signer.sign(signed).hex(),
        "chunk_key": chunk_key.hex(),
        "opening_bytes": opening.hex(),
        "opening_signature": signer.sign(opening).hex(),
    }


def chunk_statements():
    return {
        "about": "What a coordinator signs of blobs, and of what opens them (docs/proofs.md), made by proofs.py. Keys and "
        "network id are those of statements.json; blob = BLAKE3 XOF of the text 'fsn vector <length>'.",
        "statements": [
            chunk_statement("a copy, one of three", 1, 0, 262172, (0, 1, 3), 2),
            chunk_statement("the last chunk of a long file", 2, 2**31 - 1, 29, (0, 1, 16), 2),
            chunk_statement("of a file with one key", 3, 77, 1052, (0, 1, 1), 1),
            chunk_statement("a coded piece, the last of twelve", 4, 5, 32796, (11, 8, 12), 2),
        ],
    }


def check():
    cases = json.loads((HERE / "proof-of-storage.json").read_text())["cases"]
    for case in cases:
        blob, peer_id = vector_blob(case["length"]), bytes.fromhex(case["peer_id"])
        blob_id, seed = bytes.fromhex(case["blob_id"]), bytes.fromhex(case["seed"])
        question = seed, peer_id, blob_id, case["length"], case["difficulty"]
        indices, proof_hash, leaves, siblings = prove(question, blob)
        assert indices == case["indices"] and proof_hash.hex() == case["proof_hash"], case
        assert len(siblings) == case["sibling_count"]
        assert blake3(b"".join(siblings)).hex() == case["siblings_blake3"]
        assert blake3(leaves).hex() == case["leaves_blake3"]
        verify(question, proof_hash, leaves + b"".join(siblings))
    print(f"{len(cases)} proofs are reproduced")
    expected = json.loads((HERE / "proof-transcripts.json").read_text())
    assert transcripts() == expected, "the transcripts differ"
    print(f"{len(expected['transcripts'])} transcripts are reproduced")
    expected = json.loads((HERE / "chunk-statements.json").read_text())
    assert chunk_statements() == expected, "the statements on chunks differ"
    print(f"{len(expected['statements'])} statements on chunks are reproduced")


def main(arguments):
    match arguments:
        case ["check"]:
            check()
        case ["verify", *paths] if paths:
            return verify_evidence(paths)
        case ["transcripts"]:
            json.dump(transcripts(), sys.stdout, indent=1)
            print()
        case ["chunk-statements"]:
            json.dump(chunk_statements(), sys.stdout, indent=1)
            print()
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
