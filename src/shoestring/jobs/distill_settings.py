"""The settings of distillation from outputs."""

from pydantic import Field

from shoestring.remote.asked import Sampling
from shoestring.remote.endpoint import Endpoint, parse_endpoint
from shoestring.settings import Settings
from shoestring.tasks.accept import Filters

HTTP = ("http://", "https://")


class DistillOutputsSettings(Settings):
    """`teacher`: a MODEL, `https://host/v1#NAME`, or a table (`Endpoint`). `suites`: families, or files of
    questions; one without answers is `FILE.jsonl:answer=open`."""

    teacher: str | Endpoint
    suites: list[str] = Field(min_length=1)  # held-out problems are never asked
    prompts: int = Field(ge=1)  # distinct, of all suites together
    samples_per_prompt: int = Field(default=4, ge=1)
    temperature: float = Field(default=0.6, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_completion_tokens: int = Field(default=2048, ge=1)
    system: str | None = None
    keep: Filters = Filters()
    max_similarity: float = Field(default=0.8, gt=0, le=1)  # Jaccard's, of two problems' prompts or replies
    similar_words: int = Field(default=5, ge=1)  # in a run that is compared for that
    evaluations: list[str] = Field(default_factory=list)  # suites, benchmark files; `suites` are too
    tested_words: int = Field(default=10, ge=2)  # in a row that no row may share with an evaluation
    tested_problems: int = Field(default=256, ge=1)  # held-out ones of each suite that rows are held against
    permission: str = ""  # in writing, of a teacher whose terms bar or say nothing: the text, or a file of it
    teacher_licence: str = ""  # of an endpoint's model; a MODEL brings its own
    samples_dir: str = ""  # where samples lie; "": in the stage's folder. Others' are never asked for again
    max_batch: int = Field(default=64, ge=1)
    workers: int = Field(default=2, ge=1)  # judge processes
    seed: int = 0
    dtype: str = "auto"
    device: str = "cpu"

    @property
    def endpoint(self) -> Endpoint | None:
        """None: the teacher is a model for this process."""
        if isinstance(self.teacher, Endpoint):
            return self.teacher
        return parse_endpoint(self.teacher) if self.teacher.startswith(HTTP) else None

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_completion_tokens, self.seed)
