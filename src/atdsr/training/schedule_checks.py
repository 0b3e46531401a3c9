"""Sentences about settings that have no effect in a run of so many steps."""

from collections.abc import Iterator

from atdsr.training.config import TrainConfig


def warnings(config: TrainConfig) -> list[str]:
    """Return a sentence for every part of a schedule that lies beyond the end of the run.

    A recipe on top of a longer one inherits its warm-up, milestones and intervals. They are valid
    values, but a run that ends in the warm-up hardly changes the weights.
    """
    return [*_rate_warnings(config), *_interval_warnings(config)]


def _rate_warnings(config: TrainConfig) -> Iterator[str]:
    """Yield what is wrong with the learning rate."""
    schedule, steps = config.schedule, config.iterations
    peak = max(config.learning_rate(step) for step in _turning_points(config))
    if schedule.warmup > steps:
        yield (
            f"schedule.warmup is {schedule.warmup:,} and the run has {steps:,} steps: the learning "
            f"rate gets no higher than {peak:.2g} of {config.optim.lr:g} (optim.lr), so the run "
            f"may change little; lower it, for example to {max(1, steps // 25):,}."
        )
    if schedule.cooldown > steps:
        yield (
            f"schedule.cooldown is {schedule.cooldown:,} and the run has {steps:,} steps: the "
            f"learning rate falls from the first step on; lower it to {steps // 2:,} or so."
        )
    elif schedule.warmup <= steps < schedule.warmup + schedule.cooldown:
        yield (
            f"schedule.warmup ({schedule.warmup:,}) and schedule.cooldown ({schedule.cooldown:,}) "
            f"overlap in a run of {steps:,} steps: the learning rate gets no higher than "
            f"{peak:.2g} of {config.optim.lr:g} (optim.lr); lower one of them."
        )
    beyond = [milestone for milestone in schedule.milestones if milestone >= steps]
    if schedule.kind == "multistep" and beyond:
        listed = ", ".join(f"{milestone:,}" for milestone in beyond)
        yield (
            f"schedule.milestones: the run has {steps:,} steps and does not get past {listed}, so "
            "the learning rate does not fall there; set schedule.milestones to earlier steps, or "
            "to [] with a schedule.cooldown."
        )
    for number, stage in enumerate(config.stages):
        if stage.after >= steps:
            yield (
                f"stages.{number} begins after step {stage.after:,}, which a run of {steps:,} "
                f"steps does not get past; lower stages.{number}.after."
            )


def _turning_points(config: TrainConfig) -> list[int]:
    """Return the steps of which one has the highest learning rate."""
    schedule, steps = config.schedule, config.iterations
    candidates = {1, schedule.warmup, steps - schedule.cooldown, steps, *schedule.milestones}
    if schedule.kind == "cosine" or schedule.warmup + schedule.cooldown > steps:
        # the product of two slopes has its top anywhere; a hundred steps find it closely enough
        candidates |= {1 + number * (steps - 1) // 100 for number in range(101)}
    return [step for step in candidates if 1 <= step <= steps]


def _interval_warnings(config: TrainConfig) -> Iterator[str]:
    """Yield which intervals are longer than the run."""
    steps = config.iterations
    is_validated = config.validation.sets and config.validation.every < steps
    if config.validation.sets and config.validation.every > steps:
        yield (
            f"validate.every is {config.validation.every:,} and the run has {steps:,} steps: the "
            "test sets are measured only at its end, so there is no better step to choose; lower "
            "it to see the progress."
        )
    if config.save.every > steps and not is_validated:  # which saves, too
        yield (
            f"save.every is {config.save.every:,} and the run has {steps:,} steps: its state is "
            "saved only at the end or when you stop it, so a crash loses everything; lower it."
        )
    if config.log.every > steps:
        yield (
            f"log.every is {config.log.every:,} and the run has {steps:,} steps: the log has one "
            "line; lower it to see the loss."
        )
