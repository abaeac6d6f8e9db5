"""The jobs by the names that recipes and verbs call them by, each imported when it is asked for."""

from shoestring.jobs.recipe_units import ROWS_KEY, Job, JobTable


def _eval() -> Job:
    from shoestring.jobs import evaluate

    rows = (ROWS_KEY, "against")  # what was trained on
    return Job(
        evaluate.EvaluateSettings,
        evaluate.main,
        makes_model=False,
        takes_rows=rows,
        check=evaluate.plan,
        takes_handles=True,
    )


def _audit() -> Job:
    from shoestring.jobs import audit

    return Job(audit.AuditSettings, audit.main, makes_model=False, check=audit.check)


def _sft() -> Job:
    from shoestring.jobs import sft

    return Job(sft.SFTSettings, sft.main, check=sft.check, takes_handles=True)


def _sample() -> Job:
    from shoestring.jobs import sample, sample_rows

    rows, check = sample_rows.ROWS, sample.check
    return Job(
        sample.SampleSettings,
        sample.main,
        makes_model=False,
        makes_rows=rows,
        check=check,
        takes_handles=True,
    )


def _distill_outputs() -> Job:
    from shoestring.jobs import distill_outputs, distill_settings, sample_rows

    settings, main = distill_settings.DistillOutputsSettings, distill_outputs.main
    check, rows = distill_outputs.check, sample_rows.ROWS
    return Job(settings, main, makes_model=False, makes_rows=rows, check=check)


def _grpo() -> Job:
    from shoestring.jobs import grpo

    return Job(grpo.GRPOSettings, grpo.main, check=grpo.check, takes_handles=True)


def _reward() -> Job:
    from shoestring.jobs import reward

    return Job(reward.RewardModelSettings, reward.main, check=reward.open_data)


def _tokenizer() -> Job:
    from shoestring.jobs import tokenizer

    return Job(tokenizer.TokenizerSettings, tokenizer.main, check=tokenizer.check)


def _init() -> Job:
    from shoestring.jobs import init

    return Job(init.InitSettings, init.main, check=init.check)


def _pretrain() -> Job:
    from shoestring.jobs import pretrain, pretrain_settings
    from shoestring.report.ablation_run import FIGURES

    settings, check = pretrain_settings.PretrainSettings, pretrain_settings.check
    figures = tuple(FIGURES)
    return Job(settings, pretrain.main, check=check, figures=figures, takes_handles=True)


def _distill_distribution() -> Job:
    from shoestring.jobs import distill_distribution as job

    return Job(job.DistributionSettings, job.main, check=job.check, takes_handles=True)


def _distill_on_policy() -> Job:
    from shoestring.jobs import distill_on_policy as job

    return Job(job.OnPolicySettings, job.main, check=job.check)


JOBS: JobTable = {
    "eval": _eval,
    "audit": _audit,
    "tokenizer": _tokenizer,
    "init": _init,
    "pretrain": _pretrain,
    "sft": _sft,
    "sample": _sample,
    "distill-outputs": _distill_outputs,
    "distill-distribution": _distill_distribution,
    "distill-on-policy": _distill_on_policy,
    "grpo": _grpo,
    "reward": _reward,
}
