# pragma version 0.4.3
# pragma evm-version cancun
"""
@title AnchorRegistry
@license Apache-2.0
@notice Keeps, for each Merkle root, the block in which it was registered, and checks inclusion proofs.
@dev Trees are RFC 9162: leaf SHA-256(0x00 || data), node SHA-256(0x01 || left || right), an odd node is promoted.
"""

# A root was registered, in the block that holds this event. `size` is the number of leaves under it.
event Anchored:
    root: indexed(bytes32)
    size: uint64

# The submitter offered its role to `candidate`, who has to accept it.
event SubmitterOffered:
    submitter: indexed(address)
    candidate: indexed(address)

# The role passed on.
event SubmitterChanged:
    previous: indexed(address)
    submitter: indexed(address)

# No more roots, until the submitter resumes.
event Paused:
    submitter: indexed(address)

# Roots are taken again.
event Resumed:
    submitter: indexed(address)

submitter: public(address)
candidate: public(address)
# Who may register now: the submitter, or nobody while paused. One slot to read, so the flag costs a registration nothing.
writer: address
block_of: HashMap[bytes32, uint256]


@deploy
def __init__(submitter: address):
    assert submitter != empty(address), "no submitter"
    self.submitter = submitter
    self.writer = submitter
    log SubmitterChanged(previous=empty(address), submitter=submitter)


@external
def register(root: bytes32, size: uint64):
    """
    @notice Registers a root, once for ever.
    @param root Root of an RFC 9162 tree.
    @param size Leaves of that tree, at least 1.
    """
    if msg.sender != self.writer:
        assert msg.sender != self.submitter, "paused"
        raise "not the submitter"
    assert size != 0, "empty tree"
    assert self.block_of[root] == 0, "already registered"
    self.block_of[root] = block.number
    log Anchored(root=root, size=size)


@view
@external
def blockOf(root: bytes32) -> uint256:
    """
    @notice The block in which a root was registered; 0 if it never was.
    """
    return self.block_of[root]


@view
@external
def paused() -> bool:
    """
    @notice Whether the contract takes no roots for now. What it has stays readable and checkable.
    """
    return self.writer == empty(address)


@external
def pause():
    """
    @notice Takes no more roots, whoever gets the role meanwhile.
    """
    assert msg.sender == self.submitter, "not the submitter"
    assert self.writer != empty(address), "paused"
    self.writer = empty(address)
    log Paused(submitter=msg.sender)


@external
def resume():
    """
    @notice Takes roots again, from the submitter.
    """
    assert msg.sender == self.submitter, "not the submitter"
    assert self.writer == empty(address), "not paused"
    self.writer = msg.sender
    log Resumed(submitter=msg.sender)


@external
def offerSubmitter(candidate: address):
    """
    @notice Offers the role to another address; the zero address withdraws the offer.
    """
    assert msg.sender == self.submitter, "not the submitter"
    self.candidate = candidate
    log SubmitterOffered(submitter=msg.sender, candidate=candidate)


@external
def acceptSubmitter():
    """
    @notice Takes the role that was offered to the caller. Paused stays paused.
    """
    assert msg.sender == self.candidate, "not the candidate"
    log SubmitterChanged(previous=self.submitter, submitter=msg.sender)
    self.submitter = msg.sender
    self.candidate = empty(address)
    if self.writer != empty(address):
        self.writer = msg.sender


@pure
@external
def verify(leaf: bytes32, index: uint64, size: uint64, path: DynArray[bytes32, 64], root: bytes32) -> bool:
    """
    @notice Checks an inclusion proof as RFC 9162 section 2.1.3.2 says. It does not ask whether `root` is registered.
    @param leaf Hash of the leaf, SHA-256(0x00 || data).
    @param index Position of the leaf, from 0.
    @param size Leaves of the tree.
    @param path Hashes from the leaf's sibling upwards.
    @param root Root of the tree.
    """
    if index >= size:
        return False
    fn: uint256 = convert(index, uint256)
    sn: uint256 = convert(size - 1, uint256)
    node: bytes32 = leaf
    for sibling: bytes32 in path:
        if sn == 0:
            return False
        if fn & 1 == 1 or fn == sn:
            node = sha256(concat(x"01", sibling, node))
            # A promoted node has no sibling on the levels it skips.
            for _: uint256 in range(64):
                if fn & 1 == 1 or fn == 0:
                    break
                fn >>= 1
                sn >>= 1
        else:
            node = sha256(concat(x"01", node, sibling))
        fn >>= 1
        sn >>= 1
    return sn == 0 and node == root
