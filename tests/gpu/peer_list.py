"""The peers: what the database calls them. Beside which winners a scheme and a group size put them, db/schema_9.sql says.
Standard library only."""
import collections

# `group`: whether its operands have scales per group. Two names may be two configurations of one family.
Peer = collections.namedtuple("Peer", "name family scheme dtype group")

PEERS = [
    Peer("torch-fp16", "peer:torch-fp16", "fp16", "fp16", False),
    Peer("torch-bf16", "peer:torch-bf16", "bf16", "bf16", False),
    Peer("torch-int-mm", "peer:torch-int-mm", "w8a8", "fp16", False),
    Peer("torch-fp8", "peer:torch-fp8", "w8a8", "bf16", False),
    Peer("torch-int4pack", "peer:torch-int4pack", "w4a16", "bf16", True),
    Peer("triton-w4a8", "peer:triton-w4a8", "w4a8", "fp16", True),
    Peer("triton-w8a8", "peer:triton-w8a8", "w8a8", "fp16", True),
    Peer("humming-w4a8", "peer:humming-w4a8", "w4a8", "fp16", True),
    Peer("humming-w4a8-sym", "peer:humming-w4a8", "w4a8", "fp16", True),
    Peer("humming-w8a8", "peer:humming-w8a8", "w8a8", "fp16", True),
]


def named(names):
    """The peers of these names, in the order of the list; ValueError with a sentence."""
    known = [p.name for p in PEERS]
    for name in names:
        if name not in known:
            raise ValueError(f"`{name}` is not one of {', '.join(known)}")
    return [p for p in PEERS if p.name in names]
