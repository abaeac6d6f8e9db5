"""What can steer a request without a server: thinking budgets, loop guards, stop strings, grammars."""

from shoestring.engine.guides.grammar import GrammarGuide, Grammars
from shoestring.engine.guides.loop import LoopGuard
from shoestring.engine.guides.reading import Reading, State
from shoestring.engine.guides.stops import StopStrings
from shoestring.engine.guides.thinking import ThinkingBudget

__all__ = ["GrammarGuide", "Grammars", "LoopGuard", "Reading", "State", "StopStrings", "ThinkingBudget"]
