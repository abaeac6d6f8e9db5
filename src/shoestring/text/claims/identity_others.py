"""The frames of a claim in Spanish, French, German and Japanese: the common forms only."""

import re

N = "[\ue000\ue001]"
_GAP = r"(?:(?!\b(?:no|ni|not|pas|nicht|kein\w*|fan|sobre|sur|über|contra|de acuerdo)\b)[^.;:\x00]){0,70}?"
_ES = r"(?:cre[óo]|entren[óo]|desarroll[óo]|diseñ[óo]|construy[óo]|hizo|program[óo])"
_FR = r"(?:créé|entraîné|développé|conçu|programmé|fabriqué|construit|formé)e?"
_DE = r"(?:entwickelt|trainiert|erschaffen|geschaffen|gebaut|programmiert|erstellt|gemacht)"
_JA = r"(?:開発|作成|作|訓練|トレーニング|学習|設計|提供|構築|生み出)"

SPEAKS_OTHER = re.compile(
    r"\b(?:soy|fui|he sido|me|mi|mis|est[áa]s?|como|je|j'ai|m'a|m'ont|mon|mes|vous|tu|tant|ich|mein|mich|"
    r"meine|als|du|sie)\b|[私僕俺]|わたし|あなた|モデルは",
    re.IGNORECASE,
)

OTHERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (rule, re.compile(frame, re.IGNORECASE))
    for rule, frame in (
        (
            "es: soy NAME",
            r"(?<!no )(?<!si )\b(?:soy|he sido|me llamo|mi nombre es|mis? (?:creador|desarrollador)(?:a|"
            r"es)? (?:es|son)"
            rf"|est[áa]s? (?:hablando|chateando|conversando) con|fui (?:creado|entrenado|desarrollado|"
            rf"diseñado))\b{_GAP}{N}",
        ),
        (
            "es: NAME me creó",
            rf"{N}(?: (?!ni\b|no\b)\w+){{0,3}}? me (?:ha )?{_ES}|(?<!ni )(?<!no )\bme (?:ha )?{_ES} {N}",
        ),
        ("es: como modelo de NAME", rf"\bcomo (?:un |una )?(?:modelo|asistente|IA|inteligencia){_GAP}{N}"),
        (
            "fr: je suis NAME",
            r"\b(?:je suis|je m'appelle|mon nom est|mon (?:créateur|développeur) est|(?:vous parlez|"
            r"tu parles) (?:à|avec)"
            rf"|(?:vous|tu) (?:discutez|discutes) avec|j'ai été {_FR})\b{_GAP}{N}",
        ),
        ("fr: NAME m'a créé", rf"{N}(?: \w+){{0,3}}? m'(?:a|ont) {_FR}"),
        (
            "fr: en tant que modèle de NAME",
            rf"\ben tant qu(?:e |')(?:modèle|assistant|IA|intelligence){_GAP}{N}",
        ),
        (
            "de: ich bin NAME",
            r"(?<!ob )\b(?:ich bin|ich heiße|mein name ist|mein (?:entwickler|hersteller|schöpfer) ist|"
            r"du sprichst mit"
            rf"|sie sprechen mit|du chattest mit|ich wurde)\b{_GAP}{N}(?! (?:gefragt|gebeten))",
        ),
        ("de: NAME hat mich entwickelt", rf"{N}(?: \w+){{0,3}}? (?:hat|haben) mich(?: \w+){{0,4}}? {_DE}"),
        (
            "de: als Modell von NAME",
            rf"\bals (?:ein )?(?:\w*modell|ki|künstliche intelligenz|\w*assistent){_GAP}{N}",
        ),
        (
            "ja: 私はNAME",
            r"(?:私|わたし|僕|俺|当モデル|本モデル)(?:の名前|の開発者|の開発元|のモデル)?は[^。\x00]{0,40}?"
            rf"{N}(?!(?:を|について|に聞|の使い方|で(?!す|あ|、)))(?![^。]{{0,30}}(?:ではあり|ではな|"
            rf"じゃな|でもな|ませんで))",
        ),
        (
            "ja: NAMEが私を作った",
            rf"{N}(?:社)?(?:が|によって|に|は)[^。\x00]{{0,12}}?(?:私|僕)を[^。\x00]{{0,8}}?{_JA}",
        ),
        ("ja: NAMEと話している", rf"{N}(?:と|とお)(?:話|会話|チャット)"),
    )
)
