"""Cost of the kurtosis loss and of WDM in a step of binary ResNet-18."""

from dataclasses import replace
from typing import Any, get_args

from benchmarks.paired import Contender, interleave, rate, ratio
from benchmarks.workload import OurLoop, UsualEpoch, Workload
from pipeline.losses.mimicking import Form


def measure(workload: Workload, rounds: int) -> dict[str, Any]:
    """Time of both losses with their gradient, for each form of WDM, and its share of our step.

    The step is that of the row complete, with the form of WDM that `params` names. The losses of
    the usual loop, in its own form, are measured as well. One measurement takes as many steps as
    the ranks of the weights are kept for.
    """
    steps = workload.params.mimicking.sort_every
    forms = {form: _loop(workload, form, steps) for form in get_args(Form)}
    step = forms[workload.params.mimicking.form]
    usual = UsualEpoch(workload, "resnet18", "complete", steps, workers=0, usual_layers=False)
    contenders = {"step": Contender(step.epoch, steps)}
    contenders |= {form: Contender(loop.weight_terms, steps) for form, loop in forms.items()}
    contenders["usual"] = Contender(usual.weight_terms, steps)
    samples = interleave(contenders, rounds, workload.execution.device)
    return {
        "steps": {name: rate(samples[name]) for name in contenders},
        "share": {name: ratio(samples[name], samples["step"]) for name in (*forms, "usual")},
    }


def _loop(workload: Workload, form: Form, steps: int) -> OurLoop:
    mimicking = workload.params.mimicking.model_copy(update={"form": form})
    params = workload.params.model_copy(update={"mimicking": mimicking})
    return OurLoop(replace(workload, params=params), "resnet18", "complete", steps)
