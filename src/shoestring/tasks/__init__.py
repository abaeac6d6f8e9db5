"""Problems that can be checked, and open prompts (`chat`). FAMILIES are our own; `gym:NAME` and files come
through `suite.py`."""

from shoestring.tasks.base import Family
from shoestring.tasks.chat import Chat
from shoestring.tasks.countdown import Countdown
from shoestring.tasks.equations import Equations
from shoestring.tasks.letters import Letters
from shoestring.tasks.sums import Sums

FAMILIES: dict[str, Family] = {
    "sums": Sums(),
    "equations": Equations(),
    "countdown": Countdown(),
    "letters": Letters(),
    "chat": Chat(),
}
