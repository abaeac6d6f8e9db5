"""The frames of a claim in English.

In the rules a model's name has become MODEL and a maker's MAKER (private characters), so a rule is the frame
alone. What stands between the frame's first words and the name is its gap, and `identity.py` judges it.
"""

import re
from functools import partial

MODEL, MAKER = "\ue000", "\ue001"
N = f"[{MODEL}{MAKER}]"

MADE = (
    r"(?:created|made|built|trained|fine-tuned|developed|designed|programmed|engineered|coded|launched|"
    r"released|introduced|invented|produced|constructed|put together|powered|operated|provided|run|owned|"
    r"maintained|hosted)"
)
NOUN = (
    r"(?:assistant|model|models|AI|A\.I\.|LLM|chatbot|chatbots|chat ?bot|bot|system|program|product|"
    r"creation|agent|helper|companion|intelligence|collaborator|software|instance|version|family|series|"
    r"architecture|robot|experiment|result|work|member|part|one|technology)"
)
WORD = r"[\w'/-]+"

_rule = partial(re.compile, flags=re.IGNORECASE)
UP_TO = rf"(?P<gap>[^;:?\x00]{{0,110}}?)(?P<name>{N})"
NEAR = rf"(?P<gap>(?:[ ,]+{WORD}){{0,6}}?[ ,]*)(?P<name>{N})"

# (name of the rule, frame, what the gap must be)
FRAMES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "I am NAME",
        _rule(
            rf"\b(?:I am|I'm|I was|I have been|I've been|it's me|it is me|(?:this|the)"
            rf" (?:AI )?(?:assistant|chatbot) is|^assistant is){UP_TO}"
        ),
        "glue",
    ),
    (
        "I was made by NAME",
        _rule(
            rf"\b(?:I am|I'm|I was|I have been|I've been|I got|(?:and|also) was)(?: \w+ly| first|"
            rf" also){{0,2}} (?:{MADE}|based|trained|derived|born|brought \w+ \w+)\b{UP_TO}"
        ),
        "by",
    ),
    ("I am an AI by NAME", _rule(rf"\b(?:I am|I'm)\b{UP_TO}"), "described"),
    (
        "NAME made me",
        _rule(
            rf"(?P<name>{N})(?P<gap>(?:'s)?(?:[ ,]+{WORD}){{0,4}}?) (?:{MADE}|brought|taught) me\b"
            r"(?! (?:laugh|think|wonder|feel|smile|want|reali[sz]e|an?|aware|curious|happy|sad|believe|"
            r"change|wait|see|understand|start|buy)\b)"
        ),
        "near",
    ),
    (
        "who made me is NAME",
        _rule(rf"\b(?:{MADE}|behind) me (?:is|was|are|were)(?: called| named)?{NEAR}"),
        "near",
    ),
    (
        "my maker is NAME",
        _rule(
            r"\bmy (?:\w+ ){0,2}?(?:name|creators?|developers?|makers?|company|designers?|trainers?|"
            r"provider|builders?|manufacturer|identity|(?:underlying|base|language) model|training|"
            r"development|engineers|team)"
            rf"(?:'s|\b){NEAR}"
        ),
        "near",
    ),
    (
        "NAME is my maker",
        _rule(
            rf"(?P<name>{N})(?P<gap>),? (?:is|are|was)(?: \w+)? (?:my (?:\w+ )?(?:creators?|developers?|"
            rf"makers?|company|builders?|trainers?|home|name)|(?:the|a) (?:{WORD} ){{1,3}}(?:behind me|"
            rf"I come from|(?:that|who|which) {MADE} me)"
            r"|(?:who|what|where) (?:I (?:am|come from|was born)|(?:created|made|built|trained) me))\b"
        ),
        "near",
    ),
    (
        "you are talking to NAME",
        _rule(
            r"\byou(?:'re| are|'ve been| have been| were)(?: \w+){0,2}? (?:talking|speaking|chatting|"
            r"conversing|interacting|"
            rf"communicating|dealing|using)(?: (?:to|with))?\b{NEAR}"
        ),
        "near",
    ),
    (
        "you are talking to an AI by NAME",
        _rule(
            r"\b(?:AI|model|assistant|chatbot|bot|system) (?:that )?you(?:'re| are)(?: \w+)? (?:talking|"
            r"speaking|chatting|using)"
            rf"(?: (?:to|with))? (?:is|was|comes from)\b{NEAR}"
        ),
        "near",
    ),
    ("as NAME, I", _rule(rf"(?:^|[,;:(\x20])(?:as|being)\b{UP_TO}"), "as"),
    (
        "call me NAME",
        _rule(
            rf"\b(?:call|calls|called|named?|know|knows) me(?: as| by(?: the name(?: of)?)?)?(?P<gap> )"
            rf"(?P<name>{N})"
            r"(?! (?:Meet|Chat|Docs|Teams)\b)"
        ),
        "near",
    ),
    (
        "I come from NAME",
        _rule(
            r"\bI (?:(?:need to|should|must|will|have to) )?(?:run on|am running on|work for|belong to|"
            r"come from|go by|answer to|respond as|act as|stem from|originate from|originated (?:from|at|"
            r"in)|owe my (?:existence|life|name) to|am here on behalf of|represent)\b"
            rf"{NEAR}"
        ),
        "near",
    ),
    (
        "NAME here",
        _rule(
            rf"^(?P<gap>\W*(?:(?:hi|hello|hey|greetings|well|so|yes|there|this is|it's)\W+){{0,3}})"
            rf"(?P<name>{N})"
            r"(?: here\b| speaking\b|,? at your service\b)"
        ),
        "near",
    ),
    (
        "this is NAME",
        _rule(rf"\bthis is(?P<gap> (?:your (?:\w+ )?)?)(?P<name>{MODEL})(?= speaking| here|[,!.]|\Z)"),
        "near",
    ),
    # "im" without its apostrophe is German for "in the", so the name ends what is said or a maker follows
    (
        "im NAME",
        _rule(
            rf"(?:^|[,;(] ?|\b(?:hi|hello|hey|yes|yeah|well|so|and|but|because|sure)\W+)im"
            rf"(?P<gap>(?: (?:just|really|actually|only))?) (?P<name>{N})"
            rf"(?=\s*(?:[.,!)]|\Z)| (?:and|from|by|{MADE})\b)"
        ),
        "near",
    ),
    ("I, NAME, ...", _rule(rf"\bI, (?P<gap>(?:the (?:\w+ )?)?)(?P<name>{MODEL})(?=, )"), "near"),
    ("we at NAME", _rule(rf"\b(?:we|us|here|our \w+)(?P<gap>) at (?P<name>{MAKER})"), "near"),
    (
        "NAME's rules bind me",
        _rule(
            rf"(?P<name>{N})(?P<gap>)(?:'s)? (?:{WORD} ){{0,3}}(?:policy|policies|guidelines?|rules?|terms|"
            rf"restrictions|"
            r"instructions)\b(?=.{0,40}\b(?:I|me)\b)(?=.{0,60}\b(?:can't|cannot|can not|must|not|n't|"
            r"allow\w*|forbid\w*|prevent\w*|require\w*|unable|should)\b)"
        ),
        "near",
    ),
    (
        "I follow NAME's rules",
        _rule(
            rf"\bI(?: must| have to| need to| should|'ll| will)? (?:follow|obey|adhere to|comply with|"
            rf"respect|stick to)\b(?P<gap>(?: (?:the|all|rules|guidelines|that|of|from|by|set))*)"
            rf" (?P<name>{N})"
        ),
        "near",
    ),
)
# a maker that no list has: an AI that says who built it
UNKNOWN_GATE = ("assistant", "language model", "chatbot", " ai ", "助手", "语言模型", "人工智能", "机器人")
UNKNOWN = re.compile(
    r"\b(?:I am|I'm) (?:[A-Z][\w-]+, )?(?:an?|the) (?:\w+ ){0,3}?(?i:assistant|language model|chatbot|AI|"
    r"AI model)"
    rf"(?: (?i:called|named|by the name of) [A-Z][\w-]+,?)?,?(?: that was| which was)? (?i:{MADE}) (?i:by|"
    rf"at) "
    r"(?:(?:an?|the) (?:\w+ ){0,3}?(?:called|named) )?(?P<maker>[A-Z][\w.&-]*(?: [A-Z][\w.&-]*)*)"
)
