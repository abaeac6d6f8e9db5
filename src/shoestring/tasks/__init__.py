"""Problems that can be checked, and open prompts (`chat`). FAMILIES are our own; `gym:NAME` and files come
through `suite.py`."""

from shoestring.tasks.base import Family
from shoestring.tasks.bases import Bases
from shoestring.tasks.change import Change
from shoestring.tasks.chat import Chat
from shoestring.tasks.clock import Clock
from shoestring.tasks.compare import Compare
from shoestring.tasks.countdown import Countdown
from shoestring.tasks.equations import Equations
from shoestring.tasks.letters import Letters
from shoestring.tasks.products import Products
from shoestring.tasks.remainder import Remainder
from shoestring.tasks.sequences import Sequences
from shoestring.tasks.sorting import Sorting
from shoestring.tasks.sums import Sums

FAMILIES: dict[str, Family] = {
    "sums": Sums(),
    "equations": Equations(),
    "countdown": Countdown(),
    "letters": Letters(),
    "products": Products(),
    "remainder": Remainder(),
    "bases": Bases(),
    "compare": Compare(),
    "clock": Clock(),
    "sorting": Sorting(),
    "sequences": Sequences(),
    "change": Change(),
    "chat": Chat(),
}
