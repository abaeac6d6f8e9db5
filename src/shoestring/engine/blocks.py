"""Whose the blocks of the cache are: counts of who holds each, and which a later prompt may find again.

A whole block of known tokens is named by a hash of its tokens and of all before them, so that a prompt finds
what another began with. The hash begins with the weights' version: what old weights made is never found under
new ones. Nothing here is a tensor."""

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from shoestring.ops.paged import SPAN


@dataclass(eq=False)
class Table:
    """A sequence's blocks in order. `digest` names the first `named` of them, which are whole; epoch: of the
    pool when the sequence began."""

    epoch: int
    digest: bytes
    blocks: array = field(default_factory=lambda: array("q"))
    named: int = 0
    drafted: bool = True  # the blocks that were found have the MTP module's latents too


NO_BLOCKS = Table(-1, b"")


def blocks_for(tokens: int) -> int:
    return -(-tokens // SPAN)


class BlockPool:
    """limit: how many blocks there may be. keeps: a block that nobody holds any more can still be found,
    until its place is needed; the one that waited longest goes first."""

    def __init__(self, keeps: bool) -> None:
        self.keeps, self.limit = keeps, 0
        self._holders: list[int] = []  # of each block numbered so far
        self._free: list[int] = []
        self._unheld: OrderedDict[int, None] = OrderedDict()  # that can be found, the longest unheld first
        self._block_of: dict[bytes, int] = {}
        self._digest_of: dict[int, bytes] = {}
        self._drafted: set[int] = set()
        self.epoch = 0
        self._salt = b""
        self.forget("")

    @property
    def numbered(self) -> int:
        """Blocks that have ever been needed at once: tensors must have so many."""
        return len(self._holders)

    @property
    def held(self) -> int:
        return self.numbered - len(self._free) - len(self._unheld)

    @property
    def cached(self) -> int:
        """Blocks that nobody holds and a prompt may find."""
        return len(self._unheld)

    @property
    def available(self) -> int:
        return self.limit - self.held

    def forget(self, version: str) -> None:
        """Nothing that is here can be found any more; sequences that run keep what they hold."""
        self.epoch += 1
        self._salt = blake2b(f"{version}:{self.epoch}".encode(), digest_size=16).digest()
        self._block_of.clear()
        self._digest_of.clear()
        self._drafted.clear()
        self._free += self._unheld
        self._unheld.clear()
        self._shrink()

    def find(self, tokens: Sequence[int]) -> Table:
        """A new table, with the blocks that are known of how `tokens` begin; one token at least is left to be
        read."""
        table = Table(self.epoch, self._salt)
        for digest in self._digests(table, tokens, (len(tokens) - 1) // SPAN):
            block = self._block_of.get(digest)
            if block is None:
                break
            self._hold(block)
            table.blocks.append(block)
            table.digest, table.named = digest, table.named + 1
            table.drafted = table.drafted and block in self._drafted
        return table

    def empty(self) -> Table:
        return Table(self.epoch, self._salt)

    def fork(self, table: Table) -> Table:
        """Another sequence that begins with the same blocks."""
        for block in table.blocks:
            self._holders[block] += 1
        return Table(table.epoch, table.digest, table.blocks[:], table.named, table.drafted)

    def missing(self, table: Table, tokens: int, write_from: int) -> int:
        """Blocks to be taken before tokens from place `write_from` up to so many can be written."""
        more = max(0, blocks_for(tokens) - len(table.blocks))
        return more + len(self._shared(table, write_from))

    def extend(self, table: Table, tokens: int, write_from: int) -> list[tuple[int, int]]:
        """Take what is `missing`. -> (from, to) of blocks that others hold too, to be copied before the
        write."""
        copies = []
        for at in self._shared(table, write_from):
            mine = self._take()
            copies.append((table.blocks[at], mine))
            self._holders[table.blocks[at]] -= 1  # others hold it: it isn't free by that
            table.blocks[at] = mine
        for _ in range(blocks_for(tokens) - len(table.blocks)):
            table.blocks.append(self._take())
        return copies

    def name(self, table: Table, tokens: Sequence[int]) -> None:
        """Of `tokens` all are in the table's blocks, or will be before they are read: its whole blocks can be
        found from now on."""
        if table.epoch != self.epoch:  # made by old weights, in part at least
            return
        for digest in self._digests(table, tokens, len(tokens) // SPAN):
            block = table.blocks[table.named]
            if digest not in self._block_of:
                self._block_of[digest], self._digest_of[block] = block, digest
            table.digest, table.named = digest, table.named + 1

    def mark_drafted(self, table: Table) -> None:
        """Its blocks that can be found have the MTP module's latents too."""
        self._drafted.update(block for block in table.blocks[: table.named] if block in self._digest_of)

    def release(self, table: Table) -> None:
        """The last block first: where room is needed, a beginning outlives what came after it."""
        for block in reversed(table.blocks):
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if self.keeps and block in self._digest_of:
                self._unheld[block] = None
            else:
                self._unname(block)
                self._free.append(block)
        table.blocks = array("q")
        self._shrink()

    def _shared(self, table: Table, write_from: int) -> list[int]:
        """Places in the table of blocks that others hold too, from the one that holds place `write_from`."""
        first = write_from // SPAN
        return [at for at in range(first, len(table.blocks)) if self._holders[table.blocks[at]] > 1]

    def _digests(self, table: Table, tokens: Sequence[int], whole: int) -> Iterator[bytes]:
        digest = table.digest
        for at in range(table.named, whole):
            own = array("q", tokens[at * SPAN : (at + 1) * SPAN]).tobytes()
            digest = blake2b(digest + own, digest_size=16).digest()
            yield digest

    def _hold(self, block: int) -> None:
        if not self._holders[block]:
            del self._unheld[block]
        self._holders[block] += 1

    def _take(self) -> int:
        if self._free:
            block = self._free.pop()
        elif self.numbered < self.limit:
            block = self.numbered
            self._holders.append(0)
        else:  # the caller has looked at what is available
            block, _ = self._unheld.popitem(last=False)
            self._unname(block)
        self._holders[block] = 1
        return block

    def _unname(self, block: int) -> None:
        digest = self._digest_of.pop(block, None)
        if digest is not None:
            del self._block_of[digest]
        self._drafted.discard(block)

    def _shrink(self) -> None:
        """Nothing held, nothing to be found: as at the beginning."""
        if len(self._free) == len(self._holders):
            self._free.clear()
            self._holders.clear()
