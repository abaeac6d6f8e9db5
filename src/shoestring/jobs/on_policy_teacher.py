"""Whose word on the student's samples is learnt from: a model in this process, or one behind an endpoint."""

from dataclasses import dataclass

from torch import Tensor

from shoestring.distill.divergence import DivergenceSettings
from shoestring.distill.http_logprobs import HttpLogprobs
from shoestring.distill.live import LiveLoss, LiveTeacher
from shoestring.distill.on_policy import Annotate, TeacherLogprobs, WithTask, logprobs_of
from shoestring.distill.teacher_score import HttpScorer
from shoestring.distill.vocabulary import matched
from shoestring.jobs.on_policy_settings import OnPolicySettings
from shoestring.jobs.origins import TaughtBy, require_teacher, taught_by_model, taught_by_service
from shoestring.lm import LanguageModel, load, reads_at
from shoestring.models.config import ModelConfig
from shoestring.remote.endpoint import ScoringEndpoint, checked_key
from shoestring.remote.turns import Turns
from shoestring.rl.loss import PolicyLoss
from shoestring.run import Stage
from shoestring.text.tokenizer import Tokenizer
from shoestring.train.loss import HeadLoss

LEDGER = "spent.jsonl"  # what an endpoint's words took, a line a request: a restart has no new budget


@dataclass(frozen=True)
class Teaching:
    """The teacher's part in the update. loss: None is the policy loss of the annotated advantages."""

    config: ModelConfig | None  # of a model in this process, whose passes are metered
    by: TaughtBy
    annotate: Annotate
    loss: HeadLoss | None

    http: HttpLogprobs | None = None

    @property
    def passes(self) -> int:
        """Of the teacher in this process over each micro-batch."""
        return 1 + (self.loss is not None) if self.config else 0


def in_words(settings: OnPolicySettings) -> str:
    how = "of the sampled token" if settings.signal == "token" else "over all tokens"
    own = (
        f"{settings.teacher_weight:g} x KL(student || teacher) {how} at temperature {settings.temperature:g}"
    )
    return f"{own} + {settings.task_weight:g} x task" if settings.task_weight else own


def open_teaching(settings: OnPolicySettings, student: LanguageModel, stage: Stage) -> Teaching:
    """Raises BadInput where the teacher speaks of other tokens than the student, or its terms bar it."""
    stage.say(f"loss {in_words(settings)}")
    if isinstance(settings.teacher, ScoringEndpoint):
        return by_endpoint(settings, settings.teacher, student, stage)
    return by_model(settings, settings.teacher, student, stage)


def by_model(settings: OnPolicySettings, name: str, student: LanguageModel, stage: Stage) -> Teaching:
    require_teacher(name, settings.permission)
    lm = load(name, dtype=settings.dtype, device=settings.device)
    by = taught_by_model(lm, settings.permission)
    live = LiveTeacher(lm.network, to_teacher(student, lm.tokenizer, lm.name, stage))
    annotate = annotating(settings, logprobs_of(live, settings.temperature))
    if settings.signal == "token":
        return Teaching(lm.config, by, annotate, None)
    own = DivergenceSettings(name="reverse_kl", temperature=settings.temperature)
    whole = LiveLoss(own, live, at=settings.temperature)
    policy = PolicyLoss(settings.loss) if settings.task_weight else None
    return Teaching(lm.config, by, annotate, WithTask(whole, settings.teacher_weight, policy))


def by_endpoint(
    settings: OnPolicySettings, endpoint: ScoringEndpoint, student: LanguageModel, stage: Stage
) -> Teaching:
    name = f"{endpoint.model} at {endpoint.url}"
    by = taught_by_service(endpoint.model, endpoint.licence, endpoint.url, settings.permission)
    ids = to_teacher(student, reads_at(endpoint.tokenizer)[0], name, stage)
    turns = Turns(endpoint, stage.folder / LEDGER, stage.say, lambda: stage.stop_requested)
    scorer = HttpScorer(endpoint, checked_key(endpoint), endpoint.kind, turns, endpoint.top)
    http = HttpLogprobs(scorer, ids)
    return Teaching(None, by, annotating(settings, http), None, http)


def to_teacher(student: LanguageModel, teachers: Tokenizer, name: str, stage: Stage) -> Tensor:
    rows = student.config.vocab_size
    return matched(student.tokenizer, rows, teachers, (student.name, name), stage.say)


def annotating(settings: OnPolicySettings, logprobs: TeacherLogprobs) -> Annotate:
    weight = settings.teacher_weight if settings.signal == "token" else 0.0
    return Annotate(logprobs, weight, settings.task_weight)
