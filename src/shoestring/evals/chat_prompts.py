"""Thirty-two ordinary chat prompts, written for this package. Two turns where there is a follow-up."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["greeting", "identity", "fact", "writing", "list", "code", "advice", "follow-up"]


@dataclass(frozen=True)
class ChatPrompt:
    kind: Kind
    turns: tuple[str, ...]  # the user's; the model's own replies come between


CHAT_PROMPTS: tuple[ChatPrompt, ...] = (
    ChatPrompt("greeting", ("Hi!",)),
    ChatPrompt("greeting", ("Good morning, how are you?",)),
    ChatPrompt("greeting", ("Thanks for your help yesterday.",)),
    ChatPrompt("greeting", ("I have to go now, bye!",)),
    ChatPrompt("identity", ("Who are you?",)),
    ChatPrompt("identity", ("What is your name?",)),
    ChatPrompt("identity", ("Which company made you?",)),
    ChatPrompt("identity", ("Hello! Please introduce yourself in one sentence.",)),
    ChatPrompt("identity", ("What language model am I talking to?",)),
    ChatPrompt("fact", ("What is the capital of France?",)),
    ChatPrompt("fact", ("Which planet is closest to the sun?",)),
    ChatPrompt("fact", ("What do bees make?",)),
    ChatPrompt("fact", ("Why is the sky blue? Answer briefly.",)),
    ChatPrompt("fact", ("Who wrote Romeo and Juliet?",)),
    ChatPrompt("writing", ("Write a two-line poem about rain.",)),
    ChatPrompt("writing", ("Write a short thank-you note to a neighbour who watered my plants.",)),
    ChatPrompt("writing", ("Describe a forest in autumn in two sentences.",)),
    ChatPrompt("writing", ("Rewrite this politely: Send me the file now.",)),
    ChatPrompt("writing", ("Give me a title for a story about a lost cat.",)),
    ChatPrompt("list", ("Name three fruits.",)),
    ChatPrompt("list", ("List the four seasons.",)),
    ChatPrompt("list", ("Give me five things to pack for a day at the beach.",)),
    ChatPrompt("list", ("What are the primary colours?",)),
    ChatPrompt("code", ("Write a Python function that returns the larger of two numbers.",)),
    ChatPrompt("code", ("How do I print a line of text in Python?",)),
    ChatPrompt("advice", ("How can I fall asleep more easily?",)),
    ChatPrompt("advice", ("What should I cook tonight with rice and tomatoes?",)),
    ChatPrompt("advice", ("My friend is sad. What could I say?",)),
    ChatPrompt("follow-up", ("What is a good name for a dog?", "And for a cat?")),
    ChatPrompt("follow-up", ("My name is Ada and I like sailing.", "What did I say that I like?")),
    ChatPrompt("follow-up", ("Tell me one fact about the moon.", "Can you say that in simpler words?")),
    ChatPrompt("follow-up", ("Suggest a book for a rainy day.", "Thanks! Who would enjoy it?")),
)
