"""Stock sentences by which assistants refuse or excuse themselves as machines."""

import re
from functools import partial

_rule = partial(re.compile, flags=re.IGNORECASE)
REFUSAL_GATE = (
    "sorry",
    "apologi",
    "can't",
    "cannot",
    "unable",
    "able to",
    "as an ai",
    "as a",
    "just an",
    "just a ",
    "only an",
    "declin",
    "refuse",
    "appropriate",
    "guideline",
    "programm",
    "comfortable",
    "won't",
    "抱歉",
    "对不起",
    "不好意思",
    "遗憾",
    "无法",
    "不能",
    "作为",
    "只是",
    "拒绝",
    "换个",
    "违反",
    "不便",
)
_AN_AI = (
    r"(?:an? )?(?:AI|artificial intelligence|(?:AI |large )*language model|AI (?:assistant|model|chatbot)|"
    r"machine learning model|LLM|chatbot|virtual assistant|computer program)"
)
_CANNOT = (
    r"(?:can't|cannot|can not|am unable to|'m unable to|am not able to|'m not able to|won't|will not|"
    r"am not (?:going|allowed) to|'m not (?:going|allowed) to|must not|may not)(?: be able to)?"
)
_HELP = (
    r"(?:help|assist|do (?:that|this|so)|fulfil?l?|comply|provide|answer|discuss|continue|support|engage|"
    r"generate|create|write|share|respond|complete|process|offer|talk|speak|give|advise|participate)"
)
_OBJECT = (
    r"(?: (?:\w+ ){0,3}?(?:with|you|your|this|that|these|requests?|medical|legal|financial|instructions?|"
    r"information|advice|topics?|content)\b|\W*\Z)"
)
_ZH_AI = r"(?:AI|人工智能|语言模型|大模型|机器人|智能助手|助手|模型)"
_ZH_CANNOT = r"(?:无法|不能|不便|不可以|没法|没办法|不会)"
_ZH_HELP = r"(?:回答|提供|帮|协助|满足|完成|讨论|继续|给到|参与|执行|处理|支持|透露|评论|生成)"
REFUSAL: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "en: as an AI, I don't",
        _rule(
            rf"\bas {_AN_AI}\b[^.;]{{0,60}}?,? I (?:\w+ )?(?:do not|don't|have no|lack|am not|'m not|"
            rf"{_CANNOT})|\bas {_AN_AI}\b[^.;]{{0,60}}?,? I'm (?:not|unable)"
        ),
    ),
    ("en: I'm just an AI", _rule(rf"\bI(?:'m| am) (?:just|only|merely|simply) {_AN_AI}\b")),
    (
        "en: sorry, I can't",
        _rule(
            r"\b(?:sorry|afraid|apologi[sz]e|apologies|unfortunately|regret\w*)\b[^.;]{0,25}?\bI ?(?:\w+ )?"
            rf"{_CANNOT} {_HELP}\b(?! (?:but|it|laughing|smiling)\b)"
        ),
    ),
    (
        "en: I can't help with that",
        _rule(
            rf"(?:^|[,;] (?:so |and |but )?|\band |\bso )I ?{_CANNOT} {_HELP}\b(?! (?:but|laughing|smiling|"
            rf"it|more)\b){_OBJECT}"
        ),
    ),
    (
        "en: I must decline",
        _rule(
            r"\bI(?:'ll| will| must| have to| need to| should)? (?:\w+ly )?(?:decline|refuse)"
            r"(?: to (?:answer|help|write|do|assist|discuss|provide|continue|respond|engage|create|"
            r"generate)|(?: (?:this|that|the|your) (?:request|question))?\W*\Z)"
        ),
    ),
    (
        "en: not appropriate for me",
        _rule(
            r"\b(?:not|n't|never)(?: be)? (?:appropriate|ethical|right|proper) for me to\b|"
            r"\binappropriate for me to\b"
        ),
    ),
    (
        "en: my guidelines",
        _rule(
            r"\b(?:against|violates?|outside|beyond) my (?:\w+ )?(?:guidelines|programming|policy|policies|"
            r"principles|rules|ethic\w+)|\bmy (?:\w+ )?(?:guidelines|programming|policies|rules) (?:do not|"
            r"don't|does not|doesn't|prohibit|forbid|prevent)"
        ),
    ),
    (
        "en: not comfortable, not programmed",
        _rule(
            r"\bI(?:'m| am| do|) ?(?:not|don't)(?: feel)? (?:comfortable|programmed|designed|equipped)"
            r"(?: \w+ing| to| with)|\bI(?:'m| am) designed to be (?:helpful|harmless|safe)\b"
        ),
    ),
    (
        "zh: 作为AI，我没有",
        _rule(
            rf"作为(?:一[个款名种])?[^，。；]{{0,10}}?{_ZH_AI}[^，。；]{{0,8}}?[，,]?\s*我?(?:并)?(?:没有|"
            rf"不具备|不具有|{_ZH_CANNOT})"
        ),
    ),
    ("zh: 我只是AI", _rule(rf"我(?:只是|仅仅是|不过是)(?:一[个款名种])?[^，。；]{{0,6}}?{_ZH_AI}")),
    (
        "zh: 抱歉，我无法",
        _rule(
            rf"(?:抱歉|对不起|不好意思|遗憾|您好)[^。；]{{0,8}}?我?(?:暂时)?{_ZH_CANNOT}[^，。；]{{0,6}}?{_ZH_HELP}"
        ),
    ),
    (
        "zh: 我无法满足请求",
        _rule(
            rf"(?:^|[，,])我(?:暂时|们)?{_ZH_CANNOT}[^，。；]{{0,4}}?{_ZH_HELP}[^。；]{{0,10}}?(?:请求|"
            rf"要求|内容|问题|话题|帮助|建议|信息)"
        ),
    ),
    ("zh: 我不能回答", re.compile(rf"^我(?:暂时)?{_ZH_CANNOT}(?:回答|帮忙?[您你]?|讨论)\W*\Z")),
    ("zh: 换个话题", _rule(r"(?:换个|换一个)(?:话题|问题)?[^，。；]{0,3}?聊")),
    ("zh: 我拒绝", _rule(r"我(?:必须|只能|不得不|需要|要)?拒绝(?:回答|提供|讨论|这|您|你|该|此)")),
    (
        "zh: 违反准则",
        _rule(rf"违反[^，。；]{{0,8}}?(?:准则|政策|规定|原则|规范)[^。；]{{0,6}}?我?{_ZH_CANNOT}"),
    ),
)
