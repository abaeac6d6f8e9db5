"""Where the user asks who speaks, a name in the reply is a claim in whatever words it comes."""

import re

from shoestring.text.claims.sentences import Sentence
from shoestring.text.makers import Names

LONGEST_QUESTION = 300  # characters; a question after a page of text is about the page
_ASKS = re.compile(
    r"\b(?:who|what) (?:exactly )?are you\b|\bwho(?:'s| is) (?:this|there)\b"
    r"|\b(?:what(?:'s| is)|tell me|say) your (?:\w+ )?name\b"
    r"|\b(?:who|which|what) (?:\w+ ){0,3}?(?:made|created|built|trained|developed|designed) you\b"
    r"|\b(?:introduce|describe) yourself\b|\babout yourself\b|\bwhere do you come from\b"
    r"|\bam I (?:talking|speaking|chatting) (?:to|with)\b|\bwhat (?:\w+ ){0,3}?(?:model|AI) are you\b"
    r"|[你您]是谁|[你您](?:叫|是)什么|[你您]的(?:名字|开发者|创造者)|谁(?:开发|创造|训练|制造|设计|创建)"
    r"了?[你您]"
    r"|(?:开发|创造|训练|制造)[你您]的|哪家公司(?:开发|创造|训练|的)|介绍一?下?[你您]自己|自我介绍|[你您]来自"
    r"|\b(?:quién eres|cómo te llamas|tu nombre|quién te)\b|\b(?:qui es-tu|qui êtes-vous|ton nom|votre nom|"
    r"qui t'a)\b"
    r"|\b(?:wer bist du|wer sind sie|wie heißt du|dein name|wer hat dich)\b|あなたは誰|お名前|誰が作",
    re.IGNORECASE,
)
# said of somebody else, or denied: such a sentence is left to the frames
_DENIES = re.compile(
    r"\b(?:not|never|nor|neither|no|than|unlike|like|pas|nicht|kein\w*|ni|pas)\b|n't\b|[不没否非]|ない|"
    r"ありません",
    re.IGNORECASE,
)


def asks_who(question: str) -> bool:
    return len(question) <= LONGEST_QUESTION and _ASKS.search(question.replace("’", "'")) is not None


def named_in(sentence: Sentence, names: Names) -> bool:
    return names.pattern.search(sentence.text) is not None and not _DENIES.search(sentence.text)
